package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// search looks for the ports that one need can move to.
type search struct {
	*choice
	need   Need
	rounds []*round  // of its targets: an alternative must be free on all
	reason string    // why there can be no answer, for people; "" if there can
	auto   *autoPort // the need that the search is for, if it has no port yet
	// untried is an attempt that failed for another reason than the port.
	untried *host.Attempt
	denied  map[uint16]bool // ports that were denied for lack of a right
	// missing is an attempt that failed because its address or device is not there.
	missing *host.Attempt
}

// entry is one entry of a manifest's ports, whatever its target.
type entry struct {
	at        config.Position
	app, name string
}

// entry returns what is the same for one need on several targets, and no others.
func (n Need) entry() entry { return entry{n.At, n.App, n.Name} }

// onlyEphemeral is the message of the notice on alternatives of which some are
// ephemeral. Merge recognizes the notice in reports by these words, those of
// earlier releases included: it can't change.
const onlyEphemeral = "the range has no other free ports than ephemeral ones: an outgoing connection may take the alternatives before your app does"

// suggest fills the alternatives of every unmet need that another port would
// help, and the candidates of every need that could move. An app moves as a
// whole: its port is free for all of its protocols, and on all of its targets.
func suggest(ctx context.Context, needs []Need, rounds []*round, results map[resultKey]*Result, o Options) error {
	claims := o.claimsOf(needs)
	onTarget, ofEntry := map[string][]*round{}, map[entry][]*round{}
	for _, r := range rounds {
		onTarget[r.Name] = append(onTarget[r.Name], r)
	}
	for _, n := range needs {
		ofEntry[n.entry()] = append(ofEntry[n.entry()], onTarget[n.Target]...)
	}
	searches := map[entry]*search{}
	offers := make([]*search, len(needs))
	var all []*search
	for i, n := range needs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if n.Auto {
			continue // all of its range was tried
		}
		helps := slices.ContainsFunc(n.Protocols, func(proto port.Protocol) bool {
			return movable(results[resultKey{i, proto}])
		})
		if key := n.entry(); o.Alternatives > 0 && helps && searches[key] == nil {
			searches[key] = newSearch(n, ofEntry[n.entry()], claims, o.Alternatives, newChoice)
			all = append(all, searches[key])
		}
		if o.Candidates > 0 && n.Expect == config.Free {
			// The ports on this target alone, whatever the entry's other targets offer.
			offers[i] = newSearch(n, onTarget[n.Target], claims, o.Candidates, newOffer)
			all = append(all, offers[i])
		}
	}
	if err := find(ctx, all); err != nil {
		return err
	}
	for i, n := range needs {
		for _, proto := range n.Protocols {
			r := results[resultKey{i, proto}]
			if s := searches[n.entry()]; s != nil && movable(r) {
				r.Asked, r.From, r.NoSearchReason = o.Alternatives, n.Range, s.reason
				if len(s.chosen) == 0 {
					r.NoSearchReason = cmp.Or(s.reason, s.whyUntried(), s.whyDenied())
				}
				r.Alternatives = append([]uint16{}, s.chosen...)
				if s.hasEphemeral() {
					s.need.notify(r, config.Ephemeral, onlyEphemeral)
				}
			}
			if offers[i] != nil {
				r.Candidates = setOf(offers[i].chosen).String()
			}
		}
	}
	return nil
}

// setOf returns ports as a set in their order, neighbours as one range.
func setOf(ports []uint16) port.Set {
	var all port.Set
	for _, p := range ports {
		all = append(all, port.One(p))
	}
	return all.Without(func(uint16) bool { return false })
}

// movable reports whether another port would help an unmet need.
func movable(r *Result) bool {
	if r.Expect != config.Free || r.OK || r.Auto {
		return false
	}
	switch r.Status {
	case InUse, Shadowed, Redirected, Leased, Denied, OSReserved, Free, Owned: // the last two: excluded by another need
		return true
	}
	return false
}

// claims are the ports that the needs of a run declare on their targets.
type claims map[claimKey]*port.Bits

type claimKey struct {
	target string
	proto  port.Protocol
}

func (c claims) add(target string, proto port.Protocol, ports port.Range) {
	c.of(target, proto).AddSet(port.Set{ports})
}

// of returns the claims of a target and a protocol.
func (c claims) of(target string, proto port.Protocol) *port.Bits {
	key := claimKey{target, proto}
	if c[key] == nil {
		c[key] = new(port.Bits)
	}
	return c[key]
}

// claimsOf returns the claims of needs, and of those that are not checked.
func (o Options) claimsOf(needs []Need) claims {
	c := claims{}
	for _, list := range [][]Need{needs, o.Claimed} {
		for i := range list {
			n := &list[i]
			if n.Expect.Connects() || n.Auto && !n.chosen {
				continue // its port is the remote's, or none
			}
			for _, proto := range n.Protocols {
				c.add(n.Target, proto, n.Ports)
			}
		}
	}
	return c
}

// newSearch returns a search on the targets of rounds, for a choice of the kind
// that choose makes.
func newSearch(n Need, rounds []*round, c claims, wanted int, choose func(pool, int) *choice) *search {
	s := &search{need: n, rounds: rounds}
	var p pool
	p, s.reason = poolOf(n, rounds, c)
	s.choice = choose(p, wanted)
	s.cost = n.Endpoints()
	for _, r := range rounds {
		s.budgets = append(s.budgets, &r.budget, &r.plan.budget)
	}
	return s
}

// poolOf returns the pool of ports that a need can have on the targets of rounds.
// It is empty if the need has no range. If the ports can't be found out, it is empty
// too, and reason is why. What a scan has found is within the need's range.
func poolOf(n Need, rounds []*round, c claims) (p pool, reason string) {
	p = pool{starts: n.Range, length: n.Ports.Len()}
	if len(n.Range) == 0 {
		return p, ""
	}
	if len(n.Exclude) > 0 && len(rounds) > 0 {
		p.claimed = append(p.claimed, rounds[0].excluded(n.Exclude))
	}
	p.unsafe = n.unsafe()
	none := pool{length: p.length}
	for _, r := range rounds {
		for _, proto := range n.Protocols {
			found := r.scans[r.scanKey(n, proto)]
			switch {
			case found == nil:
				return none, fmt.Sprintf("they must be free on every target, and %s could not be probed", r.Name)
			case r.tableOnly && !n.Auto:
				return none, fmt.Sprintf("no port can be test-bound on %s", r.Name)
			case leasesUnknown(r.facts) && !n.Auto:
				return none, fmt.Sprintf("which ports other jobs have leased on %s could not be determined", r.Name)
			}
			p.open = append(p.open, &found.bits)
			if claimed := c[claimKey{r.Name, proto}]; claimed != nil {
				p.claimed = append(p.claimed, claimed)
			}
		}
		p.ephemeral = append(p.ephemeral, r.ephemeral())
	}
	return p, ""
}

// unsafeFor returns the ports that browsers refuse, which come last: an app that moves
// there is up and can't be opened. It returns nil for a need that has such a port itself.
func unsafeFor(ports port.Range, protocols []port.Protocol) *port.Bits {
	if !slices.Contains(protocols, port.TCP) || unsafeBits().HasAny(ports) {
		return nil
	}
	return unsafeBits()
}

// unsafe is unsafeFor a need. An auto has no port yet, nor has a need of FreePorts.
func (n Need) unsafe() *port.Bits {
	if n.Auto || n.anywhere {
		return unsafeFor(port.Range{}, n.Protocols)
	}
	return unsafeFor(n.Ports, n.Protocols)
}

var unsafeBits = sync.OnceValue(func() *port.Bits {
	bits := new(port.Bits)
	for _, p := range unsafePorts {
		bits.AddSet(port.Set{port.One(p)})
	}
	return bits
})

// excluded returns the ports of a set, which needs of one manifest share.
func (p *plan) excluded(set port.Set) *port.Bits {
	if p.excludedPorts[&set[0]] == nil {
		p.excludedPorts[&set[0]] = new(port.Bits)
		p.excludedPorts[&set[0]].AddSet(set)
	}
	return p.excludedPorts[&set[0]]
}

// ephemeral returns the ports that the target's OS gives to outgoing connections.
// It is called after the last probe of needs.
func (r *round) ephemeral() *port.Bits {
	if r.ephemeralPorts == nil {
		r.ephemeralPorts = r.facts.Limits.EphemeralPorts()
	}
	return r.ephemeralPorts
}

// find makes the choices of all searches together: it binds what they draw until
// each has as many as wanted, or nothing more to try.
func find(ctx context.Context, searches []*search) error {
	choices := make([]*choice, len(searches))
	for i, s := range searches {
		choices[i] = s.choice
	}
	a := newAllocation(choices)
	for a.draw(ctx) {
		if err := bindDrawn(ctx, searches); err != nil {
			return err
		}
		a.keep()
	}
	return context.Cause(ctx)
}

// bindDrawn binds what the searches have drawn, one batch a target. A target
// that fails to answer ends its searches: it would not answer the next batch
// either.
func bindDrawn(ctx context.Context, searches []*search) error {
	type exchange struct {
		batch
		searches []*search
		facts    host.Facts
		err      error
	}
	exchanges := map[*round]*exchange{}
	var order []*round
	for _, s := range searches {
		if len(s.trying) == 0 {
			continue
		}
		for _, r := range s.rounds {
			if exchanges[r] == nil {
				exchanges[r] = &exchange{batch: batch{Request: host.Request{Scanned: true, OwnLeases: r.wantsOwn && !r.knowsOwn}}}
				order = append(order, r)
			}
			x := exchanges[r]
			x.searches = append(x.searches, s)
			for _, first := range s.trying {
				s.askBlock(r, &x.batch, first)
			}
		}
	}
	each(order, func(r *round) { exchanges[r].facts, exchanges[r].err = r.ask(ctx, exchanges[r].Request) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, r := range order {
		x := exchanges[r]
		if x.err == nil {
			x.take(ctx, x.facts)
			if x.facts.OwnListed {
				r.ownLeases, r.knowsOwn = leasesByName(x.facts.OwnLeases), true
			}
			for _, g := range x.facts.Gaps {
				if g.Kind == host.GapRules || g.Kind == host.GapAllocated {
					r.unseen = append(r.unseen, g)
				}
			}
			continue
		}
		r.err = x.err
		for _, s := range x.searches {
			s.failDrawn()
		}
	}
	return nil
}

// askBlock asks whether a block can be bound for all protocols of the need. Where the
// table does not show TCP sockets that are bound and do not listen, the bind excludes
// them, because it is the only proof that there is none.
func (s *search) askBlock(r *round, b *batch, first uint16) {
	if s.auto != nil {
		s.auto.ask(r, b, first)
		return
	}
	for _, proto := range s.need.Protocols {
		try := host.Try{Binding: s.need.Binding(proto), Ports: s.block(first), RunAs: s.need.RunAs, Callers: true}
		if r.boundHidden && proto == port.TCP {
			try.ReuseAddress = false
		}
		b.try(try, func(tried host.Tried, a answer) {
			if leasesUnknown(a.Facts) || !bindable(s.need, tried, a.about(try.Ports).Sockets) || len(s.need.away(proto, tried, nil)) > 0 {
				s.fail(first)
				s.noteUntried(tried, a.Limits)
			}
		})
	}
}

// noteUntried remembers an attempt that shows nothing about its port. A bind of a port
// that needs no right is denied by a policy, whatever the port.
func (s *search) noteUntried(t host.Tried, l host.Limits) {
	for _, a := range t.Attempts {
		if (a.Outcome == host.NoAddress || a.Outcome == host.NoFamily) && !impliesIPv4(s.need, a) {
			s.missing = &a
		}
		if a.Outcome == host.Failed || a.Outcome == host.Denied && int(a.Port) >= l.UnprivilegedFrom {
			s.untried = &a
		}
		if a.Outcome == host.Denied && int(a.Port) < l.UnprivilegedFrom {
			if s.denied == nil {
				s.denied = map[uint16]bool{}
			}
			s.denied[a.Port] = true
		}
	}
}

// whyUntried returns why no port was found, if that is not because all are taken.
func (s *search) whyUntried() string {
	if s.untried == nil {
		return ""
	}
	return "ports of the range could not be tried" + s.need.failure(*s.untried)
}

// whyDenied returns how many ports the app's user may not bind, and why; "" for none.
func (s *search) whyDenied() string {
	if len(s.denied) == 0 {
		return ""
	}
	return fmt.Sprintf("%s may not bind %s of %s: %s", s.need.user(), Counted(len(s.denied), "port"), s.need.Range, privilegeText(s.rounds[0].facts))
}

// bindable reports whether every endpoint was bound, or needs no bind, and nobody
// has it.
func bindable(n Need, t host.Tried, sockets []host.Socket) bool {
	for _, a := range t.Attempts {
		missing := a.Outcome == host.NoFamily || a.Outcome == host.NoAddress
		if a.Outcome != host.OK && !(missing && impliesIPv4(n, a)) || len(overlapping(sockets, a.Endpoint)) > 0 {
			return false
		}
	}
	return t.TableOK && len(t.Attempts) > 0
}

// FreePorts returns up to o.Alternatives ports or blocks of a need's range that its
// app can bind now, by their first ports, and what could not be seen of the way to
// them. It waits for as many, at most for as long as the need does.
func FreePorts(ctx context.Context, n Need, t Target, o Options) (ports []uint16, unseen []Notice, err error) {
	n.anywhere = true
	r := newRound(t, newPlan(ctx, []Need{n}, 1, o))
	defer r.close()
	r.emit(func(p Progress) { p.Started(r.Name) })
	if err := r.reach(ctx); err != nil {
		return nil, nil, err
	}
	start, steps, told := time.Now(), newSteps(), -1
	for {
		ports, unseen, err = r.freePorts(ctx, n, o.Alternatives)
		left := n.Wait - time.Since(start)
		if err != nil || len(ports) >= o.Alternatives || left <= 0 {
			return ports, unseen, err
		}
		if told != len(ports) {
			told = len(ports)
			waiting := n.result(n.Protocols[0])
			waiting.Message = n.Few(len(ports), o.Alternatives)
			r.emit(func(p Progress) { p.Waiting(waiting, left) })
		}
		select {
		case <-ctx.Done():
			return ports, unseen, context.Cause(ctx)
		case <-time.After(min(steps.NextBackOff(), left)):
		}
		r.spent = 0 // the timeout does not limit waiting
	}
}

// Few says that the need's range has only some of the wanted ports.
func (n Need) Few(found, wanted int) string {
	words := make([]string, len(n.Protocols))
	for i, proto := range n.Protocols {
		words[i] = string(proto)
	}
	one := strings.Join(words, " and ") + " port"
	many := one + "s"
	if size := n.Ports.Len(); size > 1 {
		one, many = fmt.Sprintf("block of %d %s", size, many), fmt.Sprintf("blocks of %d %s", size, many)
	}
	if found == 0 {
		return fmt.Sprintf("%s has no free %s", n.Range, one)
	}
	return fmt.Sprintf("%s has only %d of %d free %s", n.Range, found, wanted, many)
}

// freePorts finds ports at this moment.
func (r *round) freePorts(ctx context.Context, n Need, wanted int) (ports []uint16, unseen []Notice, err error) {
	b := &batch{}
	for _, proto := range n.Protocols {
		b.try(lookOnly(n.Binding(proto)), func(host.Tried, answer) {})
		r.askRange(b, n, proto)
	}
	facts, err := r.ask(ctx, b.Request)
	if err == nil {
		err = wholeTable(facts)
	}
	if err == nil && leasesUnknown(facts) {
		err = errors.New("which ports other jobs have leased could not be determined" + because(facts.Gaps, host.GapLeases))
	}
	for i := 0; err == nil && i < len(facts.Tried); i++ {
		if why := facts.Tried[i].NoBindReason; why != "" {
			err = errors.New("no port can be test-bound there: " + why)
		}
		r.boundHidden = r.boundHidden || facts.Tried[i].BoundHidden
	}
	if err != nil {
		return nil, nil, err
	}
	r.facts = facts
	b.take(ctx, facts)
	for _, g := range facts.Gaps {
		if g.Kind == host.GapNamespace {
			unseen = append(unseen, Notice{Code: config.Degraded, Severity: config.SeverityWarning, Message: gapText(g)})
		}
	}
	s := newSearch(n, []*round{r}, claims{}, wanted, newFilling)
	if err := find(ctx, []*search{s}); err != nil {
		return nil, nil, err
	}
	if why := s.whyUntried(); r.err == nil && why != "" && len(s.chosen) < wanted {
		return nil, nil, errors.New(why)
	}
	if why := s.whyDenied(); why != "" && len(s.chosen) < wanted {
		unseen = append(unseen, Notice{Code: config.Degraded, Message: why})
	}
	if s.missing != nil && len(s.chosen) < wanted {
		unseen = append(unseen, Notice{Code: config.Degraded, Message: fmt.Sprintf("%s can't be bound: %s", address(s.missing.Endpoint), unavailableCause(*s.missing))})
	}
	for _, g := range r.unseen {
		n := Notice{Code: config.Degraded, Message: gapText(g)}
		if !slices.Contains(unseen, n) {
			unseen = append(unseen, n)
		}
	}
	return s.chosen, unseen, r.err
}
