package port

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]uint16{"1": 1, "80": 80, "8080": 8080, "9999": 9999, "65535": 65535} {
		if n, err := ParseNumber(text); err != nil || n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{
		"", " ", "00", "010", "0x50", "0o20", "0b1", "8_080", "8080.0", "8080.", "1e3", "~", "null", "+80", "-80", " 80", "80 ",
		"65536", "99999", "100000", "80800000000000000000000", "eighty", "８０", "80\n", "\x00",
	} {
		if n, err := ParseNumber(text); err == nil {
			t.Errorf("%q became %d", text, n)
		} else if !strings.Contains(err.Error(), "from 1 to 65535") {
			t.Errorf("%q: %v, want the range that is allowed", text, err)
		}
	}
	_, err := ParseNumber("0")
	if err == nil || !strings.Contains(err.Error(), "range") || !strings.Contains(err.Error(), "auto") {
		t.Errorf("0: %v, want an error that names range and auto", err)
	}
}

func TestErrorsAreOneShortPrintableLine(t *testing.T) {
	hostile := "8\n::error::x\x1b[31m\u202e" + strings.Repeat("y", 5000)
	for name, parse := range map[string]func(string) error{
		"number":  func(s string) error { _, err := ParseNumber(s); return err },
		"range":   func(s string) error { _, err := ParseRange("80-" + s); return err },
		"set":     func(s string) error { _, err := ParseSet("80," + s); return err },
		"address": func(s string) error { _, err := ParseAddress(s); return err },
		"zone":    func(s string) error { _, err := ParseAddress("fe80::1%" + s); return err },
		"global":  func(s string) error { _, err := ParseAddress("2001:db8::1%" + s); return err },
		"mapped":  func(s string) error { _, err := ParseAddress("::ffff:1.2.3.4%" + s); return err },
	} {
		err := parse(hostile)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if text := err.Error(); len(text) > 300 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestErrorsQuoteFortyBytes(t *testing.T) {
	forty := strings.Repeat("x", 40)
	for text, quoted := range map[string]string{forty: forty, forty + "y": forty + "..."} {
		for _, parse := range []func(string) error{
			func(s string) error { _, err := ParseNumber(s); return err },
			func(s string) error { _, err := ParseAddress(s); return err },
		} {
			if err := parse(text); err == nil || !strings.HasPrefix(err.Error(), `"`+quoted+`" is not `) {
				t.Errorf("%v, want %s", err, quoted)
			}
		}
	}
}

func TestParseRange(t *testing.T) {
	for text, want := range map[string]Range{
		"8080": {8080, 8080}, "8000-8003": {8000, 8003}, "1-65535": {1, 65535}, "80-80": {80, 80},
	} {
		if r, err := ParseRange(text); err != nil || r != want {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "-", "80-", "-80", "8003-8000", "80-90-100", "80..90", "80:90", "80 - 90", "0-80", "80-65536", "08-09"} {
		if r, err := ParseRange(text); err == nil {
			t.Errorf("%q became %v", text, r)
		}
	}
	const want = `"8003-8000" ends before it starts: want the lower port first, as in 8000-8003`
	if _, err := ParseRange("8003-8000"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestRange(t *testing.T) {
	r := Range{8000, 8003}
	if r.Len() != 4 || One(1).Len() != 1 || (Range{1, MaxPort}).Len() != MaxPort {
		t.Error("Len")
	}
	for n, want := range map[uint16]bool{7999: false, 8000: true, 8003: true, 8004: false} {
		if r.Contains(n) != want {
			t.Errorf("Contains(%d) is %t", n, !want)
		}
	}
	for o, want := range map[Range]bool{{1, 7999}: false, {1, 8000}: true, {8001, 8002}: true, {8003, 9000}: true, {8004, 9000}: false, {1, 65535}: true} {
		if r.Intersects(o) != want || o.Intersects(r) != want {
			t.Errorf("%v and %v: want %t", r, o, want)
		}
	}
	if r.String() != "8000-8003" || One(80).String() != "80" {
		t.Errorf("%s, %s", r, One(80))
	}
}

func TestParseSet(t *testing.T) {
	for text, want := range map[string]Set{
		"80":                 {{80, 80}},
		"9443,8000-8099":     {{9443, 9443}, {8000, 8099}}, // the author's order
		" 80 , 90-91":        {{80, 80}, {90, 91}},
		"80,80,70-90":        {{80, 80}, {80, 80}, {70, 90}},
		"1-65535":            {{1, 65535}},
		"8000-8099\t,\t9443": {{8000, 8099}, {9443, 9443}},
	} {
		if set, err := ParseSet(text); err != nil || !slices.Equal(set, want) {
			t.Errorf("%q: %v, %v", text, set, err)
		}
	}
	for _, text := range []string{"", ",", "80,", ",80", "80;90", "80 90", "80,0", "80,9-8"} {
		if set, err := ParseSet(text); err == nil {
			t.Errorf("%q became %v", text, set)
		}
	}
}

func TestSetKeepsItsOrder(t *testing.T) {
	s := Set{{90, 92}, {80, 81}, {91, 94}, {80, 80}}
	if got, want := slices.Collect(s.All), []uint16{90, 91, 92, 80, 81, 93, 94}; !slices.Equal(got, want) {
		t.Errorf("All: %v, want %v", got, want)
	}
	for n := range s.All {
		if n != 90 {
			t.Errorf("All went on to %d", n)
		}
		break
	}
	less := s.Without(func(n uint16) bool { return n == 91 || n == 80 })
	if want := (Set{{90, 90}, {92, 92}, {81, 81}, {93, 94}}); !slices.Equal(less, want) {
		t.Errorf("Less: %v, want %v", less, want)
	}
	all := Set{{1, MaxPort}}
	if got := all.Without(func(uint16) bool { return false }); !slices.Equal(got, all) {
		t.Errorf("nothing taken of everything: %v", got)
	}
	if got := all.Without(func(uint16) bool { return true }); got == nil || len(got) != 0 {
		t.Errorf("everything taken: %v", got)
	}
	if got := (Set{{MaxPort, MaxPort}, {0, 0}}).Without(func(uint16) bool { return false }); len(got) != 2 {
		t.Errorf("65535 and 0 are no neighbours: %v", got)
	}
	if got := (Set{{MaxPort, MaxPort}, {1, 1}}).Without(func(uint16) bool { return false }); len(got) != 2 {
		t.Errorf("65535 and 1 are no neighbours: %v", got)
	}
	if !s.Contains(94) || s.Contains(82) || Set(nil).Contains(80) {
		t.Error("Contains")
	}
	if s.String() != "90-92,80-81,91-94,80" {
		t.Error(s.String())
	}
}

func TestBits(t *testing.T) {
	var b Bits
	b.AddSet(Set{{63, 65}, {65535, 65535}})
	for n, want := range map[uint16]bool{0: false, 62: false, 63: true, 64: true, 65: true, 66: false, 65534: false, 65535: true} {
		if b.Has(n) != want {
			t.Errorf("Has(%d) is %t", n, !want)
		}
	}
	for r, want := range map[Range]bool{{1, 62}: false, {1, 63}: true, {65, 70}: true, {66, 65534}: false, {66, 65535}: true} {
		if b.HasAny(r) != want {
			t.Errorf("HasAny(%v) is %t", r, !want)
		}
	}
	for r, want := range map[Range]bool{{63, 65}: true, {64, 64}: true, {62, 65}: false, {63, 66}: false, {65535, 65535}: true, {65534, 65535}: false, {70, 80}: false} {
		if b.HasAll(r) != want {
			t.Errorf("HasAll(%v) is %t", r, !want)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]Address{
		"any": Any, "any4": Any4, "any6": Any6, "loopback": Loopback,
		"::": Any, "0:0:0:0:0:0:0:0": Any, "0.0.0.0": Any4,
		"127.0.0.1": "127.0.0.1", "::1": "::1", "0:0::1": "::1", "2001:DB8::1": "2001:db8::1",
		"fe80::1%eth0": "fe80::1%eth0", "fe80::1%2": "fe80::1%2", "fe80::1%!~": "fe80::1%!~", "169.254.1.1": "169.254.1.1",
	} {
		if a, err := ParseAddress(text); err != nil || a != want {
			t.Errorf("%q: %q, %v", text, a, err)
		}
	}
	for text, hint := range map[string]string{
		"":                      "any, any4, any6, loopback or an IP literal",
		"*":                     "any, any4, any6, loopback or an IP literal",
		"localhost":             "IP literal",
		"Any":                   "IP literal",
		"any5":                  "IP literal",
		"127.0.0.1:80":          "IP literal",
		"[::1]":                 "IP literal",
		"127.1":                 "IP literal",
		"127.0.0.01":            "IP literal",
		"127.0.0.0/8":           "IP literal",
		"::ffff:127.0.0.1":      "write 127.0.0.1",
		"::ffff:0.0.0.0":        "write 0.0.0.0",
		"fe80::1":               "needs a zone",
		"febf::1":               "needs a zone",
		"2001:db8::1%eth0":      "take a zone",
		"::1%lo":                "take a zone",
		"::%lo":                 "take a zone",
		"fe80::1%":              "IP literal",
		"fe80::1%a b":           "not the name of an interface",
		"fe80::1%a/b":           "not the name of an interface",
		"fe80::1%a\x7f":         "not the name of an interface",
		"224.0.0.1":             "multicast",
		"ff02::1":               "multicast",
		"::ffff:127.0.0.1%eth0": "write 127.0.0.1",
	} {
		if a, err := ParseAddress(text); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %q, %v; want a hint %q", text, a, err, hint)
		}
	}
}

func TestBindingAt(t *testing.T) {
	v4, v6 := netip.MustParseAddr, netip.MustParseAddr
	for _, c := range []struct {
		addresses []Address
		want      []Endpoint
	}{
		{[]Address{Any}, []Endpoint{{TCP, v6("::"), 80, false, ""}}},
		{[]Address{Any4}, []Endpoint{{TCP, v4("0.0.0.0"), 80, false, ""}}},
		{[]Address{Any6}, []Endpoint{{TCP, v6("::"), 80, true, ""}}},
		{[]Address{Loopback}, []Endpoint{{TCP, v4("127.0.0.1"), 80, false, ""}, {TCP, v6("::1"), 80, false, ""}}},
		{[]Address{"127.0.0.2", "fe80::1%eth0"}, []Endpoint{{TCP, v4("127.0.0.2"), 80, false, ""}, {TCP, v6("fe80::1"), 80, false, "eth0"}}},
		{nil, nil},
	} {
		if got := (Binding{Protocol: TCP, Addresses: c.addresses}).At(80); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.addresses, got, c.want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	at := func(addr string) Endpoint { return Endpoint{Protocol: TCP, Addr: netip.MustParseAddr(addr), Port: 80} }
	any6, eth0, eth1 := at("::"), at("fe80::1"), at("fe80::1")
	any6.V6Only, eth0.Device, eth1.Device = true, "eth0", "eth1"
	all := []struct {
		name string
		Endpoint
	}{
		{"any4", at("0.0.0.0")},
		{"any", at("::")},
		{"any6", any6},
		{"127.0.0.1", at("127.0.0.1")},
		{"127.0.0.2", at("127.0.0.2")},
		{"::1", at("::1")},
		{"mapped", at("::ffff:127.0.0.1")},
		{"eth0", eth0},
		{"eth1", eth1},
	}
	// want has the other endpoints that overlap each.
	want := map[string]string{
		"any4":      "any 127.0.0.1 127.0.0.2 mapped",
		"any":       "any4 any6 127.0.0.1 127.0.0.2 ::1 mapped eth0 eth1",
		"any6":      "any ::1 eth0 eth1",
		"127.0.0.1": "any4 any mapped",
		"127.0.0.2": "any4 any",
		"::1":       "any any6",
		"mapped":    "any4 any 127.0.0.1",
		"eth0":      "any any6",
		"eth1":      "any any6",
	}
	for _, a := range all {
		for _, b := range all {
			expected := a.name == b.name || slices.Contains(strings.Fields(want[a.name]), b.name)
			if a.Overlaps(b.Endpoint) != expected {
				t.Errorf("%s and %s: want %t", a.name, b.name, expected)
			}
			if a.Overlaps(b.Endpoint) != b.Overlaps(a.Endpoint) {
				t.Errorf("%s and %s: not symmetric", a.name, b.name)
			}
			other, udp := b.Endpoint, b.Endpoint
			other.Port, udp.Protocol = 81, UDP
			if a.Overlaps(other) || a.Overlaps(udp) {
				t.Errorf("%s overlaps another port or protocol of %s", a.name, b.name)
			}
		}
	}
	bound := at("0.0.0.0")
	bound.Device = "eth0"
	if !bound.Overlaps(at("127.0.0.1")) {
		t.Error("a socket of one device does not overlap one of no device")
	}
}

func TestMayShareWith(t *testing.T) {
	b := func(proto Protocol, address, port bool) Binding {
		return Binding{Protocol: proto, Addresses: []Address{Any}, ReuseAddress: address, ReusePort: port}
	}
	for _, c := range []struct {
		name string
		a, b Binding
		want bool
	}{
		{"neither", b(TCP, false, false), b(TCP, false, false), false},
		{"tcp reuse_address", b(TCP, true, false), b(TCP, true, false), false},
		{"udp reuse_address", b(UDP, true, false), b(UDP, true, false), true},
		{"udp, one of them", b(UDP, true, false), b(UDP, false, false), false},
		{"both reuse_port", b(TCP, true, true), b(TCP, true, true), true},
		{"one reuse_port", b(TCP, true, true), b(TCP, true, false), false},
	} {
		if c.a.MayShareWith(c.b) != c.want || c.b.MayShareWith(c.a) != c.want {
			t.Errorf("%s: want %t", c.name, c.want)
		}
	}
}

func TestEndpointText(t *testing.T) {
	e := Endpoint{TCP, netip.MustParseAddr("fe80::1"), 8080, false, "eth0"}
	if e.String() != "tcp [fe80::1%eth0]:8080" {
		t.Error(e)
	}
	if e = (Endpoint{UDP, netip.MustParseAddr("127.0.0.1"), 53, false, "lo"}); e.String() != "udp 127.0.0.1%lo:53" {
		t.Error(e)
	}
}

func TestEndpointsAreOrderedByProtocolPortAddressDevice(t *testing.T) {
	e := func(p Protocol, n uint16, addr, device string) Endpoint {
		return Endpoint{p, netip.MustParseAddr(addr), n, false, device}
	}
	want := []Endpoint{
		e(TCP, 80, "127.0.0.1", ""), e(TCP, 80, "127.0.0.2", ""), e(TCP, 80, "fe80::1", "a"), e(TCP, 80, "fe80::1", "b"),
		e(TCP, 443, "127.0.0.1", ""), e(UDP, 53, "127.0.0.1", ""),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Endpoint.Compare)
	if !slices.Equal(got, want) {
		t.Error(got)
	}
}

func FuzzParseSet(f *testing.F) {
	for _, text := range []string{"8080", "8000-8099,9443", "1-65535", " 1 , 2-3", "0", "010", "9-8", "80,", "\xff", "80-90-100", "８０"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := ParseSet(text)
		if err != nil {
			if set != nil {
				t.Errorf("%q: a set beside an error", text)
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q: %q is not printable", text, err)
			}
			return
		}
		for _, r := range set {
			if r.First < 1 || r.Last < r.First {
				t.Errorf("%q has a range %v", text, r)
			}
		}
		again, err := ParseSet(set.String())
		if err != nil || !slices.Equal(set, again) {
			t.Errorf("%q is %v, read again %v, %v", text, set, again, err)
		}
	})
}
