package nat

import (
	"net/netip"

	"github.com/org/portcheck/port"
)

// A filter is the ports and addresses of all questions. A rule for none of them
// is dropped while it is decoded.
type filter struct {
	ports     port.Bits
	addrs     map[netip.Addr]bool
	routed    spans
	protocols map[uint8]bool
}

func newFilter(questions []Question, m machine) *filter {
	f := &filter{addrs: map[netip.Addr]bool{}, protocols: map[uint8]bool{}}
	for _, q := range questions {
		f.ports.Add(q.Port)
		f.protocols[protocolNumber(q.Protocol)] = true
		for _, a := range m.addresses(q.Addr) {
			f.addrs[a] = true
		}
		if q.Addr.IsUnspecified() {
			f.routed = m.routed
		}
	}
	return f
}

func protocolNumber(p port.Protocol) uint8 {
	if p == port.UDP {
		return protocolUDP
	}
	return protocolTCP
}

// manyPorts reports whether a rule for so many ports leaves few enough others to select them.
func manyPorts(ports int) bool { return everyNumber-ports < unprivileged }

// mayBePort reports whether any question is about a port in a range, or among the few
// outside of it.
func (f *filter) mayBePort(first, last uint16) tri {
	if first <= last && (f.ports.HasAny(port.Range{First: first, Last: last}) || manyPorts(int(last)-int(first)+1)) {
		return maybe
	}
	return no
}

func (f *filter) mayBeProtocol(number uint8) tri {
	if f.protocols[number] {
		return maybe
	}
	return no
}

// mayBeAddr reports whether any question is about an address.
func (f *filter) mayBeAddr(a netip.Addr) tri {
	if f.addrs[a] || f.routed.overlap(a, a) {
		return maybe
	}
	return no
}

// mayBeIn reports whether any question is about an address with these bits.
func (f *filter) mayBeIn(want, mask []byte) tri {
	for a := range f.addrs {
		b := a.AsSlice()
		if len(b) != len(want) {
			continue
		}
		same := true
		for i := range b {
			same = same && (b[i]^want[i])&mask[i] == 0
		}
		if same {
			return maybe
		}
	}
	if low, high, ok := prefixOf(want, mask); ok && f.routed.overlap(low, high) {
		return maybe
	}
	return no
}

// walk returns a walk that runs rules of a family for all questions at once.
func (f *filter) walk(family uint8) *walk {
	w := &walk{filter: f, call: call{family: family}}
	if family == familyInet || family == familyNetdev {
		w.family = 0 // either
	}
	if len(f.protocols) == 1 {
		for p := range f.protocols {
			w.protocol = p
		}
	}
	return w
}

// drops reports whether a rule concerns none of the questions.
func (w *walk) drops(steps []step) bool {
	w.reg, w.familySeen = registers{}, w.family != 0
	for _, s := range steps {
		e := s.run(w)
		if e.matched == no {
			return true
		}
		if len(e.verdicts) > 0 {
			return false
		}
	}
	return false
}
