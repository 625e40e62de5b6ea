package check

import (
	"context"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// batch is a request in the making: each question is added together with the
// function that takes its part of the answer.
type batch struct {
	host.Request
	takers []func(answer)
}

// answer is the answer to a batch, with its sockets by port.
type answer struct {
	host.Facts
	byPort    socketsByPort
	allocated map[uint16][]host.Allocation
	reserved  *port.Bits // of Limits
}

// socketsByPort are sockets by their port, so that a block is compared with those of
// each port alone.
type socketsByPort map[uint16][]host.Socket

func byPort(sockets []host.Socket) socketsByPort {
	all := socketsByPort{}
	for _, s := range sockets {
		all[s.Port] = append(all[s.Port], s)
	}
	return all
}

// overlapping returns the sockets that overlap an endpoint.
func (s socketsByPort) overlapping(e port.Endpoint) []host.Socket {
	return overlapping(s[e.Port], e)
}

// inTheWay returns the sockets that overlap the endpoint of an attempt, or else those
// that can be the reason why it failed.
func (s socketsByPort) inTheWay(a host.Attempt) []host.Socket {
	all := s.overlapping(a.Endpoint)
	if len(all) > 0 || a.Outcome != host.InUse {
		return all
	}
	for _, x := range s[a.Port] {
		if x.MayBlock(a.Endpoint) {
			all = append(all, x)
		}
	}
	return all
}

// about returns the answer without the sockets of other ports, and with what
// engines have allocated of these.
func (a answer) about(ports port.Range) host.Facts {
	f := a.Facts
	f.Sockets, f.Leases = nil, nil
	for _, l := range a.Leases {
		if ports.Contains(l.Port) {
			f.Leases = append(f.Leases, l)
		}
	}
	for p := int(ports.First); p <= int(ports.Last) && len(a.byPort)+len(a.allocated) > 0; p++ {
		f.Sockets = append(f.Sockets, withAllocated(a.byPort[uint16(p)], a.allocated[uint16(p)])...)
	}
	return f
}

func (b *batch) try(t host.Try, take func(host.Tried, answer)) {
	i := len(b.Tries)
	b.Tries = append(b.Tries, t)
	b.takers = append(b.takers, func(a answer) { take(a.Tried[i], a) })
}

func (b *batch) scan(s host.Scan, take func(port.Set, answer)) {
	i := len(b.Scans)
	b.Scans = append(b.Scans, s)
	b.takers = append(b.takers, func(a answer) { take(a.Open[i], a) })
}

// dial asks for a connect to each of ports, each within timeout.
func (b *batch) dial(remote string, ports port.Range, timeout time.Duration, take func([]host.Attempt)) {
	first := len(b.Dials)
	for p := range (port.Set{ports}).All {
		b.Dials = append(b.Dials, host.Dial{Host: remote, Port: p, Timeout: timeout})
	}
	last := len(b.Dials)
	b.takers = append(b.takers, func(a answer) { take(a.Dialed[first:last]) })
}

// take hands out an answer, in the order of the questions, until ctx ends.
func (b *batch) take(ctx context.Context, f host.Facts) {
	a := answer{f, byPort(f.Sockets), map[uint16][]host.Allocation{}, new(port.Bits)}
	for _, x := range f.Allocated {
		a.allocated[x.Port] = append(a.allocated[x.Port], x)
	}
	a.reserved.AddSet(f.Limits.Reserved)
	for _, take := range b.takers {
		if ctx.Err() != nil {
			return
		}
		take(a)
	}
}
