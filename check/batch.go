package check

import (
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
	byPort map[uint16][]host.Socket
}

// about returns the answer without the sockets of other ports.
func (a answer) about(ports port.Range) host.Facts {
	f := a.Facts
	f.Sockets = nil
	for p := range (port.Set{ports}).All {
		f.Sockets = append(f.Sockets, a.byPort[p]...)
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

// dial asks for a connect to each of ports.
func (b *batch) dial(remote string, ports port.Range, take func([]host.Attempt)) {
	first := len(b.Dials)
	for p := range (port.Set{ports}).All {
		b.Dials = append(b.Dials, host.Dial{Host: remote, Port: p})
	}
	last := len(b.Dials)
	b.takers = append(b.takers, func(a answer) { take(a.Dialed[first:last]) })
}

// take hands out an answer, in the order of the questions.
func (b *batch) take(f host.Facts) {
	a := answer{f, map[uint16][]host.Socket{}}
	for _, s := range f.Sockets {
		a.byPort[s.Port] = append(a.byPort[s.Port], s)
	}
	for _, take := range b.takers {
		take(a)
	}
}
