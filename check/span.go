package check

import (
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
func spans(needs []Need, rounds []*round) []Span {
	var all []Span
	seen := map[string]bool{}
	for _, n := range needs {
		if n.Expect != config.Free {
			continue
		}
		for _, r := range rounds {
			if r.Name != n.Target {
				continue
			}
			for _, proto := range n.Protocols {
				found := r.scans[scanKey(n, proto)]
				key := fmt.Sprint(n.Target, proto, n.Addresses, n.Range, n.Exclude)
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
