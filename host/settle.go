package host

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/port"
)

const (
	// settleFor bounds how long a bind that failed without a lasting reason
	// is repeated: checks that run beside this one hold their sockets for
	// less than a millisecond each, but may be scheduled out.
	settleFor = 250 * time.Millisecond
	settleGap = 10 * time.Millisecond // between two looks, plus up to as much jitter
)

// settle looks again at every try that was not quiet, with all states of its
// ports, and repeats binds that failed for no lasting reason. A check that runs
// beside this one shows as a failed bind, or as a bound socket, that is gone a
// moment later.
func (p *probe) settle() {
	start := time.Now()
	var open []int
	for i := range p.req.Tries {
		if (p.conflict(i) || len(p.seen[i]) > 0) && !p.explained(i) {
			open = append(open, i)
		}
	}
	for round := 0; len(open) > 0; round++ {
		before := make([][]Socket, len(p.seen))
		for _, i := range open {
			before[i] = p.seen[i]
		}
		if round > 0 || p.anyBound(open) {
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(settleGap + rand.N(settleGap)):
			}
		}
		if round > 0 {
			p.bind(open)
		}
		p.look(open)
		p.meetStrangers(open)
		last := time.Since(start) > settleFor
		open = slices.DeleteFunc(open, func(i int) bool {
			return last || p.lasting(i, before[i])
		})
	}
}

// explained says whether the first pass already tells all that matters of try i:
// who listens, if that is what was asked, or a listener for each bind that
// failed. All that hold a port by themselves are in the first pass; with Owners,
// connections matter too.
func (p *probe) explained(i int) bool {
	t, seen := p.req.Tries[i], p.seen[i]
	if t.Look || t.Owners {
		return t.Look
	}
	for _, a := range p.facts.Tried[i].Attempts {
		listener := slices.ContainsFunc(seen, func(s Socket) bool {
			return s.State == Listen && s.Protocol == port.TCP && s.Overlaps(a.Endpoint)
		})
		quiet := a.Outcome == OK && !anyOverlaps(seen, a.Endpoint)
		if !quiet && (a.Outcome != InUse || !listener) {
			return false
		}
	}
	return true
}

func (p *probe) anyBound(tries []int) bool {
	return slices.ContainsFunc(tries, func(i int) bool {
		return slices.ContainsFunc(p.seen[i], func(s Socket) bool { return s.State == Bound })
	})
}

func (p *probe) conflict(i int) bool {
	return slices.ContainsFunc(p.facts.Tried[i].Attempts, func(a Attempt) bool { return a.Outcome == InUse })
}

// look reads all states of the ports of these tries.
func (p *probe) look(tries []int) {
	wanted := wantedPorts{}
	for _, i := range tries {
		wanted.add(p.req.Tries[i].Protocol, port.Set{p.req.Tries[i].Ports})
	}
	var queries []query
	for _, proto := range port.Protocols {
		if wanted[proto] != nil {
			queries = append(queries, query{proto, true, wanted[proto]})
		}
	}
	got := readTable(p.ctx, queries)
	p.addGaps(got.gaps)
	fresh := newTable(got.sockets)
	for _, q := range queries {
		p.whole[q.protocol] = p.whole[q.protocol] && got.whole[q.protocol]
	}
	for _, i := range tries {
		p.seen[i] = fresh.overlapping(p.req.Tries[i])
	}
}

// lasting says whether what try i showed will not change by itself: the bind
// worked and the table shows the same sockets as before, or it failed and the
// table shows why.
func (p *probe) lasting(i int, before []Socket) bool {
	t, now := p.req.Tries[i], p.seen[i]
	for _, a := range p.facts.Tried[i].Attempts {
		if a.Outcome == NotTried && !t.Look && !wouldShare(t.Binding, endpointsAt(t.Binding, a.Port), now) {
			return false // whom we spared has left
		}
	}
	if !p.conflict(i) {
		return !slices.ContainsFunc(now, func(s Socket) bool {
			return holdsForGood(s) && !slices.ContainsFunc(before, s.same)
		})
	}
	for _, a := range p.facts.Tried[i].Attempts {
		if a.Outcome != InUse {
			continue
		}
		var listens, shown, doubt bool
		for _, s := range now {
			if !s.Overlaps(a.Endpoint) {
				continue
			}
			shown = true
			listens = listens || s.State == Listen && t.Protocol == port.TCP
			doubt = doubt || maybeCheck(s) && !(p.strangers[keyOf(s)] && slices.ContainsFunc(before, s.same))
		}
		if !listens && (doubt || !shown) {
			return false
		}
	}
	return true
}

// maybeCheck says whether a socket could be that of a check beside this one: it
// binds, and neither listens nor connects.
func maybeCheck(s Socket) bool {
	return s.State == Bound || s.State == Listen && s.Protocol == port.UDP
}

// meetStrangers finds out which of the sockets that made binds fail belong to
// processes that are no checks, so that nobody has to wait for them to go.
func (p *probe) meetStrangers(tries []int) {
	var unknown []Socket
	for _, i := range tries {
		if !p.conflict(i) {
			continue
		}
		for _, s := range p.seen[i] {
			if _, known := p.strangers[keyOf(s)]; !known && maybeCheck(s) {
				p.strangers[keyOf(s)] = false
				s.Holders = slices.Clone(s.Holders)
				unknown = append(unknown, s)
			}
		}
	}
	if len(unknown) == 0 {
		return
	}
	pointers := make([]*Socket, len(unknown))
	keys := make([]socketKey, len(unknown))
	for i := range unknown {
		pointers[i], keys[i] = &unknown[i], keyOf(unknown[i])
	}
	findHolders(p.ctx, pointers, false, false) // what it can't see is said by nameHolders
	for i, s := range unknown {
		p.strangers[keys[i]] = len(s.Holders) > 0 && !slices.ContainsFunc(s.Holders, isCheck)
	}
}

// isCheck says whether a process is, or could be, a portcheck.
func isCheck(h Holder) bool {
	own, err := os.Executable()
	name := strings.TrimSuffix(filepath.Base(h.Executable), ".exe")
	return h.Executable == "" || name == "portcheck" || err == nil && h.Executable == own
}

func holdsForGood(s Socket) bool { return s.State == Listen || s.State == Bound }
