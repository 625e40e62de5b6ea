// Package port defines protocols, addresses, port ranges, bindings and endpoints,
// and which endpoints exclude each other. It does no I/O and depends on no host.
package port

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Protocol is a transport protocol.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Protocols lists every protocol.
var Protocols = []Protocol{TCP, UDP}

// Address is where an app binds: "any", "any4", "any6", "loopback" or an IP
// literal in its canonical text. Make one with ParseAddress.
type Address string

// The addresses with a name.
const (
	Any      Address = "any"      // one dual-stack socket on [::]
	Any4     Address = "any4"     // 0.0.0.0
	Any6     Address = "any6"     // [::] with IPV6_V6ONLY
	Loopback Address = "loopback" // 127.0.0.1 and ::1
)

// ParseAddress parses a name or an IP literal. "::" equals any, "0.0.0.0" any4.
func ParseAddress(s string) (Address, error) {
	switch a := Address(s); a {
	case Any, Any4, Any6, Loopback:
		return a, nil
	}
	ip, err := netip.ParseAddr(s)
	meant, known := map[string]Address{"localhost": Loopback, "*": Any, "all": Any}[s]
	switch {
	case known:
		return "", fmt.Errorf("%q is not an address: want any, any4, any6, loopback or an IP literal; did you mean %q?", s, meant)
	case err != nil:
		return "", fmt.Errorf("%s is not an address: want any, any4, any6, loopback or an IP literal", strconv.QuoteToASCII(clip(s)))
	case ip.Is4In6():
		return "", fmt.Errorf("%s is an IPv4-mapped IPv6 address: write %s", strconv.QuoteToASCII(clip(s)), ip.Unmap().WithZone(""))
	case ip.IsLinkLocalUnicast() && ip.Is6() && ip.Zone() == "":
		return "", fmt.Errorf("%s is link-local and needs a zone, as in %s%%eth0", s, s)
	case ip.Zone() != "" && !ip.IsLinkLocalUnicast():
		return "", fmt.Errorf("%s: only link-local addresses (fe80::/10) take a zone", strconv.QuoteToASCII(clip(s)))
	case strings.ContainsFunc(ip.Zone(), func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }):
		return "", fmt.Errorf("%s: the zone is not the name of an interface", strconv.QuoteToASCII(clip(s)))
	case ip.IsMulticast():
		return "", fmt.Errorf("%s is a multicast address: want an address that a server binds", ip)
	case ip == netip.IPv6Unspecified():
		return Any, nil
	case ip == netip.IPv4Unspecified():
		return Any4, nil
	}
	return Address(ip.String()), nil
}

// Binding is how an app opens its sockets, without the port number. It binds all
// addresses at the same time.
type Binding struct {
	Protocol     Protocol  `json:"protocol"`
	Addresses    []Address `json:"addresses"`
	ReuseAddress bool      `json:"reuse_address,omitempty"` // SO_REUSEADDR before bind
	ReusePort    bool      `json:"reuse_port,omitempty"`    // SO_REUSEPORT before bind
	Device       string    `json:"device,omitempty"`        // SO_BINDTODEVICE before bind
}

// Endpoint is the address of one bind(2). Addr has no zone: Device is the name of
// the interface that the socket is bound to, by zone or SO_BINDTODEVICE.
type Endpoint struct {
	Protocol Protocol   `json:"protocol"`
	Addr     netip.Addr `json:"addr"`
	Port     uint16     `json:"port"`
	V6Only   bool       `json:"v6only,omitempty"` // IPV6_V6ONLY; it matters only for ::
	Device   string     `json:"device,omitempty"`
}

// At returns the endpoints of the binding's addresses at port n, in order.
func (b Binding) At(n uint16) []Endpoint {
	const usual = 2 // so that most callers keep them on their stack
	return b.appendAt(make([]Endpoint, 0, usual), n)
}

func (b Binding) appendAt(all []Endpoint, n uint16) []Endpoint {
	add := func(ip netip.Addr, v6only bool) {
		all = append(all, Endpoint{b.Protocol, ip.WithZone(""), n, v6only, cmp.Or(b.Device, ip.Zone())})
	}
	for _, a := range b.Addresses {
		switch a {
		case Any:
			add(netip.IPv6Unspecified(), false)
		case Any4:
			add(netip.IPv4Unspecified(), false)
		case Any6:
			add(netip.IPv6Unspecified(), true)
		case Loopback:
			add(netip.AddrFrom4([4]byte{127, 0, 0, 1}), false)
			add(netip.IPv6Loopback(), false)
		default:
			if ip, err := netip.ParseAddr(string(a)); err == nil {
				add(ip, false)
			}
		}
	}
	return all
}

// Overlaps reports whether two sockets on these endpoints exclude each other if
// neither sets an option to share: they have the same protocol and port, and an
// address in common on a common device.
//
// Source: inet_rcv_saddr_equal and inet_bind_conflict of Linux; a device-bound
// socket conflicts with one that is bound to no device.
func (e Endpoint) Overlaps(o Endpoint) bool {
	if e.Protocol != o.Protocol || e.Port != o.Port {
		return false
	}
	if e.Device != "" && o.Device != "" && e.Device != o.Device {
		return false
	}
	a, b := e.Addr.WithZone("").Unmap(), o.Addr.WithZone("").Unmap()
	switch {
	case a.Is4() == b.Is4():
		return a == b || a.IsUnspecified() || b.IsUnspecified()
	case a.Is6():
		return a.IsUnspecified() && !e.V6Only
	default:
		return b.IsUnspecified() && !o.V6Only
	}
}

// String returns the endpoint as "tcp 127.0.0.1:8080", "tcp 0.0.0.0%eth0:8080" or
// "tcp [fe80::1%eth0]:8080", as `ss` does.
func (e Endpoint) String() string {
	addr := e.Addr.String()
	if e.Device != "" && e.Addr.Zone() == "" {
		addr += "%" + e.Device
	}
	return string(e.Protocol) + " " + net.JoinHostPort(addr, strconv.Itoa(int(e.Port)))
}

// Compare compares endpoints by protocol, port, address and device.
func (e Endpoint) Compare(o Endpoint) int {
	return cmp.Or(
		cmp.Compare(e.Protocol, o.Protocol), cmp.Compare(e.Port, o.Port),
		e.Addr.Compare(o.Addr), cmp.Compare(e.Device, o.Device),
	)
}

// MayShareWith reports whether both bindings have an option that lets them share a
// port.
func (b Binding) MayShareWith(o Binding) bool {
	return b.ReusePort && o.ReusePort || b.Protocol == UDP && b.ReuseAddress && o.ReuseAddress
}
