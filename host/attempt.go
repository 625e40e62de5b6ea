package host

import (
	"runtime"
	"slices"

	"github.com/org/portcheck/port"
)

// bindAll makes the first attempt at every try.
func (p *probe) bindAll() {
	all := make([]int, len(p.req.Tries))
	for i := range all {
		all[i] = i
	}
	p.bind(all)
}

// bind makes an attempt at each of these tries, those of one user together.
func (p *probe) bind(tries []int) {
	byUser := map[string][]int{}
	var users []string
	for _, i := range tries {
		user := p.req.Tries[i].RunAs
		if _, known := byUser[user]; !known {
			users = append(users, user)
		}
		byUser[user] = append(byUser[user], i)
	}
	for _, user := range users {
		op, err := asUser(user, func(uid int) {
			for _, i := range byUser[user] {
				if p.ctx.Err() != nil {
					return
				}
				p.facts.Tried[i].UID = uid
				p.facts.Tried[i].Attempts = p.attempt(p.req.Tries[i], p.seen[i], p.whole[p.req.Tries[i].Protocol])
				p.facts.Limits.markExcluded(p.facts.Tried[i].Attempts, p.seen[i])
			}
		})
		if err == nil {
			continue
		}
		outcome, errno := classify(op, err)
		for _, i := range byUser[user] {
			t := p.req.Tries[i]
			p.facts.Tried[i] = Tried{Attempts: untried(t), UID: -1}
			if !t.Look {
				for k := range p.facts.Tried[i].Attempts {
					a := &p.facts.Tried[i].Attempts[k]
					a.Outcome, a.Op, a.Errno = outcome, op, errno
				}
			}
		}
	}
}

// attempt binds every endpoint of every port as the app would. The sockets of
// one port stay open until the last of them is bound, because they may exclude
// each other. Different ports never do, so a block needs no more descriptors
// than one port. Without a whole table, a server that shares its port can't be
// seen, so a binding that could take a part of its traffic is not made. Ports that other
// jobs have leased are not bound either. If the probe's context ends, the attempts are
// not complete.
func (p *probe) attempt(t Try, visible []Socket, whole bool) []Attempt {
	if t.Look || !whole && t.Binding.MayTake(runtime.GOOS) {
		return untried(t)
	}
	var all []Attempt
	table := newTable(visible)
	for n := int(t.Ports.First); n <= int(t.Ports.Last) && p.ctx.Err() == nil; n++ {
		endpoints := endpointsAt(t.Binding, uint16(n))
		if p.othersHave(t.Protocol, uint16(n)) || wouldShare(t.Binding, endpoints, table.on(uint16(n))) {
			for _, e := range endpoints {
				all = append(all, Attempt{Endpoint: e, Outcome: NotTried})
			}
			continue
		}
		var held []func()
		try := func(e port.Endpoint) Outcome {
			release, op, err := openSocket(t.Binding, e)
			if err != nil {
				outcome, errno := classify(op, err)
				all = append(all, Attempt{e, outcome, op, errno})
				return outcome
			}
			held = append(held, release)
			all = append(all, Attempt{Endpoint: e, Outcome: OK})
			return OK
		}
		for _, e := range endpoints {
			dual := e.Addr.Is6() && e.Addr.IsUnspecified() && !e.V6Only
			if try(e) == NoFamily && dual {
				e.Addr = ipv4Unspecified
				try(e)
			}
		}
		for _, release := range held {
			release()
		}
	}
	return all
}

// opDevice is the operation that binds a socket to a device.
const opDevice = "setsockopt(SO_BINDTODEVICE)"

// markExcluded marks the binds that were denied because the OS reserves the
// port. Windows returns WSAEACCES for these, for a missing right, and for an
// exclusive listener.
func (l Limits) markExcluded(attempts []Attempt, visible []Socket) {
	if len(l.Excluded) == 0 {
		return
	}
	table := newTable(visible)
	for i := range attempts {
		a := &attempts[i]
		if a.Outcome == Denied && l.Excluded[a.Protocol].Contains(a.Port) &&
			!anyOverlaps(table.on(a.Port), a.Endpoint) {
			a.Outcome = Excluded
		}
	}
}

// untried returns the attempts of a try of which nothing is bound.
func untried(t Try) []Attempt {
	var all []Attempt
	for n := int(t.Ports.First); n <= int(t.Ports.Last); n++ {
		for _, e := range endpointsAt(t.Binding, uint16(n)) {
			all = append(all, Attempt{Endpoint: e, Outcome: NotTried})
		}
	}
	return all
}

// endpointsAt expands a binding at one port. A zone may be written as a number;
// it becomes the device's name, which is what the table has.
func endpointsAt(b port.Binding, n uint16) []port.Endpoint {
	endpoints := b.At(n)
	for i := range endpoints {
		endpoints[i].Device = deviceName(endpoints[i].Device)
	}
	return endpoints
}

// wouldShare reports whether a bind could take traffic from a running server:
// its options allow it to share, and there is a listener to share with.
func wouldShare(b port.Binding, endpoints []port.Endpoint, visible []Socket) bool {
	if !b.MayTake(runtime.GOOS) {
		return false
	}
	return slices.ContainsFunc(visible, func(s Socket) bool {
		return slices.ContainsFunc(endpoints, func(e port.Endpoint) bool { return s.Shares(e) && b.MayTakeFrom(s.Endpoint, e, runtime.GOOS) })
	})
}

func anyOverlaps(sockets []Socket, e port.Endpoint) bool {
	return slices.ContainsFunc(sockets, func(s Socket) bool { return s.Overlaps(e) })
}

func overlapsAny(e port.Endpoint, all []port.Endpoint) bool {
	return slices.ContainsFunc(all, e.Overlaps)
}
