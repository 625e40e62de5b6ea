package check

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// look finds out which ports of a target's ranges can't be had, without a bind: only what
// is locked is bound. It also finds the needs that have their own server already.
func (a *assignment) look(ctx context.Context, p *site) error {
	r := newRound(p.Shared(), newPlan(ctx, a.needs, 1, a.Options))
	if err := r.reach(ctx); err != nil {
		return err
	}
	b, asked := &batch{}, map[scanKey]bool{}
	b.try(lookOnly(port.Binding{Protocol: port.TCP}), func(host.Tried, answer) {})
	for i, n := range a.needs {
		if a.at[i] != p || a.got[i] != 0 && len(a.of[i].needs) == 1 || len(n.Range) == 0 {
			continue
		}
		for _, proto := range n.Protocols {
			if key := r.scanKey(n, proto); !asked[key] && !(proto == port.TCP && n.guarded()) {
				asked[key] = true
				b.try(lookOnly(n.Binding(proto)), func(host.Tried, answer) {})
				r.askRange(b, n, proto)
			}
		}
	}
	facts, err := r.ask(ctx, b.Request)
	if err == nil {
		err = wholeTable(facts)
	}
	if err != nil {
		return fmt.Errorf("ports can't be chosen: %w", err)
	}
	r.facts = facts
	b.take(ctx, facts)
	p.scan = r
	return a.findOwned(ctx, p)
}

// findOwned finds the needs of which the owner listens already. Their ports get no
// guard, which would fail.
func (a *assignment) findOwned(ctx context.Context, p *site) error {
	var some []int
	for i, n := range a.needs {
		if a.at[i] == p && a.got[i] == 0 && len(n.Owner) > 0 && !n.Auto {
			some = append(some, i)
		}
	}
	results, err := a.judge(ctx, p, some, nil)
	for _, i := range some {
		a.owned[i] = err == nil && !slices.ContainsFunc(results[i], func(r Result) bool { return r.Status != Owned })
	}
	return err
}

// guarded reports whether a keeper holds the need's TCP ports by a socket: its server
// has to set SO_REUSEADDR.
func (n Need) guarded() bool {
	return n.Binding(port.TCP).ReuseAddress && (n.Guard == nil || *n.Guard)
}

// guardedUDP is guarded for UDP ports, of which few servers set SO_REUSEADDR.
func (n Need) guardedUDP() bool {
	return n.Binding(port.UDP).ReuseAddress && n.Guard != nil && *n.Guard
}

// candidates returns where the ports of a group may start, in order of preference.
func (a *assignment) candidates(g *group) port.Set {
	if g.held != 0 {
		return port.Set{port.One(g.held)}
	}
	all := g.list
	if all == nil {
		all = a.starts(g.needs[0])
		for _, i := range g.needs[1:] {
			var others port.Bits
			others.AddSet(a.starts(i))
			all = all.Without(func(p uint16) bool { return !others.Has(p) })
		}
	}
	if g.unfit == (port.Bits{}) {
		return all
	}
	return all.Without(g.unfit.Has)
}

// starts returns where the ports of a need may start, in order of preference: its
// declared port, then the others of its range.
func (a *assignment) starts(i int) port.Set {
	n := a.needs[i]
	var all port.Set
	if !n.Auto {
		all = append(all, port.One(n.Ports.First))
	}
	if len(n.Range) == 0 || a.owned[i] && !a.of[i].unfit.Has(n.Ports.First) {
		return all
	}
	return append(all, a.inRange(n, a.at[i].scan)...)
}

// choosing is what makes the choice of two needs the same.
type choosing struct {
	scan    *round
	scans   [2]scanKey // of each protocol
	exclude string
	size    int
	unsafe  *port.Bits
}

// inRange returns where the ports of a need may start in its range: from the job's own
// place on, with those that outgoing connections use, and those that browsers refuse, last.
func (a *assignment) inRange(n Need, r *round) port.Set {
	size, unsafe := n.Ports.Len(), n.unsafe()
	key := choosing{scan: r, exclude: r.ranges.of(n.Exclude), size: size, unsafe: unsafe}
	for k, proto := range n.Protocols {
		key.scans[k] = r.scanKey(n, proto)
	}
	if found, ok := a.chosen[key]; ok {
		return found
	}
	all := port.Set{}
	var allowed, excluded port.Bits
	allowed.AddSet(n.Range)
	excluded.AddSet(n.Exclude)
	excluded.AddSet(r.facts.Limits.Reserved)
	for _, proto := range n.Protocols {
		if s := r.scans[r.scanKey(n, proto)]; s != nil {
			allowed.Keep(&s.bits)
		}
		if c := a.claimed[claimKey{n.Target, proto}]; c != nil {
			excluded.Join(c)
		}
	}
	total := 0
	for _, one := range n.Range {
		total += one.Len()
	}
	block := func(p uint16) port.Range { return port.Range{First: p, Last: p + uint16(size-1)} }
	usable := rotated(n.Range, int(hash(a.Place)%uint64(total))).Without(func(p uint16) bool {
		return int(p)+size-1 > port.MaxPort || !allowed.HasAll(block(p)) || excluded.HasAny(block(p))
	})
	passing := r.ephemeral()
	phaseOf := func(p uint16) phase {
		switch {
		case passing.HasAny(block(p)):
			return ephemeral
		case unsafe != nil && unsafe.HasAny(block(p)):
			return refused
		}
		return stable
	}
	for ph := range exhausted {
		all = append(all, usable.Without(func(p uint16) bool { return phaseOf(p) != ph })...)
	}
	a.chosen[key] = all
	return all
}

// hash returns a number for a text.
func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // always nil
	return h.Sum64()
}

// rotated returns a set in the order that starts at its port of that index.
func rotated(s port.Set, index int) port.Set {
	for i, r := range s {
		if index >= r.Len() {
			index -= r.Len()
			continue
		}
		at := r.First + uint16(index)
		all := append(port.Set{{First: at, Last: r.Last}}, s[i+1:]...)
		all = append(all, s[:i]...)
		if index > 0 {
			all = append(all, port.Range{First: r.First, Last: at - 1})
		}
		return all
	}
	return s
}

// indexOf returns the index of a port in the order of a set.
func indexOf(s port.Set, n uint16) int {
	before := 0
	for _, r := range s {
		if r.Contains(n) {
			return before + int(n-r.First)
		}
		before += r.Len()
	}
	return before
}

// startingAt returns the part of a set, in its order, from a port on.
func startingAt(s port.Set, n uint16) port.Set {
	for i, r := range s {
		if r.Contains(n) {
			return append(port.Set{{First: n, Last: r.Last}}, s[i+1:]...)
		}
	}
	return nil
}
