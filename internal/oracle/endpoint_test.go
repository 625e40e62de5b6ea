//go:build linux

package oracle

import "net/netip"

// number is the port that everybody wants.
const number = 8080

// endpoint is where a socket is bound.
type endpoint struct {
	Protocol string
	Addr     netip.Addr // without zone
	V6Only   bool
	Device   string
}

// meets says whether two sockets have an address in common.
func (e endpoint) meets(o endpoint) bool {
	if e.Protocol != o.Protocol || e.Device != "" && o.Device != "" && e.Device != o.Device {
		return false
	}
	return e.covers(o.Addr) || o.covers(e.Addr)
}

// covers says whether a socket serves an address.
func (e endpoint) covers(addr netip.Addr) bool {
	mine, addr := e.Addr.Unmap(), addr.Unmap()
	if !mine.IsUnspecified() {
		return mine == addr
	}
	return mine.Is4() == addr.Is4() || mine.Is6() && !e.V6Only
}
