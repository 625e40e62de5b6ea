package nat

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// An ipset is a set of ipset, which rules of x_tables refer to.
type ipset struct {
	name    string
	kind    string   // such as hash:ip,port
	family  uint8    // 0: any
	members []*ipset // of a list
	ports   uint32   // how many a set of ports alone has
}

// An ipsetKey is what a set of ipset may have: those parts that its kind has.
type ipsetKey struct {
	addr     netip.Addr
	port     uint16
	protocol uint8
	device   string
	mark     uint32
}

const ipsetList, bitmapPort = "list:set", "bitmap:port"

// parts returns the parts of a set's keys. ok reports whether all are known here.
func (s *ipset) parts() (parts []string, ok bool) {
	_, list, found := strings.Cut(s.kind, ":")
	parts = strings.Split(list, ",")
	for _, p := range parts {
		found = found && (p == "ip" || p == "net" || p == "port" || p == "iface" || p == "mark")
	}
	return parts, found
}

// setMatch is the match set, of ipset.
type setMatch struct {
	index  uint16
	dims   int   // parts of a key
	source uint8 // the bit 1<<n is set if part n, from 1 on, is of the caller
	invert bool
	name   string // once it is known
}

// decodeSetMatch decodes the match set (include/uapi/linux/netfilter/xt_set.h).
func decodeSetMatch(revision uint32, data []byte) step {
	const (
		inverts         = 1
		returnNoMatch   = 1 << 7 // IPSET_RETURN_NOMATCH of revision 2
		skipCounters    = 8 | 16 // IPSET_FLAG_SKIP_COUNTER_UPDATE and that of sub-counters
		revision4       = 48     // its size
		packetsOp       = 8 + 8  // conditions on the counters of an element
		bytesOp         = 24 + 8
		flagsOfRevision = 40
	)
	vague := some{"a set of ipset"}
	switch {
	case (revision == 1 || revision == 2) && len(data) >= 4:
		if data[3]&returnNoMatch != 0 {
			return vague
		}
	case revision == 4 && len(data) >= revision4:
		if data[packetsOp] != 0 || data[bytesOp] != 0 || number32(data[flagsOfRevision:])&^skipCounters != 0 {
			return vague
		}
	default:
		return vague
	}
	flags := data[3]
	return &setMatch{index: number16(data), dims: int(data[2]), source: flags &^ inverts, invert: flags&inverts != 0}
}

func (s *setMatch) run(w *walk) effect {
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	set, err := w.rules.ipset(s.index)
	if err != nil {
		return ifMatched(maybe, err.Error())
	}
	s.name = set.name
	if w.writtenAny || w.writes(s.index, set) {
		return ifMatched(maybe, "packets change the set "+set.name)
	}
	result, ports, err := w.inSet(s, set)
	if err != nil {
		return ifMatched(maybe, err.Error())
	}
	e := ifMatched(result.xor(s.invert), depends)
	if ports > 0 {
		e.ofPorts(ports, s.invert)
	}
	return e
}

// writes reports whether a rule that the call has met changes a set, or a member of it.
func (w *walk) writes(index uint16, set *ipset) bool {
	return len(w.written) > 0 && (w.written[index] || set.kind == ipsetList)
}

// inSet reports whether the call is in a set, as ip_set_test of the kernel does.
// ports is how many the set is for, or 0 if it is not by port.
func (w *walk) inSet(s *setMatch, set *ipset) (result tri, ports int, err error) {
	if set.kind == ipsetList {
		byPort := true // the member that decides
		for _, member := range set.members {
			r, n, err := w.inSet(s, member)
			if err != nil {
				return maybe, 0, err
			}
			if ports += n; r > result {
				result, byPort = r, n > 0
			} else if result == no {
				byPort = byPort && n > 0
			}
		}
		if !byPort {
			ports = 0
		}
		return result, min(ports, everyNumber), nil
	}
	parts, known := set.parts()
	if len(parts) > s.dims || set.family != 0 && set.family != w.family {
		return no, 0, nil
	}
	key := ipsetKey{addr: w.addr, port: w.port, protocol: w.protocol}
	ofCaller := false
	for i, p := range parts {
		src := s.source&(1<<(i+1)) != 0
		switch p {
		case "iface":
			// Where a packet has no such device, no key is the packet's.
			switch device := w.device(!src); device {
			case noDevice:
				return no, 0, nil
			case nil:
				known = false
			default:
				key.device = device.name
			}
		case "mark":
			key.mark, known = w.state.mark.value, known && w.state.mark.known == ^uint32(0)
		default:
			ofCaller = ofCaller || src
		}
	}
	byPort := slices.Contains(parts, "port")
	switch {
	case set.kind == bitmapPort:
		ports = int(set.ports)
	case byPort:
		ports = 1
	}
	byAddr := len(parts) > 1 || !byPort
	if byAddr && !ofCaller {
		w.spots.miss()
	}
	if !known || ofCaller || byAddr && !w.addr.IsValid() || byPort && w.port == 0 {
		return maybe, ports, nil
	}
	in, err := w.rules.inSet(set, key)
	return triOf(in), ports, err
}

const networkOrder = 0x4000 // NLA_F_NET_BYTEORDER

// attributes returns what the kernel is asked about a key
// (include/uapi/linux/netfilter/ipset/ip_set.h).
func (k ipsetKey) attributes(parts []string) []attribute {
	const ip, port, proto, mark, ip2, iface, ipv4, ipv6 = 1, 4, 7, 10, 20, 23, 1, 2
	addr := attribute{ipv4 | networkOrder, k.addr.AsSlice()}
	if k.addr.Is6() {
		addr.kind = ipv6 | networkOrder
	}
	var all []attribute
	first := true
	for _, p := range parts {
		switch {
		case p == "port":
			all = append(all, attribute{port | networkOrder, binary.BigEndian.AppendUint16(nil, k.port)})
			if len(parts) > 1 {
				all = append(all, attribute{proto, []byte{k.protocol}})
			}
		case p == "iface":
			all = append(all, textAttribute(iface, k.device))
		case p == "mark":
			all = append(all, attribute{mark | networkOrder, binary.BigEndian.AppendUint32(nil, k.mark)})
		case first:
			all, first = append(all, nest(ip, addr)), false
		default:
			all = append(all, nest(ip2, addr))
		}
	}
	return all
}

func (s *setMatch) text(*describer) string {
	name := s.name
	if name == "" {
		name = strconv.Itoa(int(s.index))
	}
	words := []string{"match-set", name}
	if s.invert {
		words = append([]string{"!"}, words...)
	}
	var sides []string
	for i := range s.dims {
		side := "dst"
		if s.source&(1<<(i+1)) != 0 {
			side = "src"
		}
		sides = append(sides, side)
	}
	return strings.Join(append(words, strings.Join(sides, ",")), " ")
}

// decodeSetTarget decodes the target SET, which changes sets. It can also take the
// packet's mark from one.
func decodeSetTarget(revision uint32, data []byte) step {
	const mapSet, flags, noSet, mapMark = 8, 12, 0xffff, 1 << 8
	if revision >= 3 && (len(data) < flags+4 || number16(data[mapSet:]) != noSet && number32(data[flags:])&mapMark != 0) {
		return setMark{unknown: true}
	}
	if revision == 0 || len(data) < mapSet {
		return setWrite{}
	}
	return setWrite{sets: []uint16{number16(data), number16(data[4:])}}
}

// setWrite is the target SET, which adds to one set and deletes from another. Without
// sets it may be any. So a call decides by itself what becomes of it and of later ones.
type setWrite struct{ sets []uint16 }

func (s setWrite) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	if w.written == nil {
		w.written = map[uint16]bool{}
	}
	for _, index := range s.sets {
		w.written[index] = true
	}
	w.writtenAny = w.writtenAny || len(s.sets) == 0
	return matched
}
