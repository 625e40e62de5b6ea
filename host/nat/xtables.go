package nat

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Decoders for the matches and targets of x_tables, which the rules of
// iptables-legacy and iptables-nft have. The layouts are those of the headers in
// include/uapi/linux/netfilter, netfilter_ipv4 and netfilter_ipv6.

// comment is the match of this name. It has no effect.
type comment string

func (comment) run(*walk) effect { return matched }

// decodeMatch returns the step of a match. What is not known or has another size
// is met by some callers.
func decodeMatch(name string, revision uint32, data []byte) step {
	s := step(nil)
	switch {
	case name == "tcp" && revision == 0 && len(data) >= 12:
		s = portsMatch{
			protocol: protocolTCP, source: [2]uint16{number16(data), number16(data[2:])}, ports: [2]uint16{number16(data[4:]), number16(data[6:])},
			option: data[8] != 0, flagMask: data[9], flags: data[10], invertSource: data[11]&1 != 0, invert: data[11]&2 != 0, invertFlags: data[11]&4 != 0,
		}
	case name == "udp" && revision == 0 && len(data) >= 9:
		s = portsMatch{
			protocol: protocolUDP, source: [2]uint16{number16(data), number16(data[2:])}, ports: [2]uint16{number16(data[4:]), number16(data[6:])},
			invertSource: data[8]&1 != 0, invert: data[8]&2 != 0,
		}
	case name == "multiport" && revision == 1 && len(data) >= 48:
		s = decodeMultiport(data)
	case name == "addrtype" && revision == 0 && len(data) >= 12:
		n := number32
		s = addrType{source: number16(data), dest: number16(data[2:]), flags: n(data[4:])&1*invertSourceType | n(data[8:])&1*invertDestType}
	case name == "addrtype" && revision == 1 && len(data) >= 8:
		s = addrType{source: number16(data), dest: number16(data[2:]), flags: number32(data[4:])}
	case name == "comment":
		s = comment(cString(data))
	case (name == "mark" || name == "connmark") && revision == 1 && len(data) >= 9:
		s = markMatch{number32(data), number32(data[4:]), data[8] != 0, name == "connmark"}
	case name == "state" && revision == 0 && len(data) >= 4:
		s = stateMatch{mask: number32(data), untracked: 64}
	case name == "conntrack" && revision >= 2 && revision <= 3 && len(data) >= 154:
		s = decodeConntrack(data, revision == 3)
	case name == "iprange" && revision == 1 && len(data) >= 65:
		s = addrRange{data[:65]}
	case name == "statistic" && revision == 0 && len(data) >= 8 && number16(data) == 0 && number16(data[2:]) == 0 && number32(data[4:]) >= 1<<31:
		s = passes{"statistic"} // a probability of 1
	case name == "set":
		s = decodeSetMatch(revision, data)
	default:
		s = some{"the match " + name}
	}
	return s
}

func number16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }

func number32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// portsMatch is the match tcp or udp.
type portsMatch struct {
	protocol                          uint8
	source, ports                     [2]uint16
	invertSource, invert, invertFlags bool
	option                            bool
	flagMask, flags                   byte
}

func (s portsMatch) run(w *walk) effect {
	if w.filter != nil {
		if w.filter.mayBeProtocol(s.protocol) == no || !s.invert && w.filter.mayBePort(s.ports[0], s.ports[1]) == no {
			return effect{}
		}
		return ifMatched(maybe, "")
	}
	if w.protocol != s.protocol {
		return effect{}
	}
	result := ofSource(s.source).xor(s.invertSource)
	if s.option {
		result = min(result, maybe)
	}
	if s.flagMask != 0 || s.invertFlags {
		mask := s.flagMask
		f := partial{uint32(w.packet.transport.value[13]), uint32(w.packet.transport.known[13])}
		result = min(result, f.equals(uint32(s.flags), uint32(mask)).xor(s.invertFlags))
	}
	e := ifMatched(min(triOf(holds(s.ports, w.port)).xor(s.invert), result), depends)
	e.ofPorts(countPorts(s.ports), s.invert)
	e.selectsRest = e.selectsRest && result == yes
	return e
}

func holds(r [2]uint16, p uint16) bool { return p >= r[0] && p <= r[1] }

// ofSource reports whether callers come from a range of ports.
func ofSource(r [2]uint16) tri {
	switch {
	case r == [2]uint16{0, everyNumber - 1}:
		return yes
	case r[0] > r[1]:
		return no
	}
	return maybe
}

// countPorts returns how many ports ranges have.
func countPorts(ranges ...[2]uint16) int {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b [2]uint16) int { return int(a[0]) - int(b[0]) })
	n, next := 0, 0
	for _, r := range ranges {
		n += max(int(r[1])+1-max(int(r[0]), next), 0)
		next = max(next, int(r[1])+1)
	}
	return n
}

// portList is the match multiport.
type portList struct {
	ranges [][2]uint16
	source bool // source ports count, too or alone
	dest   bool
	invert bool
}

func decodeMultiport(data []byte) step {
	count := int(data[1])
	if count > 15 || data[0] > 2 {
		return some{"the match multiport"}
	}
	s := portList{source: data[0] != 1, dest: data[0] != 0, invert: data[47] != 0}
	for i := 0; i < count; i++ {
		first := number16(data[2+2*i:])
		last := first
		if data[32+i] != 0 && i+1 < count { // a range
			i++
			last = number16(data[2+2*i:])
		}
		s.ranges = append(s.ranges, [2]uint16{first, last})
	}
	return s
}

func (s portList) run(w *walk) effect {
	result := no
	for _, r := range s.ranges {
		switch {
		case w.filter != nil && s.dest:
			result = max(result, w.filter.mayBePort(r[0], r[1]))
		case s.dest && holds(r, w.port):
			result = yes
		}
		if s.source {
			result = max(result, ofSource(r))
		}
	}
	ports := countPorts(s.ranges...)
	if w.filter != nil {
		if s.invert || s.dest && manyPorts(ports) {
			result = maybe
		}
		return ifMatched(result, depends)
	}
	e := ifMatched(result.xor(s.invert), depends)
	if s.dest && (!s.source || s.invert) {
		e.ofPorts(ports, s.invert)
		e.selectsRest = e.selectsRest && !s.source
	}
	return e
}

// addrType is the match addrtype. The masks have a bit for each route type.
type addrType struct {
	source, dest uint16
	flags        uint32
}

// Flags of addrType (enum in xt_addrtype.h).
const (
	invertSourceType = 1
	invertDestType   = 2
	limitIn          = 4
	limitOut         = 8
)

func (s addrType) run(w *walk) effect {
	const unicast, local = 1 << typeUnicast, 1 << typeLocal
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	v6 := w.family == familyIPv6
	is := func(mask uint16, here tri) tri {
		switch {
		case v6 && mask&^(unicast|local) != 0:
			return maybe // xt_addrtype.c asks the routing table about some of them
		case v6 && mask&local == 0:
			return triOf(mask&unicast != 0) // in IPv6, that is a form of the address
		case mask&unicast != 0 && mask&local != 0 && !v6:
			return yes
		case mask&local != 0:
			return here
		case mask&unicast != 0:
			return here.not()
		}
		return no
	}
	result := yes
	if s.dest != 0 {
		here := yes
		switch {
		case s.flags&limitIn != 0:
			here = w.isOn(w.arrival())
		case s.flags&limitOut != 0:
			here = w.isOn(nil)
		}
		result = min(result, is(s.dest, here).xor(s.flags&invertDestType != 0))
	}
	if s.source != 0 {
		here := maybe
		if s.flags&(limitIn|limitOut) == 0 {
			here = w.fromHere()
		}
		result = min(result, is(s.source, here).xor(s.flags&invertSourceType != 0))
	}
	return ifMatched(result, depends)
}

// isOn reports whether the called address is local on an interface, or on lo.
func (w *walk) isOn(in *netInterface) tri {
	switch {
	case !w.addr.IsValid(), in == nil && !w.leaving(), in != nil && in.vrf != "", w.machine.routed.overlap(w.addr, w.addr):
		return maybe
	case in == nil || in.loopback:
		if w.addr.IsLoopback() {
			return yes
		}
		for _, i := range w.machine.interfaces {
			if i.loopback && i.has(w.addr) {
				return maybe // others may have it, too
			}
		}
		return no
	case !in.has(w.addr):
		return no
	}
	for _, i := range w.machine.interfaces {
		if i.index != in.index && i.has(w.addr) && w.addr.Is4() {
			return maybe // the route is that of one of them
		}
	}
	return yes
}

// fromHere reports whether the call comes from an address of the machine. The
// kernel drops calls from outside that claim it.
func (w *walk) fromHere() tri {
	switch {
	case w.leaving(), w.in != nil && w.in.loopback:
		return yes
	case w.in == nil:
		return maybe
	}
	return no
}

// markMatch is the match mark or connmark.
type markMatch struct {
	want, mask uint32
	invert     bool
	connection bool
}

func (s markMatch) run(w *walk) effect {
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	mark := w.state.mark
	if s.connection {
		mark = w.state.ctMark
		if t := w.tracked(); t != yes {
			return ifMatched(t, "it depends on the connection")
		}
	}
	return ifMatched(mark.equals(s.want, s.mask).xor(s.invert), "it depends on a mark")
}

// met reports whether conntrack has met the packet at another hook.
func (w *walk) met() bool {
	return (w.hook == hookPrerouting || w.hook == hookIngress) && w.in != nil && w.in.loopback || w.hook == hookIngress && !w.below && w.early() || w.hook == hookEgress || w.hook == hookInput || w.hook == hookPostrouting
}

// tracked reports whether the call has a connection here. Before the connection is
// looked up there is none, except when the packet comes back by lo.
func (w *walk) tracked() tri {
	if (w.chain.priority <= priorityConntrack || w.hook == hookIngress) && !w.met() {
		return no
	}
	return w.state.untracked.not()
}

// stateMatch is the match state, or conntrack with a state alone.
type stateMatch struct {
	mask, untracked uint32
	invert          bool
}

func (s stateMatch) run(w *walk) effect {
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	var is uint32
	switch {
	case w.tracked() == yes:
		is = ctStateNew
	case w.state.untracked == yes:
		is = s.untracked
	case w.state.untracked == no:
		is = ctStateInvalid
	default:
		return ifMatched(maybe, "it depends on the connection")
	}
	return ifMatched(triOf(s.mask&is != 0).xor(s.invert), "")
}

// addrRange is the match iprange: two ranges of addresses, and flags.
type addrRange struct{ data []byte }

func (s addrRange) run(w *walk) effect {
	const source, dest, invertSource, invertDest = 1, 2, 16, 32
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	result := yes
	offset, length := addrOffset(w.family)
	h, flags := &w.packet.network, s.data[64]
	in := func(at, low int) tri {
		return within(h.value[at:at+length], h.known[at:at+length], s.data[low:][:length], s.data[low+16:][:length])
	}
	if flags&dest != 0 {
		w.spots.markBytes(s.data[32:][:length], s.data[48:][:length])
		result = min(result, in(offset, 32).xor(flags&invertDest != 0))
	}
	if flags&source != 0 {
		result = min(result, in(offset-length, 0).xor(flags&invertSource != 0))
	}
	return ifMatched(result, depends)
}

// harmlessTargets neither end a rule nor change what is followed here.
var harmlessTargets = map[string]bool{
	"LOG": true, "NFLOG": true, "TRACE": true, "CLASSIFY": true, "DSCP": true, "TOS": true, "TTL": true, "HL": true,
	"TCPMSS": true, "CHECKSUM": true, "TCPOPTSTRIP": true, "SECMARK": true, "CONNSECMARK": true, "AUDIT": true,
	"RATEEST": true, "IDLETIMER": true, "LED": true, "TEE": true, "ECN": true, "SNAT": true, "MASQUERADE": true,
}

// decodeTarget returns the step of a target.
func decodeTarget(name string, revision uint32, data []byte) step {
	switch {
	case harmlessTargets[name]:
		return passes{name}
	case name == "REJECT" || name == "DROP":
		return verdict{code: verdictDrop}
	case name == "NFQUEUE":
		return queue{}
	case name == "SYNPROXY":
		return some{name}
	case name == "DNAT" && revision == 0:
		if r, ok := decodeRange0(data); ok {
			return dnat{r}
		}
	case name == "DNAT" && revision <= 2:
		if r, ok := decodeRange1(data, revision == 2); ok {
			return dnat{r}
		}
	case name == "REDIRECT" || name == "NETMAP":
		// Both have one layout for IPv4 and another one for IPv6, under one revision.
		r, ok := decodeRange0(data)
		if len(data) >= range1Size {
			r, ok = decodeRange1(data, false)
		}
		if ok && name == "REDIRECT" {
			return redirect{r}
		}
		if ok {
			r.flags |= rangeAddrs | rangeNetwork
			return dnat{r}
		}
	case name == "TPROXY" && revision == 0 && len(data) >= 14:
		addr, _ := netip.AddrFromSlice(data[8:12])
		return tproxy{to: Target{Addr: addr, Port: binary.BigEndian.Uint16(data[12:])}}
	case name == "TPROXY" && revision == 1 && len(data) >= 26:
		return tproxy{to: Target{Addr: unionAddr(data[8:24]), Port: binary.BigEndian.Uint16(data[24:])}}
	case name == "MARK" && revision == 2 && len(data) >= 8:
		return setMark{mark: number32(data), mask: number32(data[4:])}
	case name == "CONNMARK" && revision == 1 && len(data) >= 13:
		return connMark{number32(data), number32(data[4:]), number32(data[8:]), data[12], false}
	case name == "CONNMARK" && revision == 2 && len(data) >= 15: // the direction and the bits of a shift are before the mode
		return connMark{number32(data), number32(data[4:]), number32(data[8:]), data[14], data[13] != 0}
	case name == "SET":
		return decodeSetTarget(revision, data)
	case name == "HMARK":
		return setMark{unknown: true}
	case name == "NOTRACK":
		return noTrack{}
	case name == "CT" && len(data) >= 2:
		if number16(data)&1 != 0 {
			return noTrack{}
		}
		return passes{"CT"}
	}
	return awayUnknown{"the target " + name}
}

const range0Size, range1Size = 20, 40

// decodeRange0 decodes struct nf_nat_ipv4_multi_range_compat.
func decodeRange0(data []byte) (natRange, bool) {
	if len(data) < range0Size || number32(data) != 1 {
		return natRange{}, false
	}
	r := natRange{flags: number32(data[4:]), minPort: binary.BigEndian.Uint16(data[16:]), maxPort: binary.BigEndian.Uint16(data[18:])}
	r.minAddr, _ = netip.AddrFromSlice(data[8:12])
	r.maxAddr, _ = netip.AddrFromSlice(data[12:16])
	return r, true
}

// decodeRange1 decodes struct nf_nat_range, or nf_nat_range2 with a base port.
func decodeRange1(data []byte, base bool) (natRange, bool) {
	if len(data) < range1Size || base && len(data) < range1Size+2 {
		return natRange{}, false
	}
	r := natRange{
		flags: number32(data), minAddr: unionAddr(data[4:20]), maxAddr: unionAddr(data[20:36]),
		minPort: binary.BigEndian.Uint16(data[36:]), maxPort: binary.BigEndian.Uint16(data[38:]),
	}
	if base {
		r.basePort = binary.BigEndian.Uint16(data[40:])
	}
	return r, true
}

// unionAddr decodes union nf_inet_addr, whose family is known elsewhere.
func unionAddr(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }

// inFamily returns the address of a union in the given family.
func inFamily(a netip.Addr, family uint8) netip.Addr {
	if family == familyIPv4 && a.Is6() {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return a
}

// setMark is the target MARK.
type setMark struct {
	mark, mask uint32
	unknown    bool
}

func (s setMark) run(w *walk) effect {
	if s.unknown {
		w.state.mark = partial{}
		return matched
	}
	w.state.mark = w.state.mark.and(^s.mask).xor(exactly(s.mark))
	return matched
}

// connMark is the target CONNMARK.
type connMark struct {
	mark, mask, packetMask uint32
	mode                   uint8
	shifts                 bool
}

func (s connMark) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	const set, save, restore = 0, 1, 2
	switch t := w.tracked(); {
	case t == no:
	case t == maybe:
		if s.mode == restore {
			w.state.mark = partial{}
		} else {
			w.state.ctMark = partial{}
		}
	case s.mode == set && !s.shifts:
		w.state.ctMark = w.state.ctMark.and(^s.mask).xor(exactly(s.mark))
	case s.mode == save && !s.shifts:
		w.state.ctMark = w.state.ctMark.and(^s.mask).xor(w.state.mark.and(s.packetMask))
	case s.mode == restore && !s.shifts:
		w.state.mark = w.state.mark.and(^s.packetMask).xor(w.state.ctMark.and(s.mask))
	case s.mode == restore:
		w.state.mark = partial{}
	default:
		w.state.ctMark = partial{}
	}
	return matched
}
