package host

import (
	"slices"
	"time"

	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// mostLooked is how many locks are tried one by one. Of more ports the list of locks is
// read.
const mostLooked = 4096

// askLeases finds out which ports of the tries are leased, before anything is bound.
// What it can't find out in time is left out.
func (p *probe) askLeases() {
	start := time.Now()
	budget := leaseBudget
	if p.req.LeaseBudget > 0 {
		budget = min(budget, p.req.LeaseBudget)
	}
	wanted := wantedPorts{}
	for _, t := range p.req.Tries {
		wanted.add(t.Protocol, port.Set{t.Ports})
	}
	var locks []lease.Held
	for _, proto := range port.Protocols {
		if bits := wanted[proto]; bits != nil {
			for n := bits.Next(1); n <= port.MaxPort; n = bits.Next(uint16(n + 1)) {
				locks = append(locks, lease.Held{Protocol: proto, Port: uint16(n)})
				if n == port.MaxPort {
					break
				}
			}
		}
	}
	var held []lease.Held
	if len(locks) <= mostLooked {
		held = lease.LookAll(locks, start.Add(budget))
	} else {
		all, err := lease.List(start.Add(budget))
		if err != nil {
			p.addGaps([]Gap{{What: "leases of ports could not be listed: " + err.Error()}})
		}
		held = slices.DeleteFunc(all, func(h lease.Held) bool {
			bits := wanted[h.Protocol]
			return bits == nil || !bits.Has(h.Port)
		})
	}
	p.facts.Leases = describeLeases(held, p.req.Job)
	for _, l := range p.facts.Leases {
		p.leases[protocolPort{l.Protocol, l.Port}] = l
	}
	p.facts.LeaseTime = time.Since(start)
}
