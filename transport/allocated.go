package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/transport/internal/engine"
)

// allocatedTimeout bounds how long a probe waits for what an engine has allocated.
const allocatedTimeout = 300 * time.Millisecond

// listensHere reports whether the engine's socket is in our own network namespace.
func listensHere(ctx context.Context, e *engine.Engine) bool {
	path := e.Socket()
	return path != "" && host.ListensHere(ctx, path)
}

// engineList is the answer of an engine that is in the network namespace of a probe.
type engineList struct {
	containers []container // nil if there is no such engine, or no answer
	gap        *host.Gap
}

// askAllocated lists the containers of the engine beside a probe that is about to
// start. The function that it returns waits for the list.
func (n namingHost) askAllocated(ctx context.Context, req host.Request) func() engineList {
	if !slices.ContainsFunc(req.Tries, func(t host.Try) bool { return t.Callers }) {
		return func() engineList { return engineList{} }
	}
	var list engineList
	done := panics.Beside(func() { list = n.listAllocated(ctx) })
	return func() engineList {
		(<-done).Repanic()
		return list
	}
}

func (n namingHost) listAllocated(ctx context.Context) engineList {
	e, err := n.find()
	if err != nil {
		return engineList{} // it is an error where the engine is needed
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(ctx, allocatedTimeout)
	defer cancel()
	if !n.beside(ctx, e) {
		return engineList{}
	}
	entries, err := e.List(ctx, false)
	if err == nil {
		return engineList{containers: n.containersOf(e, entries)}
	}
	gap := &host.Gap{Kind: host.GapAllocated, What: fmt.Sprintf("the container engine at %s did not say which ports it has given to containers", e)}
	var unreached *engine.Unreached
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		gap.What += fmt.Sprintf(" within %s", allocatedTimeout)
	case errors.As(err, &unreached):
		gap.Op, gap.Errno = unreached.Op, host.ErrnoName(unreached.Unwrap())
	default:
		gap.What += ": " + err.Error()
	}
	return engineList{gap: gap}
}

// addTo adds to facts what the engine has allocated of the requested ports, and the
// containers to which NAT rules send callers.
func (l engineList) addTo(facts *host.Facts, req host.Request) {
	if l.gap != nil {
		facts.Gaps = append(facts.Gaps, *l.gap)
	}
	if l.containers == nil {
		return
	}
	requested := map[port.Protocol]*port.Bits{}
	for _, t := range req.Tries {
		if requested[t.Protocol] == nil {
			requested[t.Protocol] = new(port.Bits)
		}
		requested[t.Protocol].AddSet(port.Set{t.Ports})
	}
	for _, c := range l.containers {
		for _, p := range c.published {
			if bits := requested[p.Protocol]; bits != nil && bits.Has(p.Port) {
				facts.Allocated = append(facts.Allocated, host.Allocation{Endpoint: p, Container: c.id, ContainerInfo: &c.info, User: c.user})
			}
		}
	}
	for i := range facts.Tried {
		routes := facts.Tried[i].Routes
		for j := range routes {
			for k := range routes[j].To {
				l.nameDestination(&routes[j].To[k])
			}
		}
	}
}

// nameDestination sets the container that has the address of a destination.
func (l engineList) nameDestination(d *host.Destination) {
	if d.Here || !d.Addr.IsValid() {
		return
	}
	found := -1
	for i, c := range l.containers {
		if !slices.Contains(c.addrs, d.Addr) {
			continue
		}
		if found >= 0 {
			return // two networks of one address
		}
		found = i
	}
	if found >= 0 {
		c := &l.containers[found]
		d.Container, d.ContainerInfo = c.id, &c.info
	}
}
