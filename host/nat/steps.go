package nat

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// The steps that nf_tables has. Conditions on what a call does not fix, such as
// its source, are met by some callers.

// loadMeta loads facts about a packet (enum nft_meta_keys).
type loadMeta struct {
	key uint32
	at  int
}

const (
	metaProtocol = 1
	metaMark     = 3
	metaIif      = 4
	metaOif      = 5
	metaIifname  = 6
	metaOifname  = 7
	metaNfproto  = 15
	metaL4proto  = 16
	metaIiftype  = 8
	metaOiftype  = 9
	metaSkuid    = 10
	metaSkgid    = 11
	metaPkttype  = 19
	metaCgroup   = 23
)

// Kinds of packets (PACKET_* of include/uapi/linux/if_packet.h).
const (
	packetHost      = 0
	packetOtherhost = 3
)

func (s loadMeta) run(w *walk) effect {
	if w.family == 0 && (s.key == metaProtocol || s.key == metaNfproto) {
		w.familySeen = true
		w.reg.storeUnknown(s.at, 2)
		return matched
	}
	switch s.key {
	case metaProtocol:
		w.reg.storeKnown(s.at, protocolOf(w.family))
	case metaNfproto:
		w.reg.storeKnown(s.at, []byte{w.family})
	case metaL4proto:
		if w.protocol == 0 {
			w.reg.storeUnknown(s.at, 1)
		} else {
			w.reg.storeKnown(s.at, []byte{w.protocol})
		}
	case metaMark:
		w.reg.storeNumber(s.at, w.state.mark)
	case metaIif, metaOif:
		if device := w.device(s.key == metaOif); device != nil {
			w.reg.storeNumber(s.at, exactly(device.index))
		} else {
			w.reg.storeUnknown(s.at, 4)
		}
	case metaIiftype, metaOiftype:
		return s.loadType(w)
	case metaSkuid, metaSkgid, metaCgroup:
		w.reg.storeUnknown(s.at, 4)
		if w.filter == nil && (w.hook == hookPrerouting || w.hook == hookIngress) {
			return effect{} // no socket yet, and nft_meta_get_eval then ends the rule
		}
	case metaPkttype:
		kind := w.packetKind()
		w.reg.store(s.at, []byte{byte(kind.value)}, []byte{byte(kind.known)})
	case metaIifname, metaOifname:
		device := w.device(s.key == metaOifname)
		if device == nil {
			w.reg.storeUnknown(s.at, nameLength)
			break
		}
		var b [nameLength]byte
		copy(b[:], device.name)
		w.reg.storeKnown(s.at, b[:])
	default:
		w.reg.storeUnknown(s.at, 16)
	}
	return matched
}

// packetKind is for whom the packet is. A port of a bridge, or the device below a VLAN,
// has packets for other addresses of the Ethernet than its own.
func (w *walk) packetKind() partial {
	switch w.hook {
	case hookOutput, hookPrerouting, hookInput:
	case hookIngress:
		if w.below {
			return partial{}
		}
	default:
		return partial{}
	}
	return w.state.kind
}

// storeKind sets for whom the packet is (nft_meta_set_eval).
type storeKind struct{ at int }

func (s storeKind) run(w *walk) effect {
	kind := partial{uint32(w.reg.value[s.at]), uint32(w.reg.known[s.at]) | ^uint32(0xff)}
	switch { // others are ignored
	case kind != exactly(kind.value):
		w.state.kind = w.state.kind.join(kind)
	case kind.value <= packetOtherhost:
		w.state.kind = kind
	}
	return matched
}

// loadType loads the type of an interface (ARPHRD_*).
func (s loadMeta) loadType(w *walk) effect {
	leaves := s.key == metaOiftype
	in := w.in
	switch {
	case w.filter != nil:
		in = nil
	case leaves != w.leaving():
		return effect{} // no interface
	case leaves && !w.reply:
		in = loDevice
	}
	if in == nil || in.kind == 0 {
		w.reg.storeUnknown(s.at, 2)
		return matched
	}
	w.reg.storeKnown(s.at, binary.NativeEndian.AppendUint16(nil, in.kind))
	return matched
}

const nameLength = 16 // IFNAMSIZ

// leaving reports whether the packet is at a hook that packets leave by.
func (w *walk) leaving() bool {
	return w.hook == hookOutput || w.hook == hookPostrouting || w.hook == hookEgress
}

// noDevice is what rules see of an interface at the hooks that have none.
var noDevice = &netInterface{}

// loDevice is the first of every namespace (net/core/dev.c).
var loDevice = &netInterface{name: loopbackDevice, index: 1, kind: typeLoopback, loopback: true}

const typeLoopback = 772 // ARPHRD_LOOPBACK

// device returns the interface by which the packet arrives or leaves, or nil if it is
// not known.
func (w *walk) device(leaves bool) *netInterface {
	switch {
	case w.filter != nil:
		return nil
	case leaves && w.leaving() && !w.reply:
		return loDevice
	case leaves != w.leaving():
		return noDevice
	case w.reply && w.in != nil && w.in.vrf != "":
		return nil
	}
	return w.arrival()
}

// storeMark sets the mark of the packet or of the connection.
type storeMark struct {
	at         int
	connection bool
}

func (s storeMark) run(w *walk) effect {
	mark := w.reg.loadNumber(s.at)
	switch {
	case !s.connection:
		w.state.mark = mark
	case w.filter != nil:
	case w.tracked() == yes:
		w.state.ctMark = mark
	case w.tracked() == maybe:
		w.state.ctMark = w.state.ctMark.join(mark)
	}
	return matched
}

// loadPayload loads bytes of a header (enum nft_payload_bases).
type loadPayload struct {
	base           uint32
	offset, length int
	at             int
}

const (
	baseLink      = 0
	baseNetwork   = 1
	baseTransport = 2
)

func (s loadPayload) run(w *walk) effect {
	if w.filter != nil {
		return s.label(w)
	}
	if s.base == baseLink && s.offset == etherType && s.length == 2 && w.onEthernet() {
		w.reg.storeKnown(s.at, protocolOf(w.family))
		return matched
	}
	h := &w.packet.network
	if s.base == baseTransport {
		h = &w.packet.transport
	}
	if s.base != baseNetwork && s.base != baseTransport || s.offset < 0 || s.offset+s.length > len(h.value) {
		w.reg.storeUnknown(s.at, s.length)
		return ifMatched(maybe, "it is not known what the packets hold") // they may not have it
	}
	w.reg.store(s.at, h.value[s.offset:s.offset+s.length], h.known[s.offset:s.offset+s.length])
	addr, length := addrOffset(w.family)
	caller, port, callerPort := addr-length, portOffset, 0
	if w.reply {
		addr, caller, port, callerPort = caller, addr, callerPort, port
	}
	fromHere := w.fromHere() == yes && (!w.reply || w.in != nil && w.in.loopback)
	for i := range s.length {
		switch at := s.offset + i; {
		case s.base == baseTransport && (at == port || at == port+1):
			w.reg.is[s.at+i] = ofPort
		case s.base == baseTransport && (at == callerPort || at == callerPort+1):
			w.reg.is[s.at+i] = ofCallerPort
		case s.base == baseNetwork && at >= addr && at < addr+length:
			w.reg.is[s.at+i] = ofAddr
		case fromHere && s.base == baseNetwork && s.offset == caller && i < length:
			w.reg.is[s.at+i] = ofHere
		}
	}
	return matched
}

// etherType is where an Ethernet header has the protocol.
const etherType = 12

// onEthernet reports whether the packet has an Ethernet header without a tag. Below a VLAN
// it may have one, and above it, too, if the VLAN does not reorder headers.
func (w *walk) onEthernet() bool {
	const ethernet = 1 // ARPHRD_ETHER
	return !w.reply && !w.leaving() && w.in != nil && w.in.kind == ethernet && !w.in.tagged && !w.below
}

// protocolOf returns the protocol number of a family on an Ethernet (ETH_P_*).
func protocolOf(family uint8) []byte {
	if family == familyIPv6 {
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}

// label marks the called port and address for all questions at once.
func (s loadPayload) label(w *walk) effect {
	w.reg.storeUnknown(s.at, s.length)
	c := content(0)
	switch {
	case s.base == baseTransport && s.offset == portOffset && s.length == 2:
		c = ofPort
	case s.base == baseNetwork && w.familySeen && w.family != familyIPv6 && s.offset == 16 && s.length == 4,
		s.base == baseNetwork && w.familySeen && w.family != familyIPv4 && s.offset == 24 && s.length == 16:
		c = ofAddr
	}
	for i := range s.length {
		w.reg.is[s.at+i] = c
	}
	return ifMatched(maybe, "")
}

// loadCt loads facts about the connection (enum nft_ct_keys).
type loadCt struct {
	key     uint32
	replies bool // of the other direction
	at      int
}

const (
	ctState      = 0
	ctDirection  = 1
	ctStatus     = 2
	ctMark       = 3
	ctL3protocol = 7
	ctSrc        = 8
	ctDst        = 9
	ctProtocol   = 10
	ctProtoSrc   = 11
	ctProtoDst   = 12
	ctSrcIP      = 19
	ctDstIP      = 20
	ctSrcIP6     = 21
	ctDstIP6     = 22

	// Bits of ct state (NF_CT_STATE_BIT and the two beside it).
	ctStateInvalid   = 1
	ctStateNew       = 8
	ctStateUntracked = 64
)

func (s loadCt) run(w *walk) effect {
	if w.filter != nil {
		w.reg.storeUnknown(s.at, 16)
		return ifMatched(maybe, "")
	}
	if s.key == ctState {
		p := partial{}
		switch {
		case w.tracked() == yes:
			p = exactly(ctStateNew)
		case w.state.untracked == yes:
			p = exactly(ctStateUntracked)
		case w.state.untracked == no:
			p = exactly(ctStateInvalid)
		}
		w.reg.storeNumber(s.at, p)
		return matched
	}
	result := w.tracked()
	// Before NAT, that from which replies come is the called end.
	offset, length := addrOffset(w.family)
	v4, v6 := triOf(w.family == familyIPv4), triOf(w.family == familyIPv6)
	addr := func(t tri, called bool) {
		if result = min(result, t); t == no {
			return
		}
		at := offset
		if !called {
			at -= length
		}
		loadPayload{baseNetwork, at, length, s.at}.run(w)
	}
	switch {
	case s.key == ctStatus:
		w.reg.storeNumber(s.at, newStatus(w))
	case s.key == ctMark:
		w.reg.storeNumber(s.at, w.state.ctMark)
	case s.key == ctDirection:
		w.reg.storeKnown(s.at, []byte{0})
	case s.key == ctL3protocol:
		w.reg.storeKnown(s.at, []byte{w.family})
	case s.key == ctProtocol:
		w.reg.storeKnown(s.at, []byte{w.protocol})
	case s.key == ctProtoDst && !s.replies || s.key == ctProtoSrc && s.replies:
		loadPayload{baseTransport, portOffset, 2, s.at}.run(w)
	case s.key == ctProtoDst || s.key == ctProtoSrc:
		w.reg.storeUnknown(s.at, 2)
	case s.key == ctDst || s.key == ctSrc:
		addr(yes, (s.key == ctDst) != s.replies)
	case s.key == ctDstIP || s.key == ctSrcIP:
		addr(v4, (s.key == ctDstIP) != s.replies)
	case s.key == ctDstIP6 || s.key == ctSrcIP6:
		addr(v6, (s.key == ctDstIP6) != s.replies)
	default:
		w.reg.storeUnknown(s.at, 16)
		result = min(result, maybe)
	}
	return ifMatched(result, "it depends on the connection")
}

// loadFib looks up an address in the routing table.
type loadFib struct {
	result, flags uint32
	at            int
}

const (
	fibResultType = 3
	fibFlagSaddr  = 1
	fibFlagDaddr  = 2
	fibFlagMark   = 4
	fibFlagIif    = 8
	fibFlagOif    = 16

	// Types of routes (RTN_*).
	typeUnicast = 1
	typeLocal   = 2
)

func (s loadFib) run(w *walk) effect {
	w.reg.storeUnknown(s.at, 16)
	if s.result != fibResultType {
		return matched
	}
	// With an interface in the question, an address is local on its own interface
	// alone.
	here := maybe
	switch limited := s.flags & (fibFlagIif | fibFlagOif); {
	case s.flags&fibFlagDaddr != 0 && limited == 0:
		here = yes
	case w.filter != nil:
	case s.flags&fibFlagDaddr != 0 && limited == fibFlagIif && w.hook == hookPrerouting:
		here = w.isOn(w.arrival())
	case s.flags&fibFlagDaddr != 0 && limited == fibFlagOif && w.hook == hookOutput:
		here = w.isOn(nil)
	case s.flags&fibFlagSaddr != 0 && limited == 0:
		here = w.fromHere()
	}
	switch here {
	case yes:
		w.reg.storeNumber(s.at, exactly(typeLocal))
	case no:
		w.reg.storeNumber(s.at, exactly(typeUnicast))
	}
	return matched
}

// loadRange loads a number that lies between bounds.
type loadRange struct {
	at          int
	first, size uint32
	random      string // the name of the expression
}

func (s loadRange) run(w *walk) effect {
	if s.size == 1 {
		w.reg.storeNumber(s.at, exactly(s.first))
		return matched
	}
	w.reg.storeUnknown(s.at, 4)
	w.reg.number.at, w.reg.number.first, w.reg.number.size = s.at, s.first, s.size
	return matched
}

// loadUnknown stands for expressions that load what can't be known, or whose
// registers are not known.
type loadUnknown struct{ name string }

func (s loadUnknown) run(w *walk) effect {
	w.reg = registers{}
	return ifMatched(maybe, "it depends on "+s.name)
}

// immediate loads a constant.
type immediate struct {
	at    int
	value []byte
}

func (s immediate) run(w *walk) effect {
	w.reg.storeKnown(s.at, s.value)
	return matched
}

// Operators of compare (enum nft_cmp_ops).
const (
	opEqual = iota
	opNotEqual
	opLess
	opLessOrEqual
	opGreater
	opGreaterOrEqual
)

type compare struct {
	at   int
	op   uint32
	want []byte
}

const depends = "it depends on the caller"

func (s compare) run(w *walk) effect {
	value, known := w.reg.value[s.at:s.at+len(s.want)], w.reg.known[s.at:s.at+len(s.want)]
	if w.filter != nil {
		return ifMatched(s.prune(w), "")
	}
	s.mark(w)
	isPort := len(s.want) == 2 && w.reg.holds(ofPort, s.at, 2)
	switch s.op {
	case opEqual, opNotEqual:
		e := ifMatched(w.equalBits(s, value, known).xor(s.op == opNotEqual), depends)
		if isPort {
			e.ofPorts(1, s.op == opNotEqual)
		} else {
			e.selects = s.op == opEqual && w.reg.selectsPort(s.at, len(s.want))
		}
		return e
	default:
		var result tri
		less, equal, greater := compareBits(value, known, s.want)
		some, others := less, greater
		if s.op >= opGreater {
			some, others = greater, less
		}
		if s.op == opLessOrEqual || s.op == opGreaterOrEqual {
			some = some || equal
		} else {
			others = others || equal
		}
		switch {
		case some && others:
			result = maybe
		case some:
			result = yes
		}
		e := ifMatched(result, depends)
		if isPort {
			e.bound(s.op, int(binary.BigEndian.Uint16(s.want)))
		}
		return e
	}
}

// equalBits compares. A caller on the machine has one of its addresses.
func (w *walk) equalBits(s compare, value, known []byte) tri {
	result := equalBits(value, known, s.want)
	_, length := addrOffset(w.family)
	if result != maybe || len(s.want) > length || !w.reg.holds(ofHere, s.at, len(s.want)) ||
		s.at > 0 && w.reg.is[s.at-1] == ofHere {
		return result
	}
	mask := make([]byte, length)
	for i := range s.want {
		mask[i] = ^known[i]
	}
	want := make([]byte, length)
	copy(want, s.want)
	if low, high, ok := prefixOf(want, mask); ok && !w.machine.hasAny(low, high) {
		return no
	}
	return result
}

// unprivileged is how many ports need no privilege. A condition that as many meet is
// one for every port, as service meshes and transparent proxies have it.
const everyNumber, unprivileged = 1 << 16, everyNumber - 1024

// ofPorts is for conditions that so many called ports meet, or all others.
func (e *effect) ofPorts(ports int, others bool) {
	if others {
		ports = everyNumber - ports
	}
	e.selects, e.selectsRest = ports < unprivileged, everyNumber-ports < unprivileged
}

// bound is ofPorts for a bound.
func (e *effect) bound(op uint32, bound int) {
	if op == opLessOrEqual || op == opGreater {
		bound++
	}
	e.ofPorts(bound, op >= opGreater)
}

// mark records which called addresses the condition names.
func (s compare) mark(w *walk) {
	if w.spots == nil {
		return
	}
	switch s.op {
	case opEqual, opNotEqual:
		w.mark(s.at, s.want, s.want)
	case opLess, opGreaterOrEqual:
		w.mark(s.at, s.want, bytes.Repeat([]byte{0xff}, len(s.want)))
	default:
		w.mark(s.at, make([]byte, len(s.want)), s.want)
	}
}

func (s compare) prune(w *walk) tri {
	value, known := w.reg.value[s.at:s.at+len(s.want)], w.reg.known[s.at:s.at+len(s.want)]
	if s.op != opEqual {
		return maybe
	}
	switch {
	case len(s.want) == 2 && w.reg.holds(ofPort, s.at, 2):
		p := binary.BigEndian.Uint16(s.want)
		return w.filter.mayBePort(p, p)
	case w.reg.holds(ofAddr, s.at, len(s.want)):
		if a, ok := netip.AddrFromSlice(s.want); ok {
			return w.filter.mayBeAddr(a)
		}
	}
	return min(equalBits(value, known, s.want), maybe)
}

// inRange compares with two bounds.
type inRange struct {
	at        int
	invert    bool
	low, high []byte
}

func (s inRange) run(w *walk) effect {
	value, known := w.reg.value[s.at:s.at+len(s.low)], w.reg.known[s.at:s.at+len(s.low)]
	result := within(value, known, s.low, s.high).xor(s.invert)
	w.mark(s.at, s.low, s.high)
	e := ifMatched(result, depends)
	if len(s.low) == 2 && w.reg.holds(ofPort, s.at, 2) {
		low, high := binary.BigEndian.Uint16(s.low), binary.BigEndian.Uint16(s.high)
		if w.filter != nil && !s.invert {
			return ifMatched(w.filter.mayBePort(low, high), "")
		}
		e.ofPorts(int(high)-int(low)+1, s.invert)
	}
	return e
}

// bitwise computes (value & mask) ^ xor, or shifts.
type bitwise struct {
	from, to, length int
	mask, xor        []byte
	shift            int // to the left, if positive
	unknown          bool
}

func (s bitwise) run(w *walk) effect {
	var value, known [registerBytes]byte
	copy(value[:s.length], w.reg.value[s.from:])
	copy(known[:s.length], w.reg.known[s.from:])
	is := w.reg.is
	switch {
	case s.unknown:
		known = [registerBytes]byte{}
	case s.shift != 0:
		shiftWords(value[:s.length], s.shift, 0)
		shiftWords(known[:s.length], s.shift, 0xff)
	default:
		for i := range s.length {
			known[i] |= ^s.mask[i]
			value[i] = value[i]&s.mask[i] ^ s.xor[i]
		}
	}
	if s.unknown || s.shift != 0 || !zero(s.xor) || s.from > 0 && is[s.from-1] == ofHere {
		forgetHere(is[:])
	}
	w.reg.store(s.to, value[:s.length], known[:s.length])
	if w.filter == nil {
		copy(w.reg.is[s.to:s.to+s.length], is[s.from:])
	}
	return matched
}

// shiftWords shifts as nft_bitwise does: the 32-bit words are in the machine's
// byte order, and bits go from one to the next. Bits that come in are those of
// fill.
func shiftWords(b []byte, shift int, fill byte) {
	words := make([]uint32, len(b)/4)
	for i := range words {
		words[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	ones := uint32(fill) * 0x01010101
	left, n := shift > 0, max(shift, -shift)
	carry := ones
	if left {
		carry >>= 32 - n
		for i := len(words) - 1; i >= 0; i-- {
			words[i], carry = words[i]<<n|carry, words[i]>>(32-n)
		}
	} else {
		carry <<= 32 - n
		for i := range words {
			words[i], carry = words[i]>>n|carry, words[i]<<(32-n)
		}
	}
	for i := range words {
		binary.NativeEndian.PutUint32(b[4*i:], words[i])
	}
}

// forgetHere is for bytes of an address that are not where they were.
func forgetHere(is []content) {
	for i, c := range is {
		if c == ofHere {
			is[i] = 0
		}
	}
}

// byteOrder reverses the bytes of each number.
type byteOrder struct {
	from, to, length, size int
}

func (s byteOrder) run(w *walk) effect {
	value, known, is := w.reg.value, w.reg.known, w.reg.is
	var v, k [registerBytes]byte
	for i := 0; i+s.size <= s.length; i += s.size {
		for j := range s.size {
			from := s.from + i + j
			if littleEndian {
				from = s.from + i + s.size - 1 - j
			}
			v[i+j], k[i+j] = value[from], known[from]
		}
	}
	w.reg.store(s.to, v[:s.length], k[:s.length])
	forgetHere(is[:])
	if w.filter == nil {
		copy(w.reg.is[s.to:s.to+s.length], is[s.from:])
	}
	return matched
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// lookup finds a key in a set.
type lookup struct {
	set     string
	at      int
	invert  bool
	mapping bool
	to      int // of a mapping
	verdict bool
}

func (s lookup) run(w *walk) effect {
	if w.filter != nil {
		w.reg = registers{}
		return ifMatched(maybe, "")
	}
	found, err := w.find(s)
	if err != nil {
		w.reg = registers{}
		e := ifMatched(maybe, err.Error())
		if s.verdict { // it may lead to a rule that sends callers away
			e.sent, e.back, e.goesOn = []Target{{}}, maybe, true
		}
		return e
	}
	e := ifMatched(found.matched.xor(s.invert), depends)
	if found.byPort {
		e.ofPorts(found.ports, s.invert)
	}
	if e.matched == no || s.invert {
		return e
	}
	switch {
	case s.verdict:
		for _, el := range found.elements {
			e.verdicts = append(e.verdicts, el.verdict)
		}
	case s.mapping:
		w.storeAny(s.to, found.elements)
	}
	return e
}

// storeAny loads the data of one of several elements.
func (w *walk) storeAny(at int, elements []*element) {
	length := len(elements[0].data)
	value := append([]byte(nil), elements[0].data...)
	known := make([]byte, length)
	for i := range known {
		known[i] = 0xff
	}
	var values [][]byte
	for _, el := range elements {
		if len(el.data) != length || !fits(at, length) {
			w.reg = registers{}
			return
		}
		for i := range known {
			known[i] &^= value[i] ^ el.data[i]
		}
		values = append(values, el.data)
	}
	w.reg.store(at, value, known)
	if len(values) > 1 && length > 0 {
		w.reg.several.at, w.reg.several.values = at, values
	}
}

// noTrack makes conntrack ignore the packet, if it has not seen it yet.
type noTrack struct{}

func (noTrack) run(w *walk) effect {
	if (w.chain.priority < priorityConntrack || w.hook == hookIngress) && !w.met() {
		w.state.untracked = yes
	}
	return matched
}

// queue gives packets to a program. Those that come back go on with the next chain, and
// so do those that nobody reads, with bypass. The program may mark them.
type queue struct{}

func (queue) run(w *walk) effect {
	w.state.mark = partial{}
	return effect{matched: yes, verdicts: []verdict{{code: verdictAccept}}}
}

// passes is a step that changes nothing here.
type passes struct{ name string }

func (passes) run(*walk) effect { return matched }

// some is a condition that some callers meet.
type some struct{ name string }

func (s some) run(*walk) effect { return ifMatched(maybe, "it depends on "+s.name) }

// unknownStep is an expression that this package does not know. It could do
// anything.
type unknownStep struct{ name string }

func (s unknownStep) run(w *walk) effect {
	if w.filter != nil {
		w.reg = registers{}
		return ifMatched(maybe, "")
	}
	w.reg = registers{}
	w.unknown("the expression " + s.name + " is not understood")
	return effect{matched: maybe, reason: "the expression " + s.name + " is not understood"}
}
