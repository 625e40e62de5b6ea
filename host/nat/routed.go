package nat

import (
	"net/netip"
	"slices"
)

// Addresses that a route makes local (AnyIP) can be many. Of those between two
// addresses that conditions name, all have the same answer, and one is followed.

// A span is the addresses from first to last, both included.
type span struct{ first, last netip.Addr }

// spans are in order and have nothing in common.
type spans []span

// joinSpans sorts spans and joins those that overlap.
func joinSpans(all []span) spans {
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	var joined spans
	for _, s := range all {
		if n := len(joined); n > 0 && joined[n-1].last.BitLen() == s.first.BitLen() && s.first.Compare(joined[n-1].last) <= 0 {
			if s.last.Compare(joined[n-1].last) > 0 {
				joined[n-1].last = s.last
			}
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// from returns the first address of spans that is not less than a.
func (s spans) from(a netip.Addr) (netip.Addr, bool) {
	i, _ := slices.BinarySearchFunc(s, a, func(e span, a netip.Addr) int { return e.last.Compare(a) })
	switch {
	case i == len(s) || s[i].first.BitLen() != a.BitLen():
		return netip.Addr{}, false
	case s[i].first.Compare(a) > 0:
		return s[i].first, true
	}
	return a, true
}

// overlap reports whether an address from low to high is in spans.
func (s spans) overlap(low, high netip.Addr) bool {
	a, ok := s.from(low)
	return ok && a.Compare(high) <= 0
}

// prefixOf returns the first and the last address that have the bits of a mask in
// common with another.
func prefixOf(addr, mask []byte) (low, high netip.Addr, ok bool) {
	first, last := make([]byte, len(addr)), make([]byte, len(addr))
	for i := range addr {
		first[i], last[i] = addr[i]&mask[i], addr[i]&mask[i]|^mask[i]
	}
	low, ok = netip.AddrFromSlice(first)
	high, _ = netip.AddrFromSlice(last) // of the same length
	return low, high, ok
}

// spots are those addresses of routes that stand for the others. A nil pointer
// collects nothing.
type spots struct {
	routed spans
	own    []netip.Addr // of interfaces
	first  netip.Addr   // of them all
	all    []netip.Addr
	missed bool // others have to be followed, too
}

// spots returns where to collect addresses that a question covers.
func (m machine) spots(asked netip.Addr) *spots {
	first := netip.IPv4Unspecified()
	if asked.Is6() {
		first = netip.IPv6Unspecified()
	}
	first, any := m.routed.from(first)
	if !any || !asked.IsUnspecified() {
		return nil
	}
	s := &spots{routed: m.routed, own: m.addresses(asked), first: first}
	s.add(first)
	return s
}

func (s *spots) add(a netip.Addr) {
	a, ok := s.routed.from(a)
	switch {
	case !ok || slices.Contains(s.all, a) || slices.Contains(s.own, a):
	case len(s.all) >= maxSpots:
		s.missed = true
	default:
		s.all = append(s.all, a)
	}
}

// mark is for conditions on the called address that name those from low to high.
func (s *spots) mark(low, high netip.Addr) {
	if s == nil || !low.IsValid() {
		return
	}
	s.add(low)
	if next := high.Next(); next.IsValid() {
		s.add(next)
	}
}

func (s *spots) markPrefix(addr, mask []byte) {
	if s == nil {
		return
	}
	if low, high, ok := prefixOf(addr, mask); ok {
		s.mark(low, high)
	}
}

func (s *spots) markBytes(low, high []byte) {
	if s == nil {
		return
	}
	first, _ := netip.AddrFromSlice(low)
	last, _ := netip.AddrFromSlice(high)
	s.mark(first, last)
}

// miss is for conditions on the called address of which it is not known what they
// name.
func (s *spots) miss() {
	if s != nil {
		s.missed = true
	}
}

func (s *spots) list() []netip.Addr {
	if s == nil {
		return nil
	}
	return s.all
}

// rest returns an address that stands for those that are not followed, if there are
// any.
func (s *spots) rest() []netip.Addr {
	if s == nil || !s.missed {
		return nil
	}
	return []netip.Addr{s.first}
}

// mark records which called addresses a condition names, from low to high. They are
// compared with registers.
func (w *walk) mark(at int, low, high []byte) {
	if w.spots == nil || len(low) != len(high) || !fits(at, len(low)) {
		return
	}
	_, length := addrOffset(w.family)
	start := slices.Index(w.reg.is[at:at+len(low)], ofAddr)
	if start < 0 {
		return
	}
	// A prefix is compared as its first bytes, or with all others masked.
	first, last := make([]byte, length), make([]byte, length)
	for i := range last {
		last[i] = 0xff
	}
	n := copy(first, low[start:])
	copy(last, high[start:])
	for i := range n {
		last[i] |= w.reg.known[at+start+i]
	}
	w.spots.markBytes(first, last)
}

// decodeRoute returns the addresses that a route of the table local makes local.
func decodeRoute(message []byte) (s span, ok bool, err error) {
	const header, dst, tableLocal = 12, 1, 255 // the size of struct rtmsg, RTA_DST, RT_TABLE_LOCAL
	if len(message) < header {
		return s, false, errBroken
	}
	bits, table, kind := int(message[1]), message[4], message[7]
	a, err := parseAttributes(message[header:])
	if err != nil || kind != typeLocal || table != tableLocal {
		return s, false, err
	}
	addr := netip.IPv4Unspecified()
	if message[0] == familyIPv6 {
		addr = netip.IPv6Unspecified()
	}
	if a[dst] != nil {
		addr, _ = netip.AddrFromSlice(a[dst])
	}
	if !addr.IsValid() || bits > addr.BitLen() {
		return s, false, errBroken
	}
	mask := make([]byte, addr.BitLen()/8)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	s.first, s.last, ok = prefixOf(addr.AsSlice(), mask)
	return s, ok, nil
}
