package nat

import (
	"encoding/binary"
	"net/netip"
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
		n := binary.NativeEndian.Uint32
		s = addrType{source: number16(data), dest: number16(data[2:]), invertDest: n(data[8:]) != 0}
	case name == "addrtype" && revision == 1 && len(data) >= 8:
		flags := binary.NativeEndian.Uint32(data[4:])
		s = addrType{source: number16(data), dest: number16(data[2:]), invertDest: flags&2 != 0, byInterface: flags&12 != 0}
	case name == "comment":
		s = comment(cString(data))
	case (name == "mark" || name == "connmark") && revision == 1 && len(data) >= 9:
		s = markMatch{number32(data), number32(data[4:]), data[8] != 0, name == "connmark"}
	case name == "state" && revision == 0 && len(data) >= 4:
		s = stateMatch{mask: number32(data), untracked: 64}
	case name == "conntrack" && revision >= 2 && revision <= 3 && len(data) >= 154:
		s = decodeConntrack(data)
	case name == "iprange" && revision == 1 && len(data) >= 65:
		s = addrRange{low: data[32:48], high: data[48:64], source: data[64]&1 != 0, dest: data[64]&2 != 0, invert: data[64]&32 != 0}
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
	result := triOf(w.port >= s.ports[0] && w.port <= s.ports[1]).xor(s.invert)
	if s.source != [2]uint16{0, 0xffff} || s.invertSource || s.option {
		result = min(result, maybe)
	}
	if s.flagMask != 0 || s.invertFlags {
		mask := s.flagMask
		f := partial{uint32(w.packet.transport.value[13]), uint32(w.packet.transport.known[13])}
		result = min(result, f.equals(uint32(s.flags), uint32(mask)).xor(s.invertFlags))
	}
	if result == yes && !s.invert && int(s.ports[1])-int(s.ports[0]) < narrow {
		w.state.port = true
	}
	return ifMatched(result, depends)
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
	result, wide := no, false
	for _, r := range s.ranges {
		switch {
		case w.filter != nil && s.dest:
			result = max(result, w.filter.mayBePort(r[0], r[1]))
		case s.dest && w.port >= r[0] && w.port <= r[1]:
			result, wide = yes, int(r[1])-int(r[0]) >= narrow
		}
	}
	if w.filter != nil && s.invert {
		result = maybe
	}
	if s.source && result == no {
		result = maybe
	}
	result = result.xor(s.invert)
	if w.filter == nil && result == yes && !s.invert && !wide && !s.source {
		w.state.port = true
	}
	return ifMatched(result, depends)
}

// addrType is the match addrtype. The masks have a bit for each route type.
type addrType struct {
	source, dest uint16
	invertDest   bool
	byInterface  bool
}

func (s addrType) run(w *walk) effect {
	const unicast, local = 1 << 1, 1 << typeLocal
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	result := yes
	if s.dest != 0 {
		is := s.dest&local != 0
		if w.family == familyIPv6 && s.dest&(unicast|local) == unicast {
			is = true // to xt_addrtype.c, a local address is unicast in IPv6 alone
		}
		result = triOf(is).xor(s.invertDest)
		if s.byInterface || w.family == familyIPv6 && s.dest&^(unicast|local) != 0 {
			result = maybe
		}
	}
	if s.source != 0 {
		result = min(result, maybe)
	}
	return ifMatched(result, depends)
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

// tracked reports whether the call has a connection here. Before the connection is
// looked up there is none, except when the packet comes back by lo.
func (w *walk) tracked() tri {
	byLo := w.hook == hookPrerouting && w.in != nil && w.in.loopback
	if w.chain.priority <= priorityConntrack && !byLo {
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

func decodeConntrack(data []byte) step {
	const flagState, stateUntracked = 1, 256
	flags, invert := number16(data[146:]), number16(data[148:])
	if flags != flagState {
		return some{"the match conntrack"}
	}
	return stateMatch{uint32(number16(data[150:])), stateUntracked, invert&flagState != 0}
}

// addrRange is the match iprange.
type addrRange struct {
	low, high            []byte
	source, dest, invert bool
}

func (s addrRange) run(w *walk) effect {
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	result := yes
	if s.dest {
		offset, length := addrOffset(w.family)
		h := &w.packet.network
		result = within(h.value[offset:offset+length], h.known[offset:offset+length], s.low[:length], s.high[:length]).xor(s.invert)
	}
	if s.source {
		result = min(result, maybe)
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
	case name == "NFQUEUE" || name == "SYNPROXY":
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
	case name == "CONNMARK" && revision >= 1 && revision <= 2 && len(data) >= 13:
		return connMark{number32(data), number32(data[4:]), number32(data[8:]), data[12], revision == 2 && len(data) >= 15 && data[14] != 0}
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
