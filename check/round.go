package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// plan is what the rounds of one run share.
type plan struct {
	Options
	needs      []Need // of all targets
	rivals     map[resultKey][]Need
	slots      slots
	progressMu sync.Mutex // Progress is called once at a time
	ranges     rangeTexts
	// excludedPorts are the results of excluded.
	excludedPorts map[*port.Range]*port.Bits
	budget        budget // of all targets together
	holders       int    // about how many an answer may have
	listedMu      sync.Mutex
	listed        int64        // bytes of the holders in all results
	compared      atomic.Int64 // holders, with each need
}

// Limits on holders. Anybody can give a socket to a thousand processes, and a short
// manifest can ask about it a thousand times, or a thousand hosts.
const (
	// The holders that the results of a run list take so many bytes together, before
	// each further result lists one.
	bytesOfHolders = 8 << 20
	// So many comparisons of holders with needs are made in a run, before of each
	// further socket only fewHolders are looked at.
	mostComparisons = 1 << 21
	fewHolders      = 16
	// The answers that are in memory at the same time have about so many together, or
	// leastHolders each.
	mostHoldersAtOnce = 1 << 15
	leastHolders      = 256
)

// What one round of requests for alternatives may try. The facts of all targets are
// in memory at the same time.
const triesOfRound = 1 << 17

func newPlan(ctx context.Context, needs []Need, targets int, o Options) *plan {
	return &plan{
		holders: max(mostHoldersAtOnce/max(min(o.Parallel, targets), 1), leastHolders),
		Options: o, needs: needs, rivals: findRivals(ctx, needs), slots: newSlots(o.Parallel),
		ranges: textsOf(needs), excludedPorts: map[*port.Range]*port.Bits{}, budget: budget{limit: triesOfRound},
	}
}

// rangeTexts are the texts of the ranges of a run's needs, by their first elements.
// The needs of a manifest share its range, which may have thousands of elements.
type rangeTexts map[*port.Range]string

func textsOf(needs []Need) rangeTexts {
	texts := rangeTexts{}
	for _, n := range needs {
		for _, set := range []port.Set{n.Range, n.Exclude} {
			if len(set) > 0 && texts[&set[0]] == "" {
				texts[&set[0]] = set.String()
			}
		}
	}
	return texts
}

func (t rangeTexts) of(set port.Set) string {
	if len(set) == 0 {
		return ""
	}
	return t[&set[0]]
}

// scanKey is what makes two scans of a target the same.
type scanKey struct{ binding, ranges string }

func (p *plan) scanKey(n Need, proto port.Protocol) scanKey {
	return scanKey{fmt.Sprint(n.Binding(proto)), p.ranges.of(n.Range)}
}

// resultKey names a result: a need, by its index, and a protocol.
type resultKey struct {
	need  int
	proto port.Protocol
}

// round is the part of a run that is about one target.
type round struct {
	Target
	*plan
	own     []int      // indexes of the target's needs
	host    host.Host  // nil unless it was opened
	facts   host.Facts // about the machine as a whole, of the last probe that succeeded
	err     error      // why it was not opened, or why the last probe failed
	results map[resultKey]*Result
	spent   time.Duration // so far, of Timeout
	probed  time.Time     // when needs began to wait
	scans   map[scanKey]*scan
	keepers asked
	// ephemeralPorts is the result of ephemeral, once it was called.
	ephemeralPorts *port.Bits
	// tableOnly is set if nothing can be bound on the target.
	tableOnly bool
	// ownLeases are the leases of the run's job there. They are asked for if it has entries
	// with port: auto, or an unmet need (wantsOwn); then knowsOwn is set.
	ownLeases          ownLeases
	wantsOwn, knowsOwn bool
	// boundHidden is that of host.Tried, for TCP.
	boundHidden bool
	budget      budget     // of one request for alternatives
	unseen      []host.Gap // of the ways to alternatives
}

// scan is what was found of one range.
type scan struct {
	open  port.Set // ports without a visible socket that are not reserved
	bits  port.Bits
	whole bool // the whole socket table was seen
}

func newRound(t Target, p *plan) *round {
	return &round{Target: t, plan: p, results: map[resultKey]*Result{}, scans: map[scanKey]*scan{}, budget: budget{limit: host.MostEndpoints}}
}

// newRounds returns the rounds of a run, in the order of targets.
func newRounds(ctx context.Context, needs []Need, targets []Target, o Options) []*round {
	p := newPlan(ctx, needs, len(targets), o)
	byTarget := map[string][]int{}
	for i, n := range needs {
		byTarget[n.Target] = append(byTarget[n.Target], i)
	}
	rounds := make([]*round, len(targets))
	for i, t := range targets {
		rounds[i] = newRound(t, p)
		rounds[i].own = byTarget[t.Name]
	}
	return rounds
}

// run opens the target and probes it until no need waits any more.
func (r *round) run(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	r.emit(func(p Progress) { p.Started(r.Name) })
	if err := r.reach(ctx); err != nil {
		r.fail(r.own, err)
	} else {
		binds, dials := r.kinds()
		if !slices.ContainsFunc(r.own, func(i int) bool { return r.needs[i].Wait > 0 }) {
			r.probe(ctx, binds, r.connects(dials), true)
		} else {
			r.probe(ctx, binds, nil, true)
			r.probed = time.Now()
			r.wait(ctx, slices.DeleteFunc(binds, r.isAuto), dials)
		}
	}
	if ctx.Err() == nil && !slices.ContainsFunc(r.own, r.isAuto) {
		r.finish()
	}
}

// finish sets OK on every result, once no status can change any more.
func (r *round) finish() {
	var s Summary
	var of []Result
	for _, i := range r.own {
		of = of[:0]
		for _, proto := range r.needs[i].Protocols {
			key := resultKey{i, proto}
			result := r.results[key]
			result.OK = result.Met()
			r.needs[i].noteDuplicates(result, r.rivals[key])
			r.needs[i].noteReplicas(result)
			of = append(of, *result)
		}
		s.add(worst(of))
	}
	r.emit(func(p Progress) { p.Done(r.Name, s, r.err) })
}

// reach opens the target, within its budget.
func (r *round) reach(ctx context.Context) error {
	late, err := r.spend(ctx, func(ctx context.Context) (err error) {
		r.host, err = r.Open(ctx)
		return err
	})
	if late {
		return fmt.Errorf("the target could not be reached within %s (--timeout): %w", r.Timeout, err)
	}
	return err
}

// close closes the host. Errors don't matter: what can't be closed ends by itself
// on every kind of host.
func (r *round) close() {
	if r.host != nil {
		_ = r.host.Close()
	}
}

// ask sends one request, within the target's budget.
func (r *round) ask(ctx context.Context, req host.Request) (facts host.Facts, err error) {
	req.Job = r.jobOf(r.Options)
	req.LeaseBudget = r.keepers.budget()
	late, err := r.spend(ctx, func(ctx context.Context) (err error) {
		facts, err = r.host.Probe(ctx, req)
		return err
	})
	if late {
		return facts, fmt.Errorf("no answer within %s (--timeout)", r.Timeout)
	}
	r.keepers.add(facts.LeaseTime)
	if err == nil {
		if wrong := validate(facts, req); wrong != nil {
			err = fmt.Errorf("the probe's answer does not match the request: %w", wrong)
		}
	}
	r.markJobs(facts)
	return facts, err
}

// dialsPerRequest is how many connects are asked for at once: the answer to more
// could be larger than what is read from a host by SSH.
const dialsPerRequest = 16 << 10

// askInParts sends one request, and more of them for the rest if there are many
// connects. Connects may take most of the target's budget, not all of it.
func (r *round) askInParts(ctx context.Context, req host.Request) (host.Facts, error) {
	var all host.Facts
	dials := req.Dials
	for first := true; first || len(dials) > 0; first = false {
		n := min(len(dials), dialsPerRequest)
		req.Dials, dials = dials[:n], dials[n:]
		req.DialBudget = max((r.Timeout-r.spent)/4*3, 0)
		facts, err := r.ask(ctx, req)
		if err != nil {
			return facts, err
		}
		if first {
			all = facts
		} else {
			all.Dialed = append(all.Dialed, facts.Dialed...)
		}
		req = host.Request{}
	}
	return all, nil
}

// spend runs fn with what is left of the target's budget, and reports whether it
// failed because nothing is left.
func (r *round) spend(ctx context.Context, fn func(context.Context) error) (late bool, err error) {
	start := time.Now() // before the deadline is set, so that spent reaches it
	limited := ctx
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, r.Timeout-r.spent)
		defer cancel()
	}
	err = fn(limited)
	r.spent += time.Since(start)
	return errors.Is(err, context.DeadlineExceeded) && r.Timeout > 0 && r.spent >= r.Timeout && ctx.Err() == nil, err
}

// probe asks about some needs that bind, makes some connects, and judges both. If
// ranges is true, it also asks which ports of their ranges are open.
func (r *round) probe(ctx context.Context, binds []int, connects []connect, ranges bool) {
	b := &batch{Request: host.Request{ShowCommand: r.ShowCommand, Holders: r.holders, Tries: make([]host.Try, 0, len(binds))}, takers: make([]func(answer), 0, len(binds))}
	asked := map[scanKey]bool{}
	for _, c := range connects {
		r.askConnect(b, c)
	}
	for _, i := range binds {
		n := r.needs[i]
		for _, proto := range n.Protocols {
			if n.Auto {
				b.OwnLeases = true
				if k := r.scanKey(n, proto); !asked[k] {
					asked[k] = true
					b.try(lookOnly(n.Binding(proto)), func(tried host.Tried, _ answer) {
						r.boundHidden = r.boundHidden || tried.BoundHidden
						r.tableOnly = r.tableOnly || tried.NoBindReason != ""
					})
					r.askRange(b, n, proto)
				}
				continue
			}
			r.askBinding(b, resultKey{i, proto})
			if ranges && r.Alternatives+r.Candidates > 0 && n.Expect == config.Free && len(n.Range) > 0 {
				if k := r.scanKey(n, proto); !asked[k] {
					asked[k] = true
					r.askRange(b, n, proto)
				}
			}
		}
	}
	if len(b.takers) == 0 {
		return
	}
	b.OwnLeasesIfTaken = r.jobOf(r.Options) != ""
	facts, err := r.askInParts(ctx, b.Request)
	if err != nil {
		for _, c := range connects {
			binds = append(binds, c.need)
		}
		r.fail(binds, err)
		return
	}
	b.take(ctx, facts)
	if facts.OwnListed {
		r.ownLeases, r.knowsOwn = leasesByName(facts.OwnLeases), true
	}
	if r.err = nil; len(binds) == 0 && r.facts.Machine.OS != "" {
		return // what a probe of binds could not see is worth more
	}
	r.facts = host.Facts{Machine: facts.Machine, Limits: facts.Limits, Gaps: facts.Gaps}
}

// askBinding asks about the ports of a need on the target itself.
func (r *round) askBinding(b *batch, key resultKey) {
	n := &r.needs[key.need]
	try := n.try(key.proto, false)
	if n.Expect == config.Listening {
		try.Look, try.RunAs = true, ""
	}
	if n.Only { // what listens outside of the need's addresses is of interest, too
		b.try(host.Try{Binding: port.Binding{Protocol: key.proto, Addresses: []port.Address{port.Any}}, Ports: n.Ports, Look: true}, func(host.Tried, answer) {})
	}
	b.try(try, func(tried host.Tried, a answer) {
		r.tableOnly = r.tableOnly || tried.NoBindReason != ""
		r.boundHidden = r.boundHidden || tried.BoundHidden
		result := r.judge(*n, key.proto, tried, a)
		r.keep(key, &result)
	})
}

// judge returns the result of a need from the answer about its ports.
func (r *round) judge(n Need, proto port.Protocol, tried host.Tried, a answer) Result {
	judge := judgeFree
	if n.Expect == config.Listening {
		judge = judgeListening
	}
	facts := r.limit(a.about(n.Ports))
	result := judge(n, proto, tried, facts)
	n.followCallers(&result, proto, tried, facts, a.byPort)
	result.OS, result.Confined, result.Withheld = a.Machine.OS, a.Machine.Confined, a.Machine.Withheld
	from := a.Limits.UnprivilegedFrom
	result.UnprivilegedFrom = &from
	if uid := a.Machine.UID; uid >= 0 {
		result.UID = &uid // a pointer into the answer would keep all of it in memory
	}
	n.notePorts(&result, a.Machine.OS)
	n.noteEphemeral(&result, a.Limits.Ephemeral, a.reserved, "on this host")
	return result
}

// limit returns facts about a need with as many holders as the run may still compare.
func (r *round) limit(f host.Facts) host.Facts {
	n := 0
	for _, s := range f.Sockets {
		n += len(s.Holders)
	}
	if r.compared.Add(int64(n)) <= mostComparisons {
		return f
	}
	for i := range f.Sockets {
		if s := &f.Sockets[i]; len(s.Holders) > fewHolders {
			s.Holders, s.MoreHolders, s.ForksUnseen, s.Complete = s.Holders[:fewHolders], true, true, false
		}
	}
	return f
}

// keep keeps a result in place of an earlier one, with as many holders as the run may
// still list, and at least one.
func (r *round) keep(key resultKey, result *Result) {
	r.listedMu.Lock()
	defer r.listedMu.Unlock()
	if old := r.results[key]; old != nil {
		for i := range old.Holders {
			r.listed -= bytesOf(&old.Holders[i])
		}
	}
	r.results[key] = result
	size, beyond := result.list(bytesOfHolders - r.listed)
	r.listed += size
	if beyond == 0 {
		return
	}
	complete := false
	result.Complete, result.ForksUnseen = &complete, true
	r.needs[key.need].notify(result, config.Degraded, "there are %d more holders than are listed: those of a run's results take about %d MiB", beyond, bytesOfHolders>>20)
}

// bytesOf returns about how many bytes a holder takes.
func bytesOf(h *Holder) int64 {
	size := 512 + len(h.Process) + len(h.Executable) + len(h.Unit) + len(h.User)
	if j := h.From().Job; j != nil {
		size += 48 + len(j.Name) + len(j.Text)
	}
	if c := h.Container; c != nil {
		size += len(c.ID) + len(c.Name) + len(c.Image) + len(c.Compose) + len(c.Service)
	}
	for _, word := range h.Command {
		size += len(word) + 40
	}
	return int64(size)
}

// askRange asks which ports of a need's range are open. It takes from the last
// try of the batch whether the socket table is whole, so that try has to be of the
// same protocol.
func (r *round) askRange(b *batch, n Need, proto port.Protocol) {
	tried := len(b.Tries) - 1
	b.scan(host.Scan{Binding: n.Binding(proto), Ports: n.Range}, func(open port.Set, a answer) {
		s := scan{open: open, whole: a.Tried[tried].TableOK}
		s.bits.AddSet(open)
		r.scans[r.scanKey(n, proto)] = &s
	})
}

// fail sets the status of needs to unknown.
func (r *round) fail(needs []int, err error) {
	r.err = err
	for _, i := range needs {
		n := r.needs[i]
		for _, proto := range n.Protocols {
			result := n.result(proto)
			result.Status, result.Method, result.Endpoints = Unknown, None, []Endpoint{}
			result.Message = fmt.Sprintf("%s could not be checked: %s", n.subject(proto), err)
			r.results[resultKey{i, proto}] = &result
		}
	}
}
