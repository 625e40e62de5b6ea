package nat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// Decoders for the messages of nf_tables (include/uapi/linux/netfilter/nf_tables.h).
// Each takes a message without its netlink header.

// messageHeader is the size of struct nfgenmsg.
const messageHeader = 4

// The attributes that all objects of nf_tables begin with: NFTA_RULE_TABLE and
// NFTA_RULE_CHAIN, NFTA_SET_TABLE and NFTA_SET_NAME, NFTA_SET_ELEM_LIST_TABLE and
// NFTA_SET_ELEM_LIST_SET.
const objectTable, objectName = 1, 2

// decodeHeader returns the family and the attributes of a message.
func decodeHeader(message []byte) (family uint8, a attributes, err error) {
	if len(message) < messageHeader {
		return 0, a, errBroken
	}
	a, err = parseAttributes(message[messageHeader:])
	return message[0], a, err
}

// decodeTable returns a table. dormant reports that its chains are not in use.
func decodeTable(message []byte) (t tableKey, dormant bool, err error) {
	const name, flags, flagDormant = 1, 2, 1
	family, a, err := decodeHeader(message)
	return tableKey{family: family, name: a.text(name)}, a.number(flags)&flagDormant != 0, err
}

// decodeChain returns a base chain. ok is false for other chains.
func decodeChain(message []byte) (b baseChain, ok bool, err error) {
	const table, name, hook, policy, kind, hookNumber, hookPriority = 1, 3, 4, 5, 7, 1, 2
	family, a, err := decodeHeader(message)
	if err != nil || a[hook] == nil {
		return b, false, err
	}
	h, err := parseAttributes(a[hook])
	if err != nil {
		return b, false, err
	}
	b = baseChain{
		table: tableKey{family: family, name: a.text(table)}, name: a.text(name),
		hook: h.number(hookNumber), priority: int32(h.number(hookPriority)),
		nat: a.text(kind) == "nat", drops: a[policy] != nil && a.number(policy) == 0,
	}
	if family == familyNetdev {
		b.hook += hookIngress
	}
	b.devices, err = decodeDevices(h)
	return b, true, err
}

// decodeDevices returns the devices of a hook.
func decodeDevices(hook attributes) (names []string, err error) {
	const device, devices, name, prefix = 3, 4, 1, 2
	if hook[device] != nil {
		names = append(names, hook.text(device))
	}
	err = eachAttribute(hook[devices], func(kind uint16, value []byte) error {
		switch n := cString(value); kind {
		case name:
			names = append(names, n)
		case prefix:
			names = append(names, n+"*")
		}
		return nil
	})
	return names, err
}

// decodeSet returns a set without its elements.
func decodeSet(message []byte) (*set, error) {
	const name, flags, keyLength, dataType, desc, descConcat, fieldLength, dataVerdict = 2, 3, 5, 6, 9, 2, 1, 0xffffff00
	_, a, err := decodeHeader(message)
	if err != nil {
		return nil, err
	}
	s := &set{name: a.text(name), flags: a.number(flags), keyLength: int(a.number(keyLength))}
	if s.keyLength <= 0 || s.keyLength > registerBytes {
		return nil, fmt.Errorf("%w: a set with keys of %d bytes", errBroken, s.keyLength)
	}
	s.verdicts = s.flags&setMap != 0 && a.number(dataType) == dataVerdict
	concat := a.nested(desc, descConcat)
	padded := 0
	err = eachAttribute(concat, func(_ uint16, field []byte) error {
		f, err := parseAttributes(field)
		length := int(f.number(fieldLength))
		if err == nil && (length <= 0 || length > registerBytes) {
			err = errBroken
		}
		s.fields = append(s.fields, length)
		padded += (length + 3) &^ 3
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(s.fields) < 2 {
		s.fields = nil
	} else if padded != s.keyLength {
		return nil, fmt.Errorf("%w: a key whose parts have %d bytes", errBroken, padded)
	}
	return s, nil
}

// decodeElements calls each for every element of a message.
func decodeElements(message []byte, each func(*element) error) error {
	const elements = 3
	_, a, err := decodeHeader(message)
	if err != nil {
		return err
	}
	return eachAttribute(a[elements], func(_ uint16, value []byte) error {
		e, err := decodeElement(value)
		if err != nil {
			return err
		}
		return each(e)
	})
}

func decodeElement(data []byte) (*element, error) {
	const key, value, flags, expression, object, keyEnd, expressions, dataValue, dataVerdict = 1, 2, 3, 7, 9, 10, 11, 1, 2
	a, err := parseAttributes(data)
	if err != nil {
		return nil, err
	}
	e := &element{
		key: bytes.Clone(a.nested(key, dataValue)), last: bytes.Clone(a.nested(keyEnd, dataValue)),
		flags: a.number(flags), data: bytes.Clone(a.nested(value, dataValue)),
	}
	if len(e.last) == 0 {
		e.last = nil
	}
	if len(e.key) == 0 && e.flags&elementOther == 0 || len(e.key) > registerBytes || len(e.data) > registerBytes {
		return nil, fmt.Errorf("%w: an element with a key of %d bytes", errBroken, len(e.key))
	}
	if v := a.nested(value, dataVerdict); v != nil {
		if e.verdict, err = decodeVerdict(v); err != nil {
			return nil, err
		}
	}
	sometimes := func(data []byte) {
		x, err := parseAttributes(data)
		e.sometimes = e.sometimes || err != nil || !slices.Contains(harmless, x.text(expressionName))
	}
	if a[expression] != nil {
		sometimes(a[expression])
	}
	err = eachAttribute(a[expressions], func(_ uint16, data []byte) error { sometimes(data); return nil })
	return e, err
}

func decodeVerdict(data []byte) (verdict, error) {
	const code, chain = 1, 2
	a, err := parseAttributes(data)
	if err != nil || a[code] == nil {
		return verdict{}, errBroken
	}
	v := verdict{chain: a.text(chain)}
	switch int32(a.number(code)) {
	case 0, 2: // NF_DROP, NF_STOLEN
		v.code = verdictDrop
	case 1, 5: // NF_ACCEPT, NF_STOP
		v.code = verdictAccept
	case -1:
		v.code = verdictContinue
	case -2:
		v.code = verdictBreak
	case -3:
		v.code = verdictJump
	case -4:
		v.code = verdictGoto
	case -5:
		v.code = verdictReturn
	default: // a queue: a program decides, which can't change the address
		v.code = verdictAccept
	}
	return v, nil
}

// decodeRule returns a rule, unless w, a walk for all questions, drops it. A nil one drops
// none.
func decodeRule(message []byte, w *walk) (r rule, keep bool, err error) {
	const handle, expressions, userData = 3, 4, 7
	_, a, err := decodeHeader(message)
	if err != nil {
		return r, false, err
	}
	// While conditions are checked, they may refer to the message. Most rules are
	// dropped early.
	checking := w != nil
	if checking {
		w.reg, w.familySeen = registers{}, w.family != 0
	}
	dropped := errDropped
	visit := func(s step) error {
		e := s.run(w)
		if e.matched == no {
			return dropped
		}
		return nil
	}
	err = eachAttribute(a[expressions], func(_ uint16, data []byte) error {
		s, err := decodeExpression(data)
		if err != nil || !checking {
			return err
		}
		// What the rule has done by then stays, whatever conditions follow.
		if checking = !acts(s); !checking {
			return nil
		}
		return visit(s)
	})
	if err != nil {
		if err == dropped { //nolint:errorlint // it is returned as it is
			err = nil
		}
		return r, false, err
	}
	r.handle = a.number(handle)
	kept := bytes.Clone(a[expressions])
	err = eachAttribute(kept, func(_ uint16, data []byte) error {
		s, err := decodeExpression(data)
		if c, ok := s.(comment); ok {
			r.comment = string(c)
		}
		r.steps = withBound(r.steps, s)
		return err
	})
	r.steps = guarded(r.steps)
	if c := decodeComment(a[userData]); c != "" {
		r.comment = c
	}
	return r, true, err
}

// withBound appends a step. Two bounds one after the other are a range.
func withBound(steps []step, s step) []step {
	high, ok := s.(compare)
	if ok = ok && len(steps) > 0 && high.op == opLessOrEqual; ok {
		low, isCompare := steps[len(steps)-1].(compare)
		if isCompare && low.op == opGreaterOrEqual && low.at == high.at && len(low.want) == len(high.want) {
			steps[len(steps)-1] = inRange{low.at, false, low.want, high.want}
			return steps
		}
	}
	return append(steps, s)
}

// acts reports whether a step ends the rule or changes something.
func acts(s step) bool {
	switch s := s.(type) {
	case lookup:
		return s.verdict
	case verdict, storeMark, storeKind, storePayload, noTrack, queue, tproxyRegisters, setMark, connMark, setWrite:
		return true
	}
	return false
}

var errDropped = fmt.Errorf("a rule for none of the questions")

// guarded returns the steps of a rule. If one is not understood and none ends the
// rule, it may be the one that sends callers away.
func guarded(steps []step) []step {
	unknown := ""
	for _, s := range steps {
		switch s := s.(type) {
		case unknownStep:
			unknown = s.name
		case verdict, dnat, dnatRegisters, redirect, redirectRegisters, tproxy, tproxyRegisters, forward, awayUnknown:
			return steps
		}
	}
	if unknown != "" {
		steps = append(steps, awayUnknown{"the expression " + unknown})
	}
	return steps
}

// decodeComment returns the comment in the data that nft keeps with a rule: a list
// of a type, a length and a value. Type 0 is the comment.
func decodeComment(data []byte) string {
	for len(data) >= 2 && int(data[1]) <= len(data)-2 {
		if data[0] == 0 {
			return cString(data[2 : 2+int(data[1])])
		}
		data = data[2+int(data[1]):]
	}
	return ""
}

const expressionName, expressionData = 1, 2

// harmless are the expressions that neither match nor change anything here.
var harmless = []string{"counter", "log", "last", "dup", "flow_offload", "masq", "secmark", "ctexpect", "cthelper", "cttimeout"}

// depending are conditions that some callers meet.
var depending = []string{"limit", "quota", "connlimit", "dynset", "synproxy"}

// loading are expressions that load what depends on the caller.
var loading = []string{"socket", "rt", "exthdr", "osf", "tunnel", "xfrm", "inner"}

// expressions has the decoders by the name of the expression.
var expressions = map[string]func(a *attributes) (step, bool){
	"meta": decodeMeta, "payload": decodePayload, "ct": decodeCt, "fib": decodeFib,
	"numgen": decodeNumgen, "hash": decodeHash, "immediate": decodeImmediate,
	"cmp": decodeCmp, "range": decodeRange, "bitwise": decodeBitwise, "byteorder": decodeByteorder,
	"lookup": decodeLookup, "nat": decodeNAT, "redir": decodeRedir, "tproxy": decodeTproxy,
	"objref": decodeObject,
}

func decodeExpression(data []byte) (step, error) {
	a, err := parseAttributes(data)
	if err != nil {
		return nil, err
	}
	d, err := parseAttributes(a[expressionData])
	if err != nil {
		return nil, err
	}
	name := a.text(expressionName)
	if decode := expressions[name]; decode != nil {
		if s, ok := decode(&d); ok {
			return s, nil
		}
		return unknownStep{name}, nil
	}
	switch {
	case name == "match" || name == "target":
		const xtName, xtRevision, xtInfo = 1, 2, 3
		if name == "match" {
			return decodeMatch(d.text(xtName), d.number(xtRevision), d[xtInfo]), nil
		}
		return decodeTarget(d.text(xtName), d.number(xtRevision), d[xtInfo]), nil
	case name == "notrack":
		return noTrack{}, nil
	case name == "queue":
		return queue{}, nil
	case name == "fwd":
		return forward{}, nil
	case name == "reject":
		return verdict{code: verdictDrop}, nil
	case slices.Contains(harmless, name):
		return passes{name}, nil
	case slices.Contains(depending, name):
		return some{name}, nil
	case slices.Contains(loading, name):
		return loadUnknown{name}, nil
	}
	return unknownStep{name}, nil
}

// registerOf returns where the register of an attribute starts, if length bytes
// fit there.
func registerOf(a *attributes, kind, length int) (at int, ok bool) {
	if a[kind] == nil {
		return 0, false
	}
	at, ok = register(a.number(kind))
	return at, ok && fits(at, (length+3)&^3)
}

func decodeMeta(a *attributes) (step, bool) {
	const dreg, key, sreg = 1, 2, 3
	if a[sreg] != nil {
		at, ok := registerOf(a, sreg, 4)
		switch a.number(key) {
		case metaMark:
			return storeMark{at: at}, ok
		case metaPkttype:
			return storeKind{at}, ok
		}
		return passes{"meta set"}, true
	}
	length := 4
	if k := a.number(key); k == metaIifname || k == metaOifname {
		length = nameLength
	}
	at, ok := registerOf(a, dreg, length)
	return loadMeta{key: a.number(key), at: at}, ok && a[key] != nil
}

func decodePayload(a *attributes) (step, bool) {
	const dreg, base, offset, length, sreg = 1, 2, 3, 4, 5
	n := a.number(length)
	if n == 0 || n > registerBytes || a.number(offset) > 1<<16 {
		return nil, false
	}
	if a[sreg] != nil {
		at, ok := registerOf(a, sreg, int(n))
		if !ok {
			at = -1
		}
		return storePayload{a.number(base), int(a.number(offset)), int(n), at}, true
	}
	at, ok := registerOf(a, dreg, int(n))
	return loadPayload{a.number(base), int(a.number(offset)), int(n), at}, ok
}

func decodeCt(a *attributes) (step, bool) {
	const dreg, key, direction, sreg = 1, 2, 3, 4
	if a[sreg] != nil {
		at, ok := registerOf(a, sreg, 4)
		if a.number(key) != ctMark {
			return passes{"ct set"}, true
		}
		return storeMark{at: at, connection: true}, ok
	}
	at, ok := registerOf(a, dreg, 4)
	return loadCt{a.number(key), a.number(direction) != 0, at}, ok && a[key] != nil
}

func decodeFib(a *attributes) (step, bool) {
	const dreg, result, flags = 1, 2, 3
	at, ok := registerOf(a, dreg, 4)
	return loadFib{a.number(result), a.number(flags), at}, ok
}

func decodeNumgen(a *attributes) (step, bool) {
	const dreg, modulus, offset = 1, 2, 4
	at, ok := registerOf(a, dreg, 4)
	return loadRange{at, a.number(offset), a.number(modulus), "numgen"}, ok && boundsOK(a.number(offset), a.number(modulus))
}

func decodeHash(a *attributes) (step, bool) {
	const dreg, modulus, offset = 2, 4, 6
	at, ok := registerOf(a, dreg, 4)
	return loadRange{at, a.number(offset), a.number(modulus), "hash"}, ok && boundsOK(a.number(offset), a.number(modulus))
}

func boundsOK(first, size uint32) bool { return size > 0 && first+size >= first }

func decodeImmediate(a *attributes) (step, bool) {
	const dreg, data, value, verdictData = 1, 2, 1, 2
	if a[dreg] != nil && a.number(dreg) == 0 {
		v, err := decodeVerdict(a.nested(data, verdictData))
		return v, err == nil
	}
	b := a.nested(data, value)
	at, ok := registerOf(a, dreg, len(b))
	return immediate{at, b}, ok && len(b) > 0
}

func decodeCmp(a *attributes) (step, bool) {
	const sreg, op, data, value = 1, 2, 3, 1
	b := a.nested(data, value)
	at, ok := registerOf(a, sreg, len(b))
	return compare{at, a.number(op), b}, ok && len(b) > 0 && a.number(op) <= opGreaterOrEqual
}

func decodeRange(a *attributes) (step, bool) {
	const sreg, op, from, to, value = 1, 2, 3, 4, 1
	low, high := a.nested(from, value), a.nested(to, value)
	at, ok := registerOf(a, sreg, len(low))
	return inRange{at, a.number(op) == 1, low, high}, ok && len(low) > 0 && len(low) == len(high)
}

func decodeBitwise(a *attributes) (step, bool) {
	const sreg, dreg, length, mask, xor, op, data, value = 1, 2, 3, 4, 5, 6, 7, 1
	n := int(a.number(length))
	from, ok := registerOf(a, sreg, n)
	to, okTo := registerOf(a, dreg, n)
	if !ok || !okTo || n <= 0 {
		return nil, false
	}
	s := bitwise{from: from, to: to, length: n}
	switch a.number(op) {
	case 0:
		s.mask, s.xor = a.nested(mask, value), a.nested(xor, value)
		return s, len(s.mask) == n && len(s.xor) == n
	case 1, 2:
		s.length = (n + 3) &^ 3
		b := a.nested(data, value)
		if len(b) != 4 {
			return nil, false
		}
		s.shift = int(binary.NativeEndian.Uint32(b) & 31)
		if a.number(op) == 2 {
			s.shift = -s.shift
		}
		if s.shift == 0 {
			return nil, false
		}
		return s, true
	}
	s.unknown = true
	return s, true
}

func decodeByteorder(a *attributes) (step, bool) {
	const sreg, dreg, length, size = 1, 2, 4, 5
	n, each := int(a.number(length)), int(a.number(size))
	from, ok := registerOf(a, sreg, n)
	to, okTo := registerOf(a, dreg, n)
	return byteOrder{from, to, n, each}, ok && okTo && n > 0 && (each == 2 || each == 4 || each == 8) && n%each == 0
}

func decodeLookup(a *attributes) (step, bool) {
	const name, sreg, dreg, flags = 1, 2, 3, 5
	s := lookup{set: a.text(name), invert: a.number(flags)&1 != 0}
	var ok bool
	if s.at, ok = registerOf(a, sreg, 1); !ok || s.set == "" {
		return nil, false
	}
	if a[dreg] != nil {
		s.mapping = true
		if a.number(dreg) == 0 {
			s.verdict = true
		} else if s.to, ok = registerOf(a, dreg, 1); !ok {
			return nil, false
		}
	}
	return s, true
}

func decodeNAT(a *attributes) (step, bool) {
	const kind, family, addrMin, addrMax, portMin, portMax, flags, kindDNAT = 1, 2, 3, 4, 5, 6, 7, 1
	if a.number(kind) != kindDNAT {
		return passes{"snat"}, true
	}
	return dnatRegisters{
		family:  uint8(a.number(family)),
		minAddr: optional(a, addrMin), maxAddr: optional(a, addrMax),
		minPort: optional(a, portMin), maxPort: optional(a, portMax),
		flags: a.number(flags),
	}, true
}

// optional returns where a register starts, or -1.
func optional(a *attributes, kind int) int {
	if at, ok := registerOf(a, kind, 1); ok {
		return at
	}
	return -1
}

func decodeRedir(a *attributes) (step, bool) {
	const portMin, portMax, flags = 1, 2, 3
	return redirectRegisters{optional(a, portMin), optional(a, portMax), a.number(flags)}, true
}

func decodeTproxy(a *attributes) (step, bool) {
	const family, addr, port = 1, 2, 3
	f := uint8(a.number(family))
	if f == familyInet {
		f = 0
	}
	return tproxyRegisters{f, optional(a, addr), optional(a, port)}, true
}

func decodeObject(a *attributes) (step, bool) {
	const kind, kindCounter = 1, 1
	if a[kind] != nil && a.number(kind) == kindCounter {
		return passes{"counter"}, true
	}
	return some{"an object"}, true
}
