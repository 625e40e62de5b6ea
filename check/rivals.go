package check

import (
	"cmp"
	"context"
	"slices"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// rivalsShown bounds how many other needs a duplicate notice names.
const rivalsShown = 10

// findRivals returns for each result the other needs that can't be bound beside
// it. It returns at most rivalsShown and one more, so that a message can add
// "others": those that meet it at its lowest ports, at one port in the order of
// needs. If ctx ends, the result is not complete.
func findRivals(ctx context.Context, needs []Need) map[resultKey][]Need {
	type place struct {
		target string
		proto  port.Protocol
	}
	at := map[place][]footprint{}
	for i, n := range needs {
		if n.Expect != config.Free || n.Auto {
			continue
		}
		for _, proto := range n.Protocols {
			k := place{n.Target, proto}
			at[k] = append(at[k], newFootprint(i, &needs[i], proto))
		}
	}
	rivals := map[resultKey][]Need{}
	for k, prints := range at {
		slices.SortStableFunc(prints, func(a, b footprint) int { return cmp.Compare(a.need.Ports.First, b.need.Ports.First) })
		// prints[:started] are those that start no later than the current one.
		for i, started := 0, 0; i < len(prints) && ctx.Err() == nil; i++ {
			p := &prints[i]
			for started < len(prints) && prints[started].need.Ports.First <= p.need.Ports.First {
				started++
			}
			if found := p.rivals(prints, started); len(found) > 0 {
				rivals[resultKey{p.index, k.proto}] = found
			}
		}
	}
	return rivals
}

// rivals returns the first rivals of one of the prints, which are sorted by their
// first ports. The first started of them meet it at its first port, if at all, and
// each other one at its own first port.
func (p *footprint) rivals(prints []footprint, started int) []Need {
	var found []*footprint
	for i := range prints[:started] {
		o := &prints[i]
		if o.need.Ports.Last < p.need.Ports.First || !p.excludes(o) {
			continue
		}
		found = append(found, o)
		slices.SortFunc(found, func(a, b *footprint) int { return cmp.Compare(a.index, b.index) })
		found = found[:min(len(found), rivalsShown+1)]
	}
	for i := started; i < len(prints) && len(found) <= rivalsShown; i++ {
		o := &prints[i]
		if o.need.Ports.First > p.need.Ports.Last {
			break
		}
		if p.excludes(o) {
			found = append(found, o)
		}
	}
	needs := make([]Need, len(found))
	for i, o := range found {
		needs[i] = *o.need
	}
	return needs
}

// footprint is what a need occupies at each of its ports, for one protocol, in a
// form that is compared quickly with thousands of others.
type footprint struct {
	index     int // of the need
	need      *Need
	binding   port.Binding
	wildcards []port.Endpoint
	addresses []port.Endpoint // all others, sorted by address
	has4      bool
	has6      bool
}

func newFootprint(index int, n *Need, proto port.Protocol) footprint {
	p := footprint{index: index, need: n, binding: n.Binding(proto)}
	for _, e := range p.binding.At(1) {
		e.Addr = e.Addr.Unmap()
		switch {
		case e.Addr.IsUnspecified():
			p.wildcards = append(p.wildcards, e)
		default:
			p.addresses = append(p.addresses, e)
		}
		p.has4, p.has6 = p.has4 || e.Addr.Is4(), p.has6 || e.Addr.Is6()
	}
	slices.SortFunc(p.addresses, func(a, b port.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return p
}

// excludes reports whether two needs of one target and port exclude each other.
// Needs of one file do so unless they are of different groups, which never run
// together. Needs of different files do so only if both name the same machine, or belong to one
// Compose project.
func (p *footprint) excludes(o *footprint) bool {
	a, b := p.need, o.need
	switch {
	case p.index == o.index, a.At.File != b.At.File && (a.Machine == "" || a.Machine != b.Machine) && (a.Project == "" || a.Project != b.Project):
		return false
	case a.At.File == b.At.File && a.Group != b.Group:
		return false
	case p.binding.MayShareWith(o.binding), a.Device != "" && b.Device != "" && a.Device != b.Device:
		return false
	}
	return p.covers(o) || o.covers(p) || p.meets(o)
}

// covers reports whether a wildcard address of p overlaps an address of o.
func (p *footprint) covers(o *footprint) bool {
	return slices.ContainsFunc(p.wildcards, func(e port.Endpoint) bool {
		return e.Addr.Is4() && o.has4 || e.Addr.Is6() && (o.has6 || !e.V6Only && o.has4)
	})
}

// meets reports whether the two have an address in common that is no wildcard.
func (p *footprint) meets(o *footprint) bool {
	a, b := p.addresses, o.addresses
	for len(a) > 0 && len(b) > 0 {
		switch order := a[0].Addr.Compare(b[0].Addr); {
		case order < 0:
			a = a[1:]
		case order > 0:
			b = b[1:]
		default:
			// The devices of one address are few: 64 addresses are the limit of a need.
			same := func(all []port.Endpoint) []port.Endpoint {
				n := 1
				for n < len(all) && all[n].Addr == all[0].Addr {
					n++
				}
				return all[:n]
			}
			mine, others := same(a), same(b)
			if slices.ContainsFunc(mine, func(e port.Endpoint) bool { return slices.ContainsFunc(others, e.Overlaps) }) {
				return true
			}
			a, b = a[len(mine):], b[len(others):]
		}
	}
	return false
}
