package check

import (
	"cmp"
	"slices"
	"time"

	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// Leases is the output of `portcheck leases`.
type Leases struct {
	Version int     `json:"version"`
	Leases  []Lease `json:"leases"`
}

// Lease is what is known of a lease. All of it but PID, UID and User is what its
// keeper says.
type Lease struct {
	ID      string       `json:"id"`
	Job     string       `json:"job"`
	App     string       `json:"app"`
	PID     int          `json:"pid,omitempty"` // of the keeper
	UID     *int         `json:"uid,omitempty"`
	User    string       `json:"user,omitempty"`
	Since   time.Time    `json:"since,omitzero"`
	Expires time.Time    `json:"expires,omitzero"`
	Ports   []LeasedPort `json:"ports,omitzero"`
}

// LeasedPort is one port of a lease.
type LeasedPort struct {
	Protocol port.Protocol `json:"protocol"`
	Port     uint16        `json:"port"`
	Name     string        `json:"name,omitempty"` // of the need
}

// LeasesOf returns the leases that ports have, in the order of their first ports.
// user returns the name of a uid, or "".
func LeasesOf(held []lease.Held, user func(uid int) string) Leases {
	type key struct {
		id       string
		pid, uid int
	}
	all := Leases{Version: 1, Leases: []Lease{}}
	index := map[key]int{}
	held = slices.Clone(held)
	slices.SortStableFunc(held, func(a, b lease.Held) int { return cmp.Compare(a.Port, b.Port) })
	for _, h := range held {
		k := key{h.ID, h.PID, h.UID} // the ID alone may be a stranger's
		i, known := index[k]
		if !known {
			i = len(all.Leases)
			index[k] = i
			l := Lease{ID: h.ID, Job: h.Job, App: h.App, PID: h.PID, Since: h.Since, Expires: h.Expires}
			if h.UID >= 0 {
				l.UID, l.User = &h.UID, user(h.UID)
			}
			all.Leases = append(all.Leases, l)
		}
		l := &all.Leases[i]
		l.Ports = append(l.Ports, LeasedPort{h.Protocol, h.Port, h.Name})
	}
	return all
}
