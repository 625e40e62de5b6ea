package nat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
)

// legacyTable is a table of x_tables. Its chains have the names that iptables
// shows.
type legacyTable struct {
	chains map[string][]rule
	bases  []baseChain
}

// legacyInfo is struct ipt_getinfo without the name.
type legacyInfo struct {
	hooks       uint32
	entry       [5]uint32
	underflow   [5]uint32
	count, size uint32
}

// layout has the offsets of struct ipt_entry or ip6t_entry.
type layout struct {
	family                 uint8
	addr                   int // bytes of an address
	names, protocol, flags int
	inverted               int
	target, size           int
	gotoFlag, protocolFlag byte // 0: the protocol counts if it is not 0
}

func layoutOf(family uint8) layout {
	if family == familyIPv4 {
		return layout{family: family, addr: 4, names: 16, protocol: 80, flags: 82, inverted: 83, target: 88, size: 112, gotoFlag: 2}
	}
	l := layout{family: family, addr: 16, names: 64, protocol: 128, flags: 131, inverted: 132, target: 140, size: 168, gotoFlag: 4, protocolFlag: 1}
	if runtime.GOARCH == "386" {
		l.size = 164 // its 64-bit counters are aligned to 4
	}
	return l
}

// xtHeader is the size of struct xt_entry_match and xt_entry_target without their
// data.
const xtHeader = 32

// decodeLegacy decodes the entries of a table. Rules that w drops are left out.
func decodeLegacy(name string, info legacyInfo, entries []byte, w *walk) (legacyTable, error) {
	l := layoutOf(w.family)
	t := legacyTable{chains: map[string][]rule{}}
	broken := func(at int, what string) error {
		return fmt.Errorf("%w: entry at %d: %s", errBroken, at, what)
	}
	// First the names: a chain begins behind an entry with the target ERROR, which has
	// its name, or at a hook.
	names := map[int]string{}
	hookNames := [5]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
	for hook, n := range hookNames {
		if info.hooks&(1<<hook) != 0 {
			names[int(info.entry[hook])] = n
		}
	}
	each := func(visit func(at, next int, e []byte, target string, data []byte) error) error {
		for at := 0; at < len(entries); {
			if len(entries)-at < l.size {
				return broken(at, "short")
			}
			e := entries[at:]
			target, next := int(binary.NativeEndian.Uint16(e[l.target:])), int(binary.NativeEndian.Uint16(e[l.target+2:]))
			if target < l.size || next < target+xtHeader || next > len(e) {
				return broken(at, "wrong size")
			}
			e = e[:next]
			size := int(binary.NativeEndian.Uint16(e[target:]))
			if size < xtHeader || size > next-target {
				return broken(at, "wrong size of its target")
			}
			if err := visit(at, at+next, e, cString(e[target+2:target+31]), e[target+xtHeader:target+size]); err != nil {
				return err
			}
			at += next
		}
		return nil
	}
	err := each(func(at, next int, _ []byte, target string, data []byte) error {
		if target == "ERROR" {
			names[next] = cString(data)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	chain := ""
	err = each(func(at, next int, e []byte, target string, data []byte) error {
		if n, ok := names[at]; ok {
			chain = n
		}
		if target == "ERROR" {
			chain = ""
			return nil
		}
		r, err := decodeEntry(l, e, next, target, data, names)
		if err != nil {
			return broken(at, err.Error())
		}
		if !w.drops(r.steps) {
			r, err = decodeEntry(l, bytes.Clone(e), next, target, bytes.Clone(data), names)
			if err != nil {
				return broken(at, err.Error())
			}
			t.chains[chain] = append(t.chains[chain], r)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	priorities := map[string]int32{"raw": -300, "mangle": -150, "nat": priorityNAT}
	for _, hook := range []uint32{hookPrerouting, hookOutput} {
		// A chain that has nothing but its policy sends nobody anywhere.
		empty := info.entry[hook] == info.underflow[hook] && accepts(t.chains[hookNames[hook]])
		if info.hooks&(1<<hook) != 0 && !empty {
			t.bases = append(t.bases, baseChain{
				table: tableKey{family: w.family, name: name, legacy: true}, name: hookNames[hook],
				hook: hook, priority: priorities[name], nat: name == "nat",
			})
		}
	}
	return t, nil
}

// accepts reports whether rules are that of a policy alone.
func accepts(rules []rule) bool {
	return len(rules) == 1 && len(rules[0].steps) == 1 && rules[0].steps[0] == step(verdict{code: verdictAccept})
}

func decodeEntry(l layout, e []byte, next int, target string, data []byte, names map[int]string) (rule, error) {
	var r rule
	head := entryHead{layout: l, entry: e}
	if !head.empty() {
		r.steps = append(r.steps, head)
	}
	end := int(binary.NativeEndian.Uint16(e[l.target:]))
	for at := l.size; at < end; {
		if end-at < xtHeader {
			return r, fmt.Errorf("a match of %d bytes", end-at)
		}
		size := int(binary.NativeEndian.Uint16(e[at:]))
		if size < xtHeader || size > end-at {
			return r, fmt.Errorf("a match of %d bytes", size)
		}
		m := decodeMatch(cString(e[at+2:at+31]), uint32(e[at+31]), e[at+xtHeader:at+size])
		if c, ok := m.(comment); ok {
			r.comment = string(c)
		}
		r.steps = append(r.steps, m)
		at += size
	}
	if target != "" {
		r.steps = append(r.steps, decodeTarget(target, uint32(e[end+31]), data))
		return r, nil
	}
	if len(data) < 4 {
		return r, fmt.Errorf("a verdict of %d bytes", len(data))
	}
	const ret, accept = -5, -2
	switch v := int(int32(binary.NativeEndian.Uint32(data))); {
	case v == next: // a rule without a target
	case v >= 0:
		chain, ok := names[v]
		if !ok {
			return r, fmt.Errorf("a jump into a chain, to %d", v)
		}
		code := verdictJump
		if e[l.flags]&l.gotoFlag != 0 {
			code = verdictGoto
		}
		r.steps = append(r.steps, verdict{code, chain})
	case v == ret:
		r.steps = append(r.steps, verdict{code: verdictReturn})
	case v == accept:
		r.steps = append(r.steps, verdict{code: verdictAccept})
	case v == -1:
		r.steps = append(r.steps, verdict{code: verdictDrop})
	default: // a queue
		r.steps = append(r.steps, some{"a program"}, verdict{code: verdictAccept})
	}
	return r, nil
}

// entryHead is the conditions that each rule of x_tables has: addresses,
// interfaces and the protocol.
type entryHead struct {
	layout
	entry []byte
}

// Flags of entryHead.inverted (IPT_INV_* and IP6T_INV_*).
const (
	invertIn       = 1
	invertOut      = 2
	invertSource   = 8
	invertDest     = 0x10
	invertFragment = 0x20
	invertProtocol = 0x40
)

// part returns the nth field of length bytes from an offset on.
func (s entryHead) part(at, n, length int) []byte { return s.entry[at+n*length:][:length] }

func (s entryHead) empty() bool {
	for _, c := range s.entry[:s.target-4] {
		if c != 0 {
			return false
		}
	}
	return true
}

func (s entryHead) inverts(flag byte) bool { return s.entry[s.inverted]&flag != 0 }

func (s entryHead) number() (protocol uint8, counts bool) {
	p := number16(s.entry[s.protocol:])
	if s.protocolFlag != 0 {
		return uint8(p), s.entry[s.flags]&s.protocolFlag != 0
	}
	return uint8(p), p != 0
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (s entryHead) run(w *walk) effect {
	result := yes
	if p, counts := s.number(); counts {
		t := triOf(w.protocol == p)
		if w.filter != nil {
			t = w.filter.mayBeProtocol(p)
			if s.inverts(invertProtocol) {
				t = maybe
			}
		}
		result = min(result, t.xor(s.inverts(invertProtocol)))
	}
	source, dest, sourceMask, destMask := s.part(0, 0, s.addr), s.part(0, 1, s.addr), s.part(0, 2, s.addr), s.part(0, 3, s.addr)
	if t := maybe; !zero(sourceMask) || !zero(source) || s.inverts(invertSource) {
		if zero(sourceMask) {
			t = triOf(zero(source)).xor(s.inverts(invertSource))
		}
		result = min(result, t)
	}
	if !zero(destMask) || s.inverts(invertDest) {
		var t tri
		if w.filter != nil {
			t = maybe
			if !s.inverts(invertDest) {
				t = w.filter.mayBeIn(dest, destMask)
			}
		} else {
			w.spots.markPrefix(dest, destMask)
			offset, length := addrOffset(w.family)
			value, known := make([]byte, length), make([]byte, length)
			for i := range length {
				value[i] = w.packet.network.value[offset+i] & destMask[i]
				known[i] = w.packet.network.known[offset+i] | ^destMask[i]
			}
			t = equalBits(value, known, dest).xor(s.inverts(invertDest))
		}
		result = min(result, t)
	}
	for i, invert := range []byte{invertIn, invertOut} {
		name, mask := s.part(s.names, i, nameLength), s.part(s.names+2*nameLength, i, nameLength)
		if zero(mask) && !s.inverts(invert) {
			continue
		}
		device := w.device(i == 1)
		if device == nil {
			result = min(result, maybe)
			continue
		}
		var b [nameLength]byte
		copy(b[:], device.name)
		same := true
		for j := range b {
			same = same && (b[j]^name[j])&mask[j] == 0
		}
		result = min(result, triOf(same).xor(s.inverts(invert)))
	}
	if s.inverts(invertFragment) || s.family == familyIPv4 && s.entry[s.flags]&1 != 0 {
		result = min(result, maybe) // a condition on fragments
	}
	return ifMatched(result, depends)
}
