package nat

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/port"
)

// pack returns a netlink attribute.
func pack(kind uint16, value []byte) []byte {
	return netlink.AppendAttribute(nil, kind, value)
}

func packNumber(kind uint16, n uint32) []byte {
	return pack(kind, binary.BigEndian.AppendUint32(nil, n))
}

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// expression returns an expression of a rule.
func expression(name string, data ...[]byte) []byte {
	return pack(1, join(pack(expressionName, append([]byte(name), 0)), pack(expressionData, join(data...))))
}

// ruleMessage returns the message of a rule.
func ruleMessage(family uint8, expressions ...[]byte) []byte {
	return append([]byte{family, 0, 0, 0}, pack(4, join(expressions...))...)
}

// redirectRule sends calls of TCP port 8080 to port 9090.
func redirectRule() []byte {
	return ruleMessage(familyIPv4,
		expression("meta", packNumber(1, 1), packNumber(2, metaL4proto)),
		expression("cmp", packNumber(1, 1), packNumber(2, opEqual), pack(3, pack(1, []byte{protocolTCP}))),
		expression("payload", packNumber(1, 1), packNumber(2, baseTransport), packNumber(3, 2), packNumber(4, 2)),
		expression("cmp", packNumber(1, 1), packNumber(2, opEqual), pack(3, pack(1, []byte{0x1f, 0x90}))),
		expression("immediate", packNumber(1, 1), pack(2, pack(1, []byte{0x23, 0x82}))),
		expression("redir", packNumber(1, 1)),
	)
}

// memory is a ruleset of one chain.
type memory struct {
	family uint8
	chain  []rule
	sets   map[string]*set
}

func (m memory) bases(uint8) []baseChain {
	var all []baseChain
	for _, hook := range []uint32{hookPrerouting, hookOutput} {
		all = append(all, baseChain{table: tableKey{family: m.family, name: "t"}, name: "c", hook: hook, priority: priorityNAT, nat: true})
	}
	return all
}

func (m memory) rules(tableKey, string) ([]rule, error) { return m.chain, nil }

func (memory) rewriters() []rewriter { return nil }

func (m memory) set(_ tableKey, name string) (*set, error) { return m.sets[name], nil }

func (m memory) element(_ tableKey, s *set, key []byte) (*element, error) {
	for _, e := range s.elements {
		if key != nil && string(e.key) == string(key) {
			return e, nil
		}
	}
	return nil, nil
}

func (memory) ipset(index uint16) (*ipset, error) {
	if int(index) >= len(someIPSets) {
		return nil, errors.New("a set that is missing")
	}
	return someIPSets[index], nil
}

func (memory) mayChangeReplies(tableKey) bool { return true }

func (memory) setsKind(tableKey) bool { return false }

func (memory) inSet(s *ipset, k ipsetKey) (bool, error) { return k.port == 8080, nil }

var someIPSets = []*ipset{
	{name: "a", kind: "hash:ip,port", family: familyIPv4},
	{name: "b", kind: "bitmap:port"},
	{name: "c", kind: "hash:net,iface", family: familyIPv4},
	{name: "d", kind: ipsetList, members: []*ipset{{name: "e", kind: "hash:net,net", family: familyIPv6}, {name: "f", kind: "hash:ip", family: familyIPv4}}},
}

var someMachine = machine{routed: spans{{netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("192.0.2.255")}}, interfaces: []netInterface{
	{name: "lo", index: 1, loopback: true, addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}},
	{name: "eth0", index: 2, addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}},
}}

func someQuestions() []Question {
	var all []Question
	for _, p := range []port.Protocol{port.TCP, port.UDP} {
		all = append(all, Question{p, netip.IPv4Unspecified(), 8080, ""}, Question{p, netip.IPv6Unspecified(), 8080, ""}, Question{p, netip.MustParseAddr("192.0.2.1"), 8081, ""})
	}
	return all
}

func decoded(t *testing.T, message []byte) (rule, bool, error) {
	t.Helper()
	f := newFilter(someQuestions(), someMachine)
	family := uint8(familyIPv4)
	if len(message) > 0 && (message[0] == familyIPv6 || message[0] == familyInet) {
		family = message[0]
	}
	return decodeRule(message, f.walk(family))
}

func TestDecodeRule(t *testing.T) {
	r, keep, err := decoded(t, redirectRule())
	if err != nil || !keep || r.text() != "meta l4proto tcp dport 8080 redirect to :9090" {
		t.Fatalf("%q, %t, %v", r.text(), keep, err)
	}
	answers, err := answer(t.Context(), someQuestions(), memory{family: familyIPv4, chain: []rule{r}}, someMachine)
	if err != nil {
		t.Fatal(err)
	}
	if len(answers[0]) != 5 || !answers[0][0].All || answers[0][0].To[0] != (Target{Addr: netip.MustParseAddr("192.0.2.1"), Port: 9090, Here: true}) || answers[0][0].Interface != "eth0" {
		t.Errorf("TCP port 8080: %+v", answers[0])
	}
	for i, a := range answers[2:] {
		if len(a) != 0 {
			t.Errorf("%+v: %+v", someQuestions()[i+2], a)
		}
	}
}

// TestQueue checks that a queue of nft ends a chain. Its packets go on elsewhere.
func TestQueue(t *testing.T) {
	queued, keep, err := decoded(t, ruleMessage(familyIPv4, expression("queue")))
	r, _, errRedirect := decoded(t, redirectRule())
	if err != nil || errRedirect != nil || !keep || queued.text() != "queue" {
		t.Fatalf("%q, %t, %v, %v", queued.text(), keep, err, errRedirect)
	}
	answers, err := answer(t.Context(), someQuestions(), memory{family: familyIPv4, chain: []rule{queued, r}}, someMachine)
	if err != nil || len(answers[0]) != 0 {
		t.Errorf("%+v, %v", answers[0], err)
	}
}

// TestDecodeBroken checks that each message that ends early is an error, or a rule
// for some callers.
func TestDecodeBroken(t *testing.T) {
	whole := redirectRule()
	for n := range whole {
		if _, _, err := decoded(t, whole[:n]); err == nil && n > messageHeader {
			t.Errorf("no error for %d of %d bytes", n, len(whole))
		}
	}
}

// TestUnknownExpression checks that what is not known makes a rule one for some.
func TestUnknownExpression(t *testing.T) {
	port8080 := [][]byte{
		expression("payload", packNumber(1, 1), packNumber(2, baseTransport), packNumber(3, 2), packNumber(4, 2)),
		expression("cmp", packNumber(1, 1), packNumber(2, opEqual), pack(3, pack(1, []byte{0x1f, 0x90}))),
	}
	to9090 := expression("immediate", packNumber(1, 2), pack(2, pack(1, []byte{0x23, 0x82})))
	for name, expressions := range map[string][][]byte{
		"a condition":           {expression("futuristic", packNumber(1, 1)), to9090, expression("redir", packNumber(1, 2))},
		"an action":             {expression("futuristic", packNumber(1, 1))},
		"a match":               {expression("match", pack(1, []byte("futuristic\x00")), packNumber(2, 0), pack(3, make([]byte, 8))), to9090, expression("redir", packNumber(1, 2))},
		"a target":              {expression("target", pack(1, []byte("FUTURISTIC\x00")), packNumber(2, 0), pack(3, make([]byte, 8)))},
		"another layout":        {expression("target", pack(1, []byte("DNAT\x00")), packNumber(2, 9), pack(3, make([]byte, 8)))},
		"a register too many":   {expression("meta", packNumber(1, 99), packNumber(2, metaMark)), to9090, expression("redir", packNumber(1, 2))},
		"a map that is missing": {expression("lookup", pack(1, []byte("s\x00")), packNumber(2, 1), packNumber(3, 0))},
		"a set that is missing": {expression("lookup", pack(1, []byte("s\x00")), packNumber(2, 1)), to9090, expression("redir", packNumber(1, 2))},
	} {
		r, keep, err := decoded(t, ruleMessage(familyIPv4, append(port8080, expressions...)...))
		if err != nil || !keep {
			t.Errorf("%s: %t, %v", name, keep, err)
			continue
		}
		answers, err := answer(t.Context(), []Question{{Protocol: port.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 8080}}, memory{family: familyIPv4, chain: []rule{r}}, someMachine)
		if err != nil || len(answers[0]) != 2 || len(answers[0]) > 0 && answers[0][0].All {
			t.Errorf("%s: %+v, %v", name, answers, err)
		}
	}
}

// TestLoops checks that rules that jump in a circle, or very often, end the walk
// with a vague answer.
func TestLoops(t *testing.T) {
	jump := rule{steps: []step{verdict{verdictJump, "c"}}}
	for _, rules := range [][]rule{{jump}, {jump, jump, jump}} {
		answers, err := answer(t.Context(), someQuestions(), memory{family: familyInet, chain: rules}, someMachine)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range answers {
			if len(a) == 0 || a[0].All {
				t.Errorf("%+v: %+v", someQuestions()[i], a)
			}
		}
	}
}

func FuzzRule(f *testing.F) {
	f.Add(redirectRule())
	f.Add(ruleMessage(familyInet, expression("lookup", pack(1, []byte("s\x00")), packNumber(2, 1), packNumber(3, 0))))
	f.Add(ruleMessage(familyIPv4, expression("target", pack(1, []byte("DNAT\x00")), packNumber(2, 2), pack(3, make([]byte, 48)))))
	for index := range byte(5) {
		f.Add(ruleMessage(familyIPv4, expression("match", pack(1, []byte("set\x00")), packNumber(2, 4), pack(3, append([]byte{index, 0, 2, index}, make([]byte, 44)...))), expression("redir")))
	}
	f.Add(ruleMessage(familyIPv6, expression("bitwise", packNumber(1, 1), packNumber(2, 1), packNumber(3, 4), packNumber(6, 1), pack(7, pack(1, []byte{3, 0, 0, 0})))))
	f.Fuzz(func(t *testing.T, message []byte) {
		r, keep, err := decoded(t, message)
		if err != nil || !keep {
			return
		}
		_ = r.text()
		s := &set{name: "s", keyLength: 4, elements: []*element{{key: []byte{0, 0, 0, 1}, data: []byte{1, 2}}, {key: []byte{0, 0, 0, 0}, last: []byte{9, 9, 9, 9}, data: []byte{1}}}, read: true}
		if _, err := answer(t.Context(), someQuestions(), memory{family: message[0], chain: []rule{r}, sets: map[string]*set{"s": s}}, someMachine); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzSet(f *testing.F) {
	f.Add(append([]byte{familyIPv4, 0, 0, 0}, join(pack(2, []byte("s\x00")), packNumber(3, setInterval), packNumber(5, 2))...),
		append([]byte{familyIPv4, 0, 0, 0}, pack(3, pack(1, pack(1, pack(1, []byte{0x1f, 0x90}))))...), []byte{0x1f, 0x90})
	f.Fuzz(func(t *testing.T, message, elements, key []byte) {
		s, err := decodeSet(message)
		if err != nil {
			return
		}
		err = decodeElements(elements, func(e *element) error { s.elements = append(s.elements, e); return nil })
		if err != nil || len(key) != s.keyLength {
			return
		}
		s.closeIntervals()
		known := make([]byte, len(key))
		s.match(key, known)
	})
}

func FuzzLegacy(f *testing.F) {
	f.Add([]byte{}, uint32(0), false)
	f.Add(make([]byte, 152), uint32(0), false)
	f.Fuzz(func(t *testing.T, entries []byte, entry uint32, v6 bool) {
		family := uint8(familyIPv4)
		if v6 {
			family = familyIPv6
		}
		table, err := decodeLegacy("nat", legacyInfo{hooks: 1 | 8, entry: [5]uint32{0, 0, 0, entry}}, entries, newFilter(someQuestions(), someMachine).walk(family))
		if err != nil {
			return
		}
		for _, rules := range table.chains {
			for _, r := range rules {
				_ = r.text()
			}
			if _, err := answer(t.Context(), someQuestions(), memory{family: family, chain: rules}, someMachine); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzRoute(f *testing.F) {
	const dst = 1
	f.Add(append([]byte{familyIPv4, 24, 0, 0, 255, 0, 0, typeLocal, 0, 0, 0, 0}, pack(dst, []byte{192, 0, 2, 0})...), []byte{192, 0, 2, 7})
	f.Add([]byte{familyIPv6, 0, 0, 0, 255, 0, 0, typeLocal, 0, 0, 0, 0}, make([]byte, 16))
	f.Fuzz(func(t *testing.T, message, addr []byte) {
		s, ok, err := decodeRoute(message)
		if err != nil || !ok {
			return
		}
		if s.first.Compare(s.last) > 0 || s.first.BitLen() != s.last.BitLen() {
			t.Fatalf("%v", s)
		}
		all := joinSpans([]span{s, {netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.99")}, s})
		if !all.overlap(s.first, s.first) || !all.overlap(s.last, s.last) {
			t.Fatalf("%v is not in %v", s, all)
		}
		if a, ok := netip.AddrFromSlice(addr); ok {
			if next, ok := all.from(a); ok && (next.Compare(a) < 0 || !all.overlap(next, next)) {
				t.Fatalf("%v follows %v", next, a)
			}
		}
	})
}
