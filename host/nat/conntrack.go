package nat

// connMatch is the match conntrack: struct xt_conntrack_mtinfo3, or mtinfo2.
type connMatch struct {
	data          []byte
	match, invert uint16
	ports         bool // the ports are ranges in the machine's byte order
}

// Flags of connMatch (include/uapi/linux/netfilter/xt_conntrack.h).
const (
	connState      = 1 << 0
	connProtocol   = 1 << 1
	connStatus     = 1 << 6
	connSourcePort = 1 << 8
	connDirection  = 1 << 12
	connAlias      = 1 << 13 // it was written as the match state
)

func decodeConntrack(data []byte, ports bool) step {
	s := connMatch{data: data, match: number16(data[146:]), invert: number16(data[148:]), ports: ports && len(data) >= 162}
	if s.match&^connAlias == connState {
		return s.state()
	}
	return s
}

func (s connMatch) inverts(flag uint16) bool { return s.invert&flag != 0 }

func (s connMatch) state() stateMatch {
	const untracked = 256
	return stateMatch{uint32(number16(s.data[150:])), untracked, s.inverts(connState)}
}

func (s connMatch) run(w *walk) effect {
	if w.filter != nil {
		return ifMatched(maybe, "")
	}
	result := yes
	if s.match&connState != 0 {
		e := s.state().run(w)
		if e.matched == no || w.tracked() == no {
			return e // xt_conntrack.c looks at nothing else if there is no connection
		}
		result = e.matched
	}
	if w.tracked() == no {
		return effect{}
	}
	result = min(result, w.tracked())
	known := uint16(connState | connAlias)
	also := func(flag uint16, t tri) {
		if known |= flag; s.match&flag != 0 {
			result = min(result, t.xor(s.inverts(flag)))
		}
	}
	also(connProtocol, triOf(number16(s.data[136:]) == uint16(w.protocol)))
	also(connDirection, yes)
	also(connStatus, s.status(w))
	for i, name := range connEnds {
		also(1<<(2+i), name.addr(s, w, i))
		if s.ports && !name.called {
			also(connSourcePort<<i, ofSource(s.portRange(i)))
		}
	}
	if s.ports {
		known |= connSourcePort<<1 | connSourcePort<<2
	}
	if s.match&^known != 0 {
		result = min(result, maybe)
	}
	e := effect{reason: "it depends on the connection"}
	for i, name := range connEnds {
		flag := uint16(connSourcePort << i)
		if !s.ports || !name.called || s.match&flag == 0 {
			continue
		}
		var end effect
		end.ofPorts(countPorts(s.portRange(i)), s.inverts(flag))
		e.selects, e.selectsRest = e.selects || end.selects, end.selectsRest && result == yes
		also(flag, triOf(holds(s.portRange(i), w.port)))
	}
	e.matched = result
	return e
}

// A connEnd is one of the four ends of a connection that the match compares. Before
// NAT, that from which replies come is the called one.
type connEnd struct{ called bool }

var connEnds = [4]connEnd{{false}, {true}, {true}, {false}}

func (c connEnd) addr(s connMatch, w *walk, i int) tri {
	const size = 16
	offset, length := addrOffset(w.family)
	want, mask := s.data[2*size*i:][:length], s.data[2*size*i+size:][:length]
	if c.called {
		w.spots.markPrefix(want, mask)
	} else {
		offset -= length
	}
	value, known := make([]byte, length), make([]byte, length)
	for k := range length {
		value[k] = w.packet.network.value[offset+k] & mask[k]
		known[k] = w.packet.network.known[offset+k] | ^mask[k]
	}
	return equalBits(value, known, want)
}

func (s connMatch) portRange(i int) [2]uint16 {
	return [2]uint16{number16(s.data[138+2*i:]), number16(s.data[154+2*i:])}
}

// status compares the bits of the connection's status: that of a first packet has
// none of them, unless the call was expected or comes back by lo.
func (s connMatch) status(w *walk) tri {
	return newStatus(w).and(uint32(number16(s.data[152:]))).equals(0, ^uint32(0)).not()
}

// newStatus returns the status of a new connection (enum ip_conntrack_status).
func newStatus(w *walk) partial {
	const expected = 1
	if w.hook == hookPrerouting && w.in != nil && !w.in.loopback || w.hook == hookOutput {
		return partial{0, ^uint32(expected)}
	}
	return partial{}
}
