package nat

import "net/netip"

// The steps that send callers away.

// Flags of a NAT range (include/uapi/linux/netfilter/nf_nat.h).
const (
	rangeAddrs   = 1
	rangePorts   = 2
	rangeRandom  = 4
	rangeFully   = 16
	rangeOffset  = 32
	rangeNetwork = 64
)

// natRange is where DNAT sends to. Addresses and ports are what struct
// nf_nat_range2 has.
type natRange struct {
	flags            uint32
	minAddr, maxAddr netip.Addr // not valid if unknown
	minPort, maxPort uint16     // 0 if unknown
	basePort         uint16
}

// apply returns where a range sends the call.
func (w *walk) apply(r natRange) (targets []Target, back tri) {
	r.minAddr, r.maxAddr = inFamily(r.minAddr, w.family), inFamily(r.maxAddr, w.family)
	t := Target{Addr: w.addr, Port: w.port}
	sameAddr, samePort := yes, yes
	switch {
	case r.flags&rangeAddrs == 0:
	case r.flags&rangeNetwork != 0:
		t.Addr = inNetwork(r.minAddr, r.maxAddr, w.addr)
		sameAddr = w.isEndpoint(t.Addr)
	case r.minAddr == r.maxAddr:
		t.Addr = r.minAddr
		sameAddr = w.isEndpoint(t.Addr)
	default:
		t.Addr, t.Addrs = netip.Addr{}, [2]netip.Addr{r.minAddr, r.maxAddr}
		sameAddr = maybe
		if r.minAddr.IsValid() && r.maxAddr.IsValid() && !w.mayBeOwn(r.minAddr, r.maxAddr) {
			sameAddr = no
		}
	}
	if r.flags&rangePorts != 0 {
		low, high := min(r.minPort, r.maxPort), max(r.minPort, r.maxPort)
		among := w.port >= low && w.port <= high
		switch {
		case low == 0:
			t.Port, samePort = 0, maybe
		case low == high:
			t.Port, samePort = low, triOf(low == w.port)
		case r.flags&rangeOffset != 0:
			t.Port = low + (w.port-r.basePort)%(high-low+1)
			samePort = triOf(t.Port == w.port)
		case !among:
			t.Port, t.Ports, samePort = 0, [2]uint16{low, high}, no
		case r.flags&(rangeRandom|rangeFully) != 0:
			t.Port, t.Ports, samePort = 0, [2]uint16{low, high}, maybe
		default:
			// It stays (nf_nat_l4proto_unique_tuple), unless a connection has it.
		}
	}
	return []Target{t}, min(sameAddr, samePort)
}

// isEndpoint reports whether the address is one of the question.
func (w *walk) isEndpoint(a netip.Addr) tri {
	if !a.IsValid() {
		return maybe
	}
	if a.IsUnspecified() {
		return no
	}
	if a.IsLoopback() && !w.local {
		// The kernel drops packets to loopback that come by another interface, unless
		// route_localnet is set for that.
		return triOf(a.Is4()).join(no)
	}
	if a == w.addr || a == w.asked {
		return yes
	}
	if !w.asked.IsUnspecified() {
		return no
	}
	return triOf(w.machine.isOwn(a))
}

// mayBeOwn reports whether an address of the question is between two others.
func (w *walk) mayBeOwn(low, high netip.Addr) bool {
	for _, a := range w.machine.addresses(w.asked) {
		if low.Compare(a) <= 0 && a.Compare(high) <= 0 {
			return true
		}
	}
	if w.asked.IsUnspecified() && w.machine.routed.overlap(low, high) {
		return true
	}
	return low.IsLoopback() || high.IsLoopback()
}

// inNetwork replaces the bits of an address that two others have in common.
func inNetwork(low, high, a netip.Addr) netip.Addr {
	if !low.IsValid() || !high.IsValid() || !a.IsValid() || low.BitLen() != a.BitLen() || high.BitLen() != a.BitLen() {
		return netip.Addr{}
	}
	l, h, b := low.AsSlice(), high.AsSlice(), a.AsSlice()
	for i := range b {
		mask := ^(l[i] ^ h[i])
		b[i] = b[i]&^mask | l[i]&mask
	}
	result, _ := netip.AddrFromSlice(b) // it has the length of a
	return result
}

// sendTo returns the effect of a NAT rule.
func (w *walk) sendTo(targets []Target, back tri) effect {
	if back == yes {
		targets = nil
	}
	return effect{matched: yes, sent: targets, back: back}
}

// dnat sends to fixed addresses or ports.
type dnat struct{ r natRange }

func (s dnat) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	return w.sendTo(w.apply(s.r))
}

// dnatRegisters is the DNAT of nf_tables. -1 stands for no register.
type dnatRegisters struct {
	family                             uint8
	minAddr, maxAddr, minPort, maxPort int
	flags                              uint32
}

func (s dnatRegisters) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	if s.family != w.family {
		return matched // in a table of the family inet it leaves the other family alone
	}
	several := w.reg.several.values
	if len(several) == 0 {
		return w.sendTo(w.apply(s.at(&w.reg, w.family)))
	}
	var all []Target
	back := no
	for i, v := range several {
		reg := w.reg
		reg.storeKnown(reg.several.at, v)
		targets, b := w.apply(s.at(&reg, w.family))
		if i == 0 {
			back = b
		}
		back = back.join(b)
		if b != yes && len(all) < maxTargets {
			all = append(all, targets...)
		}
	}
	return w.sendTo(all, back)
}

func (s dnatRegisters) at(r *registers, family uint8) natRange {
	n := natRange{flags: s.flags}
	if s.minAddr >= 0 {
		n.flags |= rangeAddrs
		n.minAddr = r.addrAt(s.minAddr, family)
		n.maxAddr = n.minAddr
		if s.maxAddr >= 0 {
			n.maxAddr = r.addrAt(s.maxAddr, family)
		}
	}
	if s.minPort >= 0 {
		n.flags |= rangePorts
		n.minPort = r.portAt(s.minPort)
		n.maxPort = n.minPort
		if s.maxPort >= 0 {
			n.maxPort = r.portAt(s.maxPort)
		}
	}
	return n
}

// redirect sends to the machine itself: to the first address of the interface
// where the call arrives, or to loopback for local calls (nf_nat_redirect.c).
type redirect struct{ r natRange }

func (s redirect) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	r := s.r
	r.flags |= rangeAddrs
	r.flags &^= rangeNetwork
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if w.family == familyIPv6 {
		loopback = netip.IPv6Loopback()
	}
	var candidates []netip.Addr
	switch {
	case w.hook == hookOutput:
		candidates = []netip.Addr{loopback}
	case w.arrival() != nil:
		for _, a := range w.in.addrs {
			if a.Is4() == (w.family == familyIPv4) && (a.Is4() || a.IsLinkLocalUnicast() == w.addr.IsLinkLocalUnicast()) {
				candidates = append(candidates, a)
			}
		}
		if len(candidates) == 0 {
			return effect{matched: yes, verdicts: []verdict{{code: verdictDrop}}}
		}
		if w.family == familyIPv4 {
			candidates = candidates[:1]
		}
	}
	if len(candidates) == 0 {
		// By any interface: it is some address of the machine.
		return w.sendTo(w.apply(r))
	}
	var all []Target
	back := no
	for i, a := range candidates {
		r.minAddr, r.maxAddr = a, a
		targets, b := w.apply(r)
		if i == 0 {
			back = b
		}
		back = back.join(b)
		all = append(all, targets...)
	}
	return w.sendTo(all[:min(len(all), maxTargets)], back)
}

// redirectRegisters is the redirect of nf_tables.
type redirectRegisters struct {
	minPort, maxPort int
	flags            uint32
}

func (s redirectRegisters) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	at := dnatRegisters{minAddr: -1, maxAddr: -1, minPort: s.minPort, maxPort: s.maxPort, flags: s.flags}
	if len(w.reg.several.values) == 0 || s.minPort < 0 {
		return redirect{at.at(&w.reg, w.family)}.run(w)
	}
	var all effect
	for i, v := range w.reg.several.values {
		reg := w.reg
		reg.storeKnown(reg.several.at, v)
		e := redirect{at.at(&reg, w.family)}.run(w)
		if len(e.verdicts) > 0 {
			return e
		}
		if i == 0 {
			all = e
			continue
		}
		all.back = all.back.join(e.back)
		all.sent = append(all.sent, e.sent...)
	}
	all.sent = all.sent[:min(len(all.sent), maxTargets)]
	return all
}

// tproxy gives calls to a transparent socket. If there is none, x_tables drops
// them (xt_TPROXY.c), and nf_tables goes on with the next rule (nft_tproxy.c).
type tproxy struct {
	family uint8 // 0: any
	to     Target
	goesOn bool
}

func (s tproxy) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	if s.family != 0 && s.family != w.family {
		return ifMatched(no, "")
	}
	t := s.to
	t.Addr = inFamily(t.Addr, w.family)
	if t.Port == 0 {
		t.Port = w.port
	}
	if !t.Addr.IsValid() || t.Addr.IsUnspecified() {
		t.Addr = netip.Addr{}
	}
	t.Here = true
	back := triOf(t.Port == w.port && (!t.Addr.IsValid() || w.isEndpoint(t.Addr) == yes))
	if back == no && s.goesOn {
		w.unknown("it depends on whether a proxy listens there")
		back = maybe
	}
	if back == yes {
		return matched
	}
	return effect{matched: yes, sent: []Target{t}, back: back, goesOn: s.goesOn}
}

// tproxyRegisters is the tproxy of nf_tables.
type tproxyRegisters struct {
	family     uint8
	addr, port int
}

func (s tproxyRegisters) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	t := tproxy{family: s.family, goesOn: true}
	if s.addr >= 0 {
		t.to.Addr = w.reg.addrAt(s.addr, w.family)
	}
	if s.port >= 0 {
		if t.to.Port = w.reg.portAt(s.port); t.to.Port == 0 {
			return effect{matched: yes, sent: []Target{{}}, back: maybe, goesOn: true}
		}
	}
	return t.run(w)
}

// forward is the statement fwd: it sends packets out by another device.
type forward struct{}

func (forward) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	w.unknown("it forwards them by another device")
	return effect{matched: yes, sent: []Target{{}}, back: maybe}
}

// awayUnknown sends callers to a place that is not known.
type awayUnknown struct{ name string }

func (s awayUnknown) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	w.unknown(s.name + " is not understood")
	return effect{matched: yes, sent: []Target{{}}, back: maybe, goesOn: true}
}
