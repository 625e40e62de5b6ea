package host

import (
	"slices"
	"time"

	"github.com/org/portcheck/port"
)

// Lease is a port that a job has leased. Its texts and times are what its keeper says.
type Lease struct {
	Protocol port.Protocol `json:"protocol"`
	Port     uint16        `json:"port"`
	ID       string        `json:"id,omitempty"`
	Job      string        `json:"job,omitempty"`
	App      string        `json:"app,omitempty"`
	Name     string        `json:"name,omitempty"` // of the need that has the port
	PID      int           `json:"pid,omitempty"`  // of the keeper; 0 if unknown
	UID      int           `json:"uid"`            // of the keeper; -1 if unknown
	User     string        `json:"user,omitempty"`
	Since    time.Time     `json:"since,omitzero"`
	Expires  time.Time     `json:"expires,omitzero"`
	// UntilExit is a process, as the keeper numbers it, with which the lease ends.
	UntilExit int  `json:"until_exit,omitempty"`
	Own       bool `json:"own,omitempty"`  // it is that of the request's Job
	Ours      bool `json:"ours,omitempty"` // the user that answers may end it
}

type protocolPort struct {
	protocol port.Protocol
	port     uint16
}

// othersHave reports whether another job has leased a port.
func (p *probe) othersHave(proto port.Protocol, n uint16) bool {
	l, leased := p.leases[protocolPort{proto, n}]
	return leased && !l.Own
}

// withoutGuards returns sockets without those by which keepers hold leased ports. These
// never listen, and a server that sets SO_REUSEADDR binds beside them.
func (p *probe) withoutGuards(sockets []Socket) []Socket {
	if len(p.leases) == 0 {
		return sockets
	}
	return slices.DeleteFunc(sockets, func(s Socket) bool {
		l, leased := p.leases[protocolPort{s.Protocol, s.Port}]
		if !leased || s.Device != "" || s.UID != nil && l.UID >= 0 && int(*s.UID) != l.UID {
			return false
		}
		if s.Protocol == port.UDP {
			return s.State == Connected && s.Addr.Unmap().IsLoopback()
		}
		return s.State == Bound && s.Addr.IsUnspecified()
	})
}
