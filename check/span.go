package check

import (
	"context"
	"fmt"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// Span is a range that alternatives may come from, as the socket table of a
// target showed it before the verdicts.
type Span struct {
	Target   string
	Protocol port.Protocol
	Address  []port.Address
	Ports    port.Set // in the author's order
	Exclude  port.Set // never suggested
	Open     port.Set // of Ports: without a visible socket, and not reserved
}

// spans returns the ranges of the needs, each once for a target and binding. A
// target without a whole socket table has none.
func spans(ctx context.Context, needs []Need, rounds []*round) []Span {
	var all []Span
	byName := map[string][]*round{}
	for _, r := range rounds {
		byName[r.Name] = append(byName[r.Name], r)
	}
	type spanKey struct {
		target    string
		protocol  port.Protocol
		addresses string
		ranges    string
		exclude   string
	}
	seen := map[spanKey]bool{}
	for _, n := range needs {
		if n.Expect != config.Free || ctx.Err() != nil {
			continue
		}
		for _, r := range byName[n.Target] {
			if len(r.scans) == 0 {
				continue
			}
			for _, proto := range n.Protocols {
				found := r.scans[r.scanKey(n, proto)]
				key := spanKey{n.Target, proto, fmt.Sprint(n.Addresses), r.ranges.of(n.Range), r.ranges.of(n.Exclude)}
				if found == nil || !found.whole || seen[key] {
					continue
				}
				seen[key] = true
				all = append(all, Span{n.Target, proto, n.Addresses, n.Range, n.Exclude, found.open})
			}
		}
	}
	return all
}
