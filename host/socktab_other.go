//go:build !linux

package host

import (
	"net/netip"
	"runtime"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// settleV6Only does nothing: on systems where the table does not show whether a
// socket is IPv6-only, a bind does not prove it.
func settleV6Only(table, []Try) {}

// socketsFrom returns the sockets of a table that the query selects.
func (q query) socketsFrom(table []socktab.Socket) []Socket {
	var selected []Socket
	for _, e := range table {
		s := Socket{Endpoint: e.Endpoint, State: State(e.State()), UID: e.UID, Inode: e.ID}
		if s.Protocol != q.protocol || q.ports != nil && !q.ports.Has(s.Port) {
			continue
		}
		if !q.every && s.Protocol == port.TCP && !holdsForGood(s) {
			continue
		}
		s.Device = deviceName(s.Device)
		s.MayBeV6Only = s.Addr == netip.IPv6Unspecified() && !s.V6Only && (runtime.GOOS == "freebsd" || runtime.GOOS == "netbsd")
		for _, pid := range e.PIDs {
			s.Holders = append(s.Holders, Holder{PID: pid, UID: -1})
		}
		selected = append(selected, s)
	}
	return selected
}

// haveManySockets returns false: the table is read whole in any case.
func haveManySockets() bool { return false }
