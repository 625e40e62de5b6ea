package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/org/portcheck/host/nat"
	"github.com/org/portcheck/port"
)

// Ports at which no bind worked have no callers, unless the holder may be the owner.
func TestQuestionsOf(t *testing.T) {
	at := func(p uint16, addr string, o Outcome) Attempt {
		return Attempt{Endpoint: port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr(addr), Port: p}, Outcome: o}
	}
	attempts := []Attempt{
		at(1, "::", OK), at(2, "::", InUse), at(3, "::", Denied), at(4, "::", NoFamily), at(4, "0.0.0.0", OK), at(5, "::", NotTried),
		at(6, "127.0.0.1", OK), at(6, "::1", InUse), at(7, "192.0.2.1", NoAddress), at(8, "::ffff:192.0.2.1", OK), at(9, "::", Failed),
	}
	attempts[0].V6Only = true
	attempts[6].Device = "eth7"
	for owners, want := range map[bool]string{
		false: "1 ::|4 0.0.0.0|5 0.0.0.0|5 ::|8 192.0.2.1",
		true:  "1 ::|2 0.0.0.0|2 ::|4 0.0.0.0|5 0.0.0.0|5 ::|6 127.0.0.1 eth7|6 ::1|8 192.0.2.1",
	} {
		var got []string
		for _, q := range addQuestions(nil, Try{Binding: port.Binding{Protocol: port.TCP}, Owners: owners}, attempts) {
			got = append(got, strings.TrimSpace(fmt.Sprint(q.Port, " ", q.Addr, " ", q.Device)))
		}
		if text := strings.Join(got, "|"); text != want {
			t.Errorf("owners %t: %s, want %s", owners, text, want)
		}
	}
}

// An answer has a bounded size, whatever the rules are, and still has each port with
// a rule.
func TestRoutesAreBounded(t *testing.T) {
	const ports, ways = 3000, 40
	p := newProbe(t.Context(), Request{Tries: []Try{{Ports: port.Range{First: 1, Last: ports}}}})
	var questions []nat.Question
	var answers []nat.Answer
	long := strings.Repeat("\u00e9", 1000)
	for n := range ports {
		q := nat.Question{Protocol: port.TCP, Addr: netip.IPv4Unspecified(), Port: uint16(n + 1)}
		var a nat.Answer
		for w := range ways {
			a = append(a, nat.Route{
				Interface: fmt.Sprintf("eth%d", w), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(w)}), All: w >= ways/2,
				To: []nat.Target{{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(w % 20)}), Port: 80}}, Rule: nat.Rule{Comment: long, Text: long},
			})
		}
		questions, answers = append(questions, q), append(answers, a)
	}
	p.routes(questions, answers, make([]int, len(questions)))
	seen, whole := map[uint16]bool{}, 0
	for _, r := range p.facts.Tried[0].Routes {
		if !seen[r.Port] && !r.All {
			t.Fatalf("port %d: the first is not of all callers", r.Port)
		}
		seen[r.Port] = true
		if len(r.From) > mostOfRoute || len(r.Addrs) > mostOfRoute || len(r.Rule.Text) > mostOfRule+len("\ufffd") || !utf8.ValidString(r.Rule.Comment) {
			t.Fatalf("%+v", r)
		}
		if len(r.From) > 0 {
			whole++
		}
	}
	if len(seen) != ports || whole != MostRoutes || len(p.facts.Tried[0].Routes) > MostRoutes+ports {
		t.Errorf("%d ports, %d routes, %d of them whole", len(seen), len(p.facts.Tried[0].Routes), whole)
	}
}

// Ways with one rule and one destination are one route. Those of IPv4 and IPv6 too.
func TestJoinRoutes(t *testing.T) {
	way := func(from, addr string) nat.Route {
		return nat.Route{Interface: from, Addr: netip.MustParseAddr(addr), All: true, To: []nat.Target{{Port: 9090, Here: true}}, Rule: nat.Rule{Table: "t"}}
	}
	p := newProbe(t.Context(), Request{Tries: []Try{{}, {}}})
	q := func(addr string) nat.Question {
		return nat.Question{Protocol: port.TCP, Addr: netip.MustParseAddr(addr), Port: 8080}
	}
	p.routes([]nat.Question{q("0.0.0.0"), q("::"), q("0.0.0.0")}, []nat.Answer{
		{way("eth0", "192.0.2.1"), way("eth1", "192.0.2.1"), way("", "192.0.2.1"), way("", "127.0.0.1")}, {way("eth0", "fd00::1")}, nil,
	}, []int{0, 0, 1})
	routes := p.facts.Tried[0].Routes
	if len(routes) != 1 || !slices.Equal(routes[0].From, []string{"eth0", "eth1", ""}) || len(routes[0].Addrs) != 3 || routes[0].More || len(p.facts.Tried[1].Routes) > 0 {
		t.Errorf("%+v", p.facts.Tried)
	}
}
