package host

import (
	"errors"
	"os"
	"slices"
	"time"

	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// mostTried is how many locks are tried one by one. Of more ports the list of locks is
// read.
const mostTried = 4096

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
	known := map[lease.Held]bool{}
	for _, h := range p.req.Held {
		if bits := wanted[h.Protocol]; bits != nil && bits.Has(h.Port) {
			l := lease.Held{Protocol: h.Protocol, Port: h.Port}
			known[l] = true
			p.leases[protocolPort{h.Protocol, h.Port}] = Lease{Protocol: h.Protocol, Port: h.Port, UID: os.Geteuid(), Own: true}
		}
	}
	locks := make([]lease.Held, 0, len(p.req.Tries))
	for _, proto := range port.Protocols {
		if bits := wanted[proto]; bits != nil {
			for n := bits.Next(1); n <= port.MaxPort; n = bits.Next(uint16(n + 1)) {
				if l := (lease.Held{Protocol: proto, Port: uint16(n)}); !known[l] {
					locks = append(locks, l)
				}
				if n == port.MaxPort {
					break
				}
			}
		}
	}
	var held []lease.Held
	var err error
	if len(locks) <= mostTried {
		held, err = lease.LookAll(locks, start.Add(budget))
	} else {
		var all []lease.Held
		all, err = lease.List(start.Add(budget))
		held = slices.DeleteFunc(all, func(h lease.Held) bool {
			bits := wanted[h.Protocol]
			return bits == nil || !bits.Has(h.Port) || known[lease.Held{Protocol: h.Protocol, Port: h.Port}]
		})
	}
	var listed lease.Listed
	switch {
	case errors.As(err, &listed):
		p.addGaps([]Gap{{What: "it could not be asked which jobs have leased ports: " + err.Error()}})
	case err != nil:
		p.addGaps([]Gap{{Kind: GapLeases, What: "leases of ports could not be listed: " + err.Error()}})
	}
	p.facts.Leases = describeLeases(held, p.req.Job)
	for _, l := range p.facts.Leases {
		p.leases[protocolPort{l.Protocol, l.Port}] = l
	}
	if p.req.OwnLeases && p.req.Job != "" {
		if err := p.listOwnLeases(start.Add(budget)); err != nil {
			p.addGaps([]Gap{{What: "leases of this job could not be listed: " + err.Error()}})
		}
	}
	p.facts.LeaseTime = time.Since(start)
}

// listOwnIfTaken lists the leases of the job that asks if that is of interest: it may have
// another port for a need of which the port is taken.
func (p *probe) listOwnIfTaken() {
	inUse := func(a Attempt) bool { return a.Outcome == InUse }
	taken := func(t Tried) bool { return slices.ContainsFunc(t.Attempts, inUse) }
	if p.req.OwnLeasesIfTaken && p.req.Job != "" && !p.facts.OwnListed && slices.ContainsFunc(p.facts.Tried, taken) {
		_ = p.listOwnLeases(time.Now().Add(max(leaseBudget-p.facts.LeaseTime, 0))) // the verdict is the same without
	}
}

// listOwnLeases lists the leases of the job that asks.
func (p *probe) listOwnLeases(deadline time.Time) error {
	all, err := lease.ListOwn(deadline)
	p.facts.OwnListed = true
	for _, h := range all {
		if h.OwnedBy(p.req.Job) {
			p.facts.OwnLeases = append(p.facts.OwnLeases, Lease{Protocol: h.Protocol, Port: h.Port, UID: h.UID, App: h.App, Name: h.Name, Own: true})
		}
	}
	return err
}
