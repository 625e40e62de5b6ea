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
	// recheckFor bounds how long a bind that failed without a lasting reason
	// is repeated. Another portcheck that runs at the same time holds each
	// socket for less than a millisecond, but may be scheduled out.
	recheckFor      = 250 * time.Millisecond
	recheckInterval = 10 * time.Millisecond // plus up to as much jitter
)

// recheck reads the table again, with all states, for every try that met a
// socket, and repeats binds that failed for no lasting reason. Another portcheck
// that runs at the same time shows as a failed bind, or as a bound socket, that
// is gone a moment later.
func (p *probe) recheck() {
	start := time.Now()
	var open []int
	for i := range p.req.Tries {
		if (p.hasConflict(i) || len(p.seen[i]) > 0) && !p.firstPassSuffices(i) {
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
			case <-time.After(recheckInterval + rand.N(recheckInterval)):
			}
		}
		if round > 0 {
			p.bind(open)
		}
		p.readTableAgain(open)
		p.findStrangers(open)
		last := time.Since(start) > recheckFor
		open = slices.DeleteFunc(open, func(i int) bool {
			return last || p.stable(i, before[i])
		})
	}
}

// firstPassSuffices reports whether the first pass has all that matters about
// try i: the listeners, if that is all the try asks for, or a listener for each
// bind that failed. The first pass has every socket that can hold a port by
// itself. With Owners, connections matter too.
func (p *probe) firstPassSuffices(i int) bool {
	t, seen := p.req.Tries[i], p.seen[i]
	if t.Look || t.Owners {
		return t.Look
	}
	table := newTable(seen)
	for _, a := range p.facts.Tried[i].Attempts {
		here := table.on(a.Port)
		listener := slices.ContainsFunc(here, func(s Socket) bool {
			return s.State == Listen && s.Protocol == port.TCP && s.Overlaps(a.Endpoint)
		})
		free := a.Outcome == OK && !anyOverlaps(here, a.Endpoint)
		if !free && (a.Outcome != InUse || !listener) {
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

func (p *probe) hasConflict(i int) bool {
	return slices.ContainsFunc(p.facts.Tried[i].Attempts, func(a Attempt) bool { return a.Outcome == InUse })
}

// readTableAgain reads all states of the ports of these tries.
func (p *probe) readTableAgain(tries []int) {
	p.readAgain = true
	wanted := wantedPorts{}
	for _, i := range tries {
		wanted.add(p.req.Tries[i].Protocol, port.Set{p.req.Tries[i].Ports})
	}
	var queries []query
	for _, proto := range port.Protocols {
		if wanted[proto] != nil {
			queries = append(queries, query{protocol: proto, every: true, ports: wanted[proto]})
		}
	}
	got := readTable(p.ctx, queries)
	p.addGaps(got.gaps)
	fresh := newTable(got.sockets)
	again := make([]Try, len(tries))
	for k, i := range tries {
		again[k] = p.req.Tries[i]
	}
	settleV6Only(fresh, again)
	for _, q := range queries {
		p.whole[q.protocol] = p.whole[q.protocol] && got.whole[q.protocol]
	}
	for _, i := range tries {
		p.seen[i] = p.withoutGuards(append(fresh.overlapping(p.req.Tries[i]), fresh.blocking(p.facts.Tried[i].Attempts)...))
	}
}

// stable reports whether the result of try i will not change by itself: the
// bind worked and the table shows the same sockets as before, or the bind failed
// and the table shows why.
func (p *probe) stable(i int, before []Socket) bool {
	t, now := p.req.Tries[i], p.seen[i]
	then, table := newTable(before), newTable(now)
	wasThere := func(s Socket) bool { return slices.ContainsFunc(then.on(s.Port), s.same) }
	for _, a := range p.facts.Tried[i].Attempts {
		if a.Outcome == NotTried && !t.Look && !p.othersHave(a.Protocol, a.Port) && !wouldShare(t.Binding, endpointsAt(t.Binding, a.Port), table.on(a.Port)) {
			return false // the server that the bind would have disturbed has left
		}
	}
	if !p.hasConflict(i) {
		return !slices.ContainsFunc(now, func(s Socket) bool {
			return holdsForGood(s) && !wasThere(s)
		})
	}
	for _, a := range p.facts.Tried[i].Attempts {
		if a.Outcome != InUse {
			continue
		}
		var listens, shown, doubtful bool
		for _, s := range table.on(a.Port) {
			if !s.Overlaps(a.Endpoint) && !s.MayBlock(a.Endpoint) {
				continue
			}
			shown = true
			listens = listens || s.State == Listen && t.Protocol == port.TCP
			doubtful = doubtful || couldBeCheck(s) && !(p.strangers[keyOf(s)] && wasThere(s))
		}
		if !listens && (doubtful || !shown) {
			return false
		}
	}
	return true
}

// couldBeCheck reports whether a socket could be that of another portcheck,
// which binds, and neither listens nor connects.
func couldBeCheck(s Socket) bool {
	return s.State == Bound || s.State == Listen && s.Protocol == port.UDP
}

// findStrangers finds out which of the sockets that made binds fail belong to
// processes other than portcheck: there is no use in waiting for these to go.
func (p *probe) findStrangers(tries []int) {
	var unknown []Socket
	for _, i := range tries {
		if !p.hasConflict(i) {
			continue
		}
		for _, s := range p.seen[i] {
			if _, known := p.strangers[keyOf(s)]; !known && couldBeCheck(s) {
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
	findHolders(p.ctx, pointers, holderQuery{most: MostHolders}) // nameHolders adds the gaps
	for i, s := range unknown {
		p.strangers[keys[i]] = len(s.Holders) > 0 && !slices.ContainsFunc(s.Holders, mayBePortcheck)
	}
}

// mayBePortcheck reports whether a process is, or could be, a portcheck.
func mayBePortcheck(h Holder) bool {
	own, err := os.Executable()
	name := strings.TrimSuffix(filepath.Base(h.Executable), ".exe")
	return h.Executable == "" || name == "portcheck" || err == nil && h.Executable == own
}

func holdsForGood(s Socket) bool { return s.State == Listen || s.State == Bound }
