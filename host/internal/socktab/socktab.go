// Package socktab converts the socket tables of systems other than Linux to one
// form. Its functions are pure, and tested on every system.
package socktab

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/org/portcheck/port"
)

// Socket is one entry of a socket table.
type Socket struct {
	port.Endpoint
	Remote netip.AddrPort // the zero value if unconnected
	Status string         // of TCP: the name in RFC 9293 as lsof and gopsutil spell it, "LISTEN", "FIN_WAIT_1"
	UID    *uint32        // owner; nil if unknown
	ID     uint64         // the kernel's number of the socket; 0 if unknown
	PIDs   []int          // processes that are known to have it open
}

// State returns the socket's state as a host.State.
func (s Socket) State() string {
	connected := s.Remote.IsValid()
	switch {
	case s.Protocol == port.UDP && connected:
		return "connected"
	case s.Protocol == port.UDP, s.Status == "LISTEN":
		return "listen"
	case s.Status == "CLOSED" && !connected:
		return "bound"
	case s.Status == "ESTABLISHED", s.Status == "SYN_SENT", s.Status == "SYN_RECEIVED", s.Status == "SYN_RCVD", s.Status == "SYN_RECV":
		return "connected"
	case s.Status == "TIME_WAIT":
		return "time-wait"
	}
	return "closing"
}

// Group merges entries that differ only in their process: lsof shows a socket
// once for each process that has it open.
func Group(all []Socket) []Socket {
	type key struct {
		port.Endpoint
		remote netip.AddrPort
		status string
	}
	at := make(map[key]int, len(all))
	var grouped []Socket
	for _, s := range all {
		k := key{s.Endpoint, s.Remote, s.Status}
		i, known := at[k]
		if !known {
			at[k] = len(grouped)
			grouped = append(grouped, s)
			continue
		}
		for _, pid := range s.PIDs {
			if !slices.Contains(grouped[i].PIDs, pid) {
				grouped[i].PIDs = append(grouped[i].PIDs, pid)
			}
		}
	}
	return grouped
}

// unscope removes the interface from a link-local address: a zone, or the index that
// the BSDs keep in the second 16 bits (KAME).
func unscope(addr netip.Addr) (plain netip.Addr, device string) {
	if zone := addr.Zone(); zone != "" {
		return addr.WithZone(""), zone
	}
	if !addr.Is6() || !addr.IsLinkLocalUnicast() {
		return addr, ""
	}
	b := addr.As16()
	index := int(b[2])<<8 | int(b[3])
	if index == 0 {
		return addr, ""
	}
	b[2], b[3] = 0, 0
	return netip.AddrFrom16(b), strconv.Itoa(index)
}
