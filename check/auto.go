package check

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// autoPort is an entry with port: auto, which gets one port on all of its targets.
type autoPort struct {
	search *search
	needs  map[*round]int                      // the index of its need on each target that answers
	found  map[uint16]map[resultKey]*Result    // by first port: blocks that were tried and are free
	asked  []uint16                            // the ports of samples
	sample map[resultKey]map[uint16]autoSample // of its range, by port: why there is none
	gaps   map[*round][]host.Gap
}

// autoSample is what was found of one port of the range.
type autoSample struct {
	Result
	sockets []host.Socket
}

// How much of a range is looked at to say who holds it.
const (
	mostSampled         = 64   // ports
	mostSampledOfTarget = 4096 // endpoints
)

// mostOrders is how many orders are tried in which entries choose their ports.
const mostOrders = 4

// autos chooses the ports of a run's entries with port: auto.
type autos struct {
	needs  []Need
	rounds []*round
	byName map[string]*round
}

func (r *round) isAuto(i int) bool { return r.needs[i].Auto }

// chooseAutos gives each entry with port: auto a port, while its wait lasts, and
// judges it. It ends the rounds of their targets. The error is the context's.
func chooseAutos(ctx context.Context, needs []Need, rounds []*round) error {
	a := autos{needs: needs, byName: map[string]*round{}}
	for _, r := range rounds {
		a.byName[r.Name] = r
		if slices.ContainsFunc(r.own, r.isAuto) {
			a.rounds = append(a.rounds, r)
		}
	}
	if len(a.rounds) == 0 {
		return nil
	}
	if err := a.run(ctx); err != nil {
		return err
	}
	for _, r := range a.rounds {
		for _, i := range r.own {
			if r.results[resultKey{i, needs[i].Protocols[0]}] == nil {
				r.fail([]int{i}, r.err)
			}
		}
		r.finish()
	}
	return nil
}

func (a *autos) run(ctx context.Context) error {
	told := map[*round]map[resultKey]string{}
	for _, r := range a.rounds {
		told[r] = map[resultKey]string{}
	}
	steps := newSteps()
	for try := 0; ; try++ {
		pending := a.pending()
		leased, err := a.takeLeased(ctx, pending)
		if err != nil {
			return err
		}
		others := slices.DeleteFunc(slices.Clone(pending), func(x *autoPort) bool { return leased[x] })
		if err := a.choose(ctx, others); err != nil {
			return err
		}
		others = slices.DeleteFunc(others, a.isDone)
		if err := a.explain(ctx, others); err != nil {
			return err
		}
		pending = slices.DeleteFunc(pending, a.isDone)
		next := time.Duration(0)
		pending = slices.DeleteFunc(pending, func(x *autoPort) bool {
			left := x.left(a.needs)
			if left > 0 && (next == 0 || left < next) {
				next = left
			}
			for r, i := range x.needs {
				if left > 0 {
					r.emitWaiting(i, left, told[r])
				}
			}
			return left <= 0 && try > 0
		})
		if len(pending) == 0 {
			return nil
		}
		if next > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(min(steps.NextBackOff(), next)):
			}
			for _, r := range a.rounds {
				r.spent = 0 // the timeout does not limit waiting
			}
		}
		a.scan(ctx, pending) // at least once more: the table was read before other needs waited
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// pending returns the entries without a port, as far as their targets answer.
func (a *autos) pending() []*autoPort {
	var all []*autoPort
	byEntry := map[entry]*autoPort{}
	for i, n := range a.needs {
		r := a.byName[n.Target]
		if !n.Auto || n.chosen || r.err != nil {
			continue
		}
		x := byEntry[n.entry()]
		if x == nil {
			x = &autoPort{needs: map[*round]int{}}
			byEntry[n.entry()] = x
			all = append(all, x)
		}
		x.needs[r] = i
	}
	return all
}

// left returns how long the entry may still wait.
func (x *autoPort) left(needs []Need) time.Duration {
	var left time.Duration
	for r, i := range x.needs {
		if !r.waitOver(i) {
			left = max(left, needs[i].Wait-time.Since(r.probed))
		}
	}
	return left
}

func (a *autos) isDone(x *autoPort) bool {
	for r, i := range x.needs {
		if !a.needs[i].chosen && r.err == nil {
			return false
		}
	}
	return true
}

// scan asks again which ports of the ranges are open.
func (a *autos) scan(ctx context.Context, pending []*autoPort) {
	own := map[*round][]int{}
	for _, x := range pending {
		for r, i := range x.needs {
			own[r] = append(own[r], i)
		}
	}
	each(a.of(own), func(r *round) {
		slices.Sort(own[r])
		r.probe(ctx, own[r], nil, true)
	})
}

// of returns the rounds that have an entry in a map, in their order.
func (a *autos) of(own map[*round][]int) []*round {
	return slices.DeleteFunc(slices.Clone(a.rounds), func(r *round) bool { return len(own[r]) == 0 })
}

// exchange sends the batches that needs have a part in, one a target, and hands out the
// answers. The needs of a target that does not answer fail.
func (a *autos) exchange(ctx context.Context, batches map[*round]*batch, own map[*round][]int) (map[*round]host.Facts, error) {
	rounds := a.of(own)
	facts, errs := make([]host.Facts, len(rounds)), make([]error, len(rounds))
	index := map[*round]int{}
	for k, r := range rounds {
		index[r] = k
	}
	each(rounds, func(r *round) { facts[index[r]], errs[index[r]] = r.ask(ctx, batches[r].Request) })
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	answers := map[*round]host.Facts{}
	for k, r := range rounds {
		if errs[k] != nil {
			r.fail(own[r], errs[k])
			continue
		}
		batches[r].take(ctx, facts[k])
		answers[r] = facts[k]
	}
	return answers, nil
}

// choose gives ports to as many entries as it can. They choose in the order of the
// manifest. If one gets none because of the others, they choose once more, those with
// the fewest blocks first, and then with that one first.
func (a *autos) choose(ctx context.Context, pending []*autoPort) error {
	claimed := a.rounds[0].claimsOf(a.needs)
	order := pending
	type choice struct {
		block   port.Range
		results map[resultKey]*Result
	}
	var best map[*autoPort]choice
	for n := range mostOrders {
		used := claims{}
		searches := make([]*search, 0, len(order))
		for _, x := range pending {
			x.newSearch(a, claimed, used)
		}
		if n == 1 {
			blocks := map[*autoPort]int{}
			for _, x := range order {
				blocks[x] = x.search.countBlocks(mostTried)
			}
			order = slices.SortedStableFunc(slices.Values(order), func(x, y *autoPort) int { return cmp.Compare(blocks[x], blocks[y]) })
		}
		for _, x := range order {
			searches = append(searches, x.search)
		}
		if err := find(ctx, searches); err != nil {
			return err
		}
		got := map[*autoPort]choice{}
		for _, x := range order {
			if len(x.search.chosen) > 0 {
				first := x.search.chosen[0]
				got[x] = choice{x.search.block(first), x.found[first]}
			}
		}
		if best == nil || len(got) > len(best) {
			best = got
		}
		unlucky := func(x *autoPort) bool { return len(x.search.chosen) == 0 && x.search.lost() }
		if len(got) == len(pending) || !slices.ContainsFunc(order, unlucky) {
			break
		}
		if n > 0 {
			order = slices.SortedStableFunc(slices.Values(order), func(x, y *autoPort) int { return cmp.Compare(rank(!unlucky(x)), rank(!unlucky(y))) })
		}
	}
	for x, c := range best {
		a.take(x, c.block, c.results)
	}
	return nil
}

func rank(late bool) int {
	if late {
		return 1
	}
	return 0
}

// newSearch begins a search for the entry's port. used are the ports of entries that
// search beside it, by target and protocol.
func (x *autoPort) newSearch(a *autos, claimed, used claims) {
	var rounds []*round
	for _, r := range a.rounds {
		if _, ok := x.needs[r]; ok {
			rounds = append(rounds, r)
		}
	}
	n := a.needs[x.needs[rounds[0]]]
	x.search = newSearch(n, rounds, claimed, 1, newChoice)
	x.search.auto, x.found = x, map[uint16]map[resultKey]*Result{}
	for _, r := range rounds {
		for _, proto := range n.Protocols {
			x.search.used = append(x.search.used, used.of(r.Name, proto))
		}
	}
}

// take gives a block to an entry, with its results.
func (a *autos) take(x *autoPort, block port.Range, results map[resultKey]*Result) {
	for r, i := range x.needs {
		a.needs[i].Ports, a.needs[i].chosen = block, true
		for _, proto := range a.needs[i].Protocols {
			if result := results[resultKey{i, proto}]; result != nil {
				r.keep(resultKey{i, proto}, result)
			}
		}
	}
}

// ask asks whether the app can have a block on a target, and for the results of that.
func (x *autoPort) ask(r *round, b *batch, first uint16) {
	i := x.needs[r]
	n := r.needs[i].at(x.search.block(first))
	for _, proto := range n.Protocols {
		b.try(n.try(proto, r.boundHidden), func(tried host.Tried, a answer) {
			result := r.judge(n, proto, tried, a)
			if result.Status != Free || len(result.Holders) > 0 {
				x.search.fail(first)
				x.search.noteUntried(tried, a.Limits)
				delete(x.found, first)
				return
			}
			if x.search.failed[first] {
				return
			}
			if x.found[first] == nil {
				x.found[first] = map[resultKey]*Result{}
			}
			x.found[first][resultKey{i, proto}] = &result
		})
	}
}

// at returns an auto with the ports that were chosen for it.
func (n Need) at(ports port.Range) Need {
	n.Ports, n.chosen = ports, true
	return n
}

// explain finds out why entries have no port, and sets their results. An entry for
// which a port of its range is held by its owner gets that one.
func (a *autos) explain(ctx context.Context, pending []*autoPort) error {
	if len(pending) == 0 {
		return nil
	}
	batches, own, left := map[*round]*batch{}, map[*round][]int{}, map[*round]int{}
	for _, r := range a.rounds {
		batches[r], left[r] = &batch{Request: host.Request{ShowCommand: r.ShowCommand, Holders: r.holders}}, mostSampledOfTarget
	}
	for _, x := range pending {
		maps.DeleteFunc(x.needs, func(r *round, _ int) bool { return r.err != nil })
		x.sample, x.gaps = map[resultKey]map[uint16]autoSample{}, map[*round][]host.Gap{}
		for r, i := range x.needs {
			own[r] = append(own[r], i)
		}
		x.askSamples(batches, left)
	}
	answers, err := a.exchange(ctx, batches, own)
	if err != nil {
		return err
	}
	for r, facts := range answers {
		for _, x := range pending {
			x.gaps[r] = facts.Gaps
		}
	}
	claimed := a.rounds[0].claimsOf(a.needs)
	for _, x := range pending {
		if p, results, ok := x.owned(a, claimed); ok {
			a.take(x, port.One(p), results)
			for r, i := range x.needs {
				for _, proto := range a.needs[i].Protocols {
					claimed.add(r.Name, proto, port.One(p))
				}
			}
			continue
		}
		for r, i := range x.needs {
			if r.err != nil {
				continue
			}
			for _, proto := range a.needs[i].Protocols {
				result := x.unmet(r, a.needs[i], resultKey{i, proto}, claimed[claimKey{r.Name, proto}])
				r.keep(resultKey{i, proto}, &result)
			}
		}
	}
	return context.Cause(ctx)
}

// askSamples asks about the first ports of the range.
func (x *autoPort) askSamples(batches map[*round]*batch, left map[*round]int) {
	n := x.search.need
	var excluded port.Bits
	excluded.AddSet(n.Exclude)
	x.asked = nil
	for p := range n.Range.All {
		if len(x.asked) == mostSampled {
			break
		}
		if !excluded.Has(p) {
			x.asked = append(x.asked, p)
		}
	}
	cost := len(x.asked) * n.at(port.One(1)).Endpoints()
	for r := range x.needs {
		if left[r] < cost {
			x.asked = nil
			return
		}
	}
	for r, i := range x.needs {
		left[r] -= cost
		for _, proto := range n.Protocols {
			x.sample[resultKey{i, proto}] = map[uint16]autoSample{}
		}
		for _, p := range x.asked {
			n := r.needs[i].at(port.One(p))
			for _, proto := range n.Protocols {
				key := resultKey{i, proto}
				batches[r].try(n.try(proto, r.boundHidden), func(tried host.Tried, a answer) {
					s := autoSample{Result: r.judge(n, proto, tried, a)}
					table := byPort(a.about(n.Ports).Sockets)
					for _, at := range tried.Attempts {
						s.sockets = append(s.sockets, table.inTheWay(at)...)
					}
					s.sockets = distinct(s.sockets)
					x.sample[key][p] = s
				})
			}
		}
	}
}

// owned returns a port of the range that the entry's owner holds, with the results.
func (x *autoPort) owned(a *autos, claimed claims) (uint16, map[resultKey]*Result, bool) {
	if x.search.length != 1 || len(x.search.need.Owner) == 0 {
		return 0, nil, false
	}
ports:
	for _, p := range x.asked {
		results := map[resultKey]*Result{}
		for r, i := range x.needs {
			for _, proto := range a.needs[i].Protocols {
				key := resultKey{i, proto}
				s, ok := x.sample[key][p]
				taken := claimed[claimKey{r.Name, proto}]
				if !ok || s.Status != Owned && (s.Status != Free || len(s.Holders) > 0) || taken != nil && taken.Has(p) {
					continue ports
				}
				results[key] = &s.Result
			}
		}
		return p, results, true
	}
	return 0, nil, false
}

// unmet returns the result of an auto on a target for which there is no port.
func (x *autoPort) unmet(r *round, n Need, key resultKey, claimed *port.Bits) Result {
	result := n.result(key.proto)
	result.Status, result.Method, result.Endpoints = InUse, Table, []Endpoint{}
	samples := x.sample[key]
	counts := map[Status]int{}
	var sockets []host.Socket
	mine, free := 0, 0
	var first *autoSample
	for _, p := range x.asked {
		s, ok := samples[p]
		if !ok {
			continue
		}
		if first == nil {
			first = &s
			result.Method, result.OS, result.UID, result.UnprivilegedFrom = s.Method, s.OS, s.UID, s.UnprivilegedFrom
		}
		switch {
		case claimed != nil && claimed.Has(p):
			mine++
		case s.Status == Unknown:
			result.Status = Unknown
			result.Message = fmt.Sprintf("%s: no port is known to be free: %s", n.subject(key.proto), s.Message)
			return result
		case s.Status == Free && len(s.Holders) == 0:
			free++
		default:
			counts[s.Status]++
			sockets = append(sockets, s.sockets...)
		}
	}
	if why := cmp.Or(x.search.reason, x.search.whyUntried()); why != "" {
		result.Status = Unknown
		result.Message = fmt.Sprintf("%s: no port is known to be free: %s", n.subject(key.proto), why)
		return result
	}
	if only := slices.Collect(maps.Keys(counts)); len(only) == 1 && mine+free == 0 && slices.Contains([]Status{Denied, Unavailable, OSReserved}, only[0]) {
		result.Status = only[0]
		result.Message = fmt.Sprintf("%s: no port can be had: %s", n.subject(key.proto), first.Message)
		return result
	}
	sockets = distinct(sockets)
	n.listHolders(&result, sockets, x.gaps[r])
	n.noteUnseen(&result, sockets, x.gaps[r])
	result.Message = n.noneFree(key.proto, counts, sockets, mine, free, x.partly())
	return result
}

// partly returns how many ports were looked at if these are not all of the range, else 0.
func (x *autoPort) partly() int {
	if len(x.asked) < mostSampled {
		return 0
	}
	return len(x.asked)
}

// noneFree says, shortly, who has the ports of an auto's range.
func (n Need) noneFree(proto port.Protocol, counts map[Status]int, sockets []host.Socket, mine, free, partly int) string {
	what := "no port"
	if n.Ports.Len() > 1 {
		what = fmt.Sprintf("no block of %d ports", n.Ports.Len())
	}
	text := fmt.Sprintf("%s: %s is free", n.subject(proto), what)
	var why []string
	if taken := counts[InUse] + counts[Shadowed] + counts[Free]; taken > 0 {
		why = append(why, fmt.Sprintf("%d in use by %s", taken, cmp.Or(describeAll(sockets), "processes that can't be seen")))
	}
	for _, other := range []struct {
		status Status
		text   string
	}{
		{Owned, "held by its owner"},
		{Leased, "leased to other jobs"},
		{Redirected, "with callers that NAT rules send elsewhere"},
		{Denied, "not allowed for " + n.user()},
		{OSReserved, "reserved by the operating system"},
		{Unavailable, "at an address that is not on this host"},
	} {
		if c := counts[other.status]; c > 0 {
			why = append(why, fmt.Sprintf("%d %s", c, other.text))
		}
	}
	if mine > 0 {
		why = append(why, fmt.Sprintf("%d needed by others of this run", mine))
	}
	switch {
	case free > 0 && n.Ports.Len() > 1:
		why = append(why, fmt.Sprintf("%d free, too few of them neighbours", free))
	case free > 0:
		why = append(why, fmt.Sprintf("%d free here, but not for all of its protocols and targets", free))
	}
	switch {
	case len(why) == 0:
		return text
	case partly > 0:
		return fmt.Sprintf("%s (of the first %d: %s)", text, partly, strings.Join(why, "; "))
	}
	return fmt.Sprintf("%s (%s)", text, strings.Join(why, "; "))
}

// autoSubject is subject for an auto: "tcp 8003 (auto)", or "tcp auto in 8000-8099"
// if it has no port.
func (n Need) autoSubject(proto port.Protocol) string {
	chosen := n
	chosen.Auto = false
	if n.chosen {
		return chosen.subject(proto) + " (auto)"
	}
	where := ""
	if !slices.Equal(n.Addresses, []port.Address{port.Any}) {
		names := make([]string, len(n.Addresses))
		for i, a := range n.Addresses {
			names[i] = string(a)
		}
		where = " on " + strings.Join(names, " and ")
	}
	if n.Device != "" {
		where += " on the device " + n.Device
	}
	word := "auto"
	if n.Ports.Len() > 1 {
		word = fmt.Sprintf("auto:%d", n.Ports.Len())
	}
	return fmt.Sprintf("%s %s in %s%s", proto, word, clip(n.Range.String(), 64), where)
}

// countBlocks returns how many blocks the choice has, or a number above most.
func (c *choice) countBlocks(most int) int {
	found := 0
	for range c.blocks {
		if found++; found > most {
			break
		}
	}
	return found
}

// lost reports whether other choices have a block that this one could have had.
func (c *choice) lost() bool {
	for first := range c.blocks {
		if !c.failed[first] {
			return true
		}
	}
	return false
}

// blocks yields the usable blocks, by their first ports.
func (c *choice) blocks(yield func(uint16) bool) {
	for _, r := range c.pool.starts {
		for n := int(r.First); n <= int(r.Last); {
			if next := c.usable(uint16(n)); next > n {
				n = next
				continue
			}
			if !yield(uint16(n)) {
				return
			}
			n++
		}
	}
}
