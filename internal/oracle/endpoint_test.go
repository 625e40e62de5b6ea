//go:build linux

package oracle

import "net/netip"

// number is the port that all programs here use.
const number = 8080

// endpoint is the local address of a socket.
type endpoint struct {
	Protocol string
	Addr     netip.Addr // without zone
	V6Only   bool
	Device   string
}

// overlaps reports whether two endpoints have an address in common.
func (e endpoint) overlaps(o endpoint) bool {
	if e.Protocol != o.Protocol || e.Device != "" && o.Device != "" && e.Device != o.Device {
		return false
	}
	return e.covers(o.Addr) || o.covers(e.Addr)
}

// covers reports whether a socket receives connections to an address.
func (e endpoint) covers(addr netip.Addr) bool {
	mine, addr := e.Addr.Unmap(), addr.Unmap()
	if !mine.IsUnspecified() {
		return mine == addr
	}
	return mine.Is4() == addr.Is4() || mine.Is6() && !e.V6Only
}
