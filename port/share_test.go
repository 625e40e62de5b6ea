package port

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestMayTakeFrom(t *testing.T) {
	plain, address, both := Binding{Protocol: TCP}, Binding{Protocol: TCP, ReuseAddress: true}, Binding{Protocol: TCP, ReusePort: true}
	asUDP := func(b Binding) Binding { b.Protocol = UDP; return b }
	for _, c := range []struct {
		name        string
		b           Binding
		listener, e string
		linux, bsd  bool
	}{
		{"no option", plain, "0.0.0.0", "127.0.0.1", false, false},
		{"no option, UDP", asUDP(plain), "0.0.0.0", "127.0.0.1", false, false},
		{"SO_REUSEADDR beside the wildcard", address, "0.0.0.0", "127.0.0.1", false, true},
		{"SO_REUSEADDR beside the wildcard of both families", address, "::", "127.0.0.1", false, true},
		{"SO_REUSEADDR, IPv6 beside the wildcard", address, "::", "::1", false, true},
		{"SO_REUSEADDR, IPv4 beside IPv6 only", address, "::6", "127.0.0.1", false, false},
		{"SO_REUSEADDR, the wildcard beside an address", address, "127.0.0.1", "0.0.0.0", false, false},
		{"SO_REUSEADDR, the same address", address, "127.0.0.1", "127.0.0.1", false, false},
		{"SO_REUSEADDR, another address", address, "127.0.0.1", "127.0.0.2", false, false},
		{"SO_REUSEADDR of UDP beside the wildcard", asUDP(address), "0.0.0.0", "127.0.0.1", true, true},
		{"SO_REUSEADDR of UDP, the same address", asUDP(address), "0.0.0.0", "0.0.0.0", true, false},
		{"SO_REUSEPORT, the same address", both, "127.0.0.1", "127.0.0.1", true, true},
		{"SO_REUSEPORT of UDP beside the wildcard", asUDP(both), "0.0.0.0", "127.0.0.1", true, true},
		{"SO_REUSEPORT, another address", both, "127.0.0.1", "127.0.0.2", false, false},
	} {
		at := func(addr string) Endpoint {
			e := Endpoint{Protocol: c.b.Protocol, Port: 80, V6Only: addr == "::6"}
			if e.V6Only {
				addr = "::"
			}
			e.Addr = netip.MustParseAddr(addr)
			return e
		}
		for system, want := range map[string]bool{"linux": c.linux, "darwin": c.bsd, "freebsd": c.bsd, "openbsd": c.bsd, "netbsd": c.bsd} {
			if got := c.b.MayTakeFrom(at(c.listener), at(c.e), system); got != want {
				t.Errorf("%s, %s: %t", c.name, system, got)
			}
		}
	}
}

func TestMayTake(t *testing.T) {
	for name, c := range map[string]struct {
		b          Binding
		linux, bsd bool
	}{
		"no option":                            {Binding{Protocol: UDP, Addresses: []Address{Loopback}}, false, false},
		"SO_REUSEADDR, the wildcard":           {Binding{Protocol: TCP, Addresses: []Address{Any}, ReuseAddress: true}, false, false},
		"SO_REUSEADDR, an address":             {Binding{Protocol: TCP, Addresses: []Address{Any4, "::1"}, ReuseAddress: true}, false, true},
		"SO_REUSEADDR of UDP, the wildcard":    {Binding{Protocol: UDP, Addresses: []Address{Any}, ReuseAddress: true}, true, false},
		"SO_REUSEPORT, the wildcard":           {Binding{Protocol: TCP, Addresses: []Address{Any}, ReusePort: true}, true, true},
		"SO_REUSEADDR of UDP, another address": {Binding{Protocol: UDP, Addresses: []Address{"192.0.2.1"}, ReuseAddress: true}, true, true},
	} {
		for system, want := range map[string]bool{"linux": c.linux, "darwin": c.bsd, "freebsd": c.bsd} {
			if got := c.b.MayTake(system); got != want {
				t.Errorf("%s, %s: %t", name, system, got)
			}
		}
	}
}

// xnuSocket is a socket as in_pcbbind and in6_pcbbind of xnu-11417 see it.
type xnuSocket struct {
	endpoint           Endpoint
	reuseAddr, reuseOK bool // SO_REUSEADDR, SO_REUSEPORT
	uid                int
}

func (s xnuSocket) String() string {
	return fmt.Sprintf("%s v6only=%t SO_REUSEADDR=%t SO_REUSEPORT=%t uid=%d", s.endpoint, s.endpoint.V6Only, s.reuseAddr, s.reuseOK, s.uid)
}

// v4 and v6 are INP_IPV4 and INP_IPV6 of inp_vflag: tcp6_usr_bind sets both for [::]
// without IPV6_V6ONLY.
func (s xnuSocket) v4() bool { return s.endpoint.Addr.Is4() || s.any() && !s.endpoint.V6Only }
func (s xnuSocket) v6() bool { return s.endpoint.Addr.Is6() }

func (s xnuSocket) any() bool { return s.endpoint.Addr.IsUnspecified() }

// found is in_pcblookup_local for one family: whether old is found by a bind of addr. An
// IPv6 wildcard is 0.0.0.0 for IPv4.
func (s xnuSocket) found(addr netip.Addr, wild bool) bool {
	if addr.Is4() && !s.v4() || addr.Is6() && !s.v6() {
		return false
	}
	if s.any() || addr.IsUnspecified() {
		return wild || s.any() && addr.IsUnspecified()
	}
	return s.endpoint.Addr == addr
}

// binds reports whether s can be bound beside old: the conditions of in_pcbbind and
// in6_pcbbind, one after the other. Neither is of launchd or of a restricted port.
func (s xnuSocket) binds(old xnuSocket) bool {
	addr, v4any := s.endpoint.Addr, netip.IPv4Unspecified()
	wild := !s.reuseAddr && !s.reuseOK
	bothPort := s.reuseOK && old.reuseOK
	bothAny := s.any() && old.any()
	if addr.Is4() {
		if s.uid != 0 && old.found(addr, true) && !bothAny && s.uid != old.uid {
			return false
		}
		return !old.found(addr, wild) || bothPort
	}
	dual := s.any() && !s.endpoint.V6Only
	if s.uid != 0 && s.uid != old.uid {
		if old.found(addr, true) && !(bothAny && old.reuseOK) {
			return false
		}
		if dual && old.found(v4any, true) && !old.reuseOK && (!old.any() || old.v6()) {
			return false
		}
	}
	if old.found(addr, wild) && !bothPort {
		return false
	}
	return !dual || !old.found(v4any, wild) || bothPort || old.any() && !old.v6()
}

// rank is how well a socket fits a call to addr: in_pcblookup_hash_locked prefers the
// exact address, then the wildcard, of IPv4 before that of both families.
func (s xnuSocket) rank(addr netip.Addr) int {
	switch {
	case addr.Is4() && !s.v4(), addr.Is6() && !s.v6():
		return 0
	case s.endpoint.Addr == addr:
		return 3
	case !s.any():
		return 0
	case addr.Is4() && s.endpoint.Addr.Is6():
		return 1
	}
	return 2
}

// takes reports whether s gets calls that old got. At the same address either may.
func (s xnuSocket) takes(old xnuSocket) bool {
	for _, text := range []string{"127.0.0.1", "127.0.0.2", "::1", "2001:db8::1"} {
		addr := netip.MustParseAddr(text)
		if r := old.rank(addr); r > 0 && s.rank(addr) >= r {
			return true
		}
	}
	return false
}

// TestRulesAreThoseOfXNU compares the rules with XNU's own conditions, for all pairs of
// addresses, options and users.
func TestRulesAreThoseOfXNU(t *testing.T) {
	var all []xnuSocket
	for _, a := range []Address{Any, Any4, Any6, "127.0.0.1", "127.0.0.2", "::1"} {
		for options := range 4 {
			for _, uid := range []int{0, 501, 502} {
				all = append(all, xnuSocket{Binding{Protocol: TCP, Addresses: []Address{a}}.At(80)[0], options&1 != 0, options&2 != 0, uid})
			}
		}
	}
	exceptions := 0
	for _, s := range all {
		b := Binding{Protocol: TCP, Addresses: []Address{Address(s.endpoint.Addr.String())}, ReuseAddress: s.reuseAddr, ReusePort: s.reuseOK}
		for _, old := range all {
			binds, overlap := s.binds(old), s.endpoint.Overlaps(old.endpoint)
			may := b.MayTakeFrom(old.endpoint, s.endpoint, "darwin")
			switch {
			case !overlap && !binds:
				t.Errorf("%s can't be bound beside %s, which does not overlap", s, old)
			case binds && overlap && s.takes(old) && !may:
				t.Errorf("%s takes from %s: not expected", s, old)
			case binds && overlap && !s.reuseAddr && !s.reuseOK:
				// The exception of LikeBSD.
				if s.endpoint.Addr != netip.IPv6Unspecified() || old.endpoint.Addr != netip.IPv4Unspecified() || s.takes(old) {
					t.Errorf("%s can be bound beside %s without an option", s, old)
				}
				exceptions++
			case s.endpoint == old.endpoint && binds != (s.reuseOK && old.reuseOK && (s.uid == 0 || s.uid == old.uid || s.any())):
				t.Errorf("%s beside %s at the same address: %t", s, old, binds)
			case binds && overlap && s.uid != 0 && s.uid != old.uid && !s.any():
				t.Errorf("%s can be bound beside another user's %s", s, old)
			}
		}
	}
	if exceptions == 0 {
		t.Error("[::] can't be bound beside 0.0.0.0")
	}
}
