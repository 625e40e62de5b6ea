package nat

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// exactForms are conditions that all callers meet or none, whatever they are: by a
// full range, an inverted one, the connection, or the interface. The first word is
// who writes them.
var exactForms = []string{
	"xt -p tcp --dport 0:65535",
	"xt -p tcp ! --dport 0:65535",
	"xt -p tcp ! --dport 22",
	"xt -p tcp ! --dport 1:8080",
	"xt -p tcp --sport 0:65535 --dport 8080",
	"xt -p tcp ! --sport 0:65535 --dport 8080",
	"xt -p udp ! --sport 0:65535 --dport 8080",
	"xt -p tcp -m multiport ! --dports 22,8080",
	"xt -p tcp -m multiport ! --dports 22,80",
	"xt -p tcp -m multiport ! --dports 0:8079,8081:65535",
	"xt -p tcp -m multiport --dports 0:65535",
	"xt -p tcp -m multiport --dports 0:65535,8080",
	"xt -p tcp -m multiport ! --dports 0:65535",
	"xt -p tcp -m multiport --sports 0:65535 -m tcp --dport 8080",
	"xt -p tcp -m multiport ! --sports 0:65535 -m tcp --dport 8080",
	"xt -p tcp -m multiport --ports 0:65535 -m tcp --dport 8080",
	"xt -p tcp -m multiport ! --ports 8080,8081",
	"xt -p tcp -m conntrack --ctorigdstport 8080",
	"xt -p tcp -m conntrack --ctorigdstport 8000:8080",
	"xt -p tcp -m conntrack ! --ctorigdstport 8080",
	"xt -p tcp -m conntrack --ctorigdstport 0:65535",
	"xt -p tcp -m conntrack ! --ctorigdstport 0:65535",
	"xt -p tcp -m conntrack --ctreplsrcport 8080",
	"xt -p tcp -m conntrack --ctorigsrcport 0:65535 --ctorigdstport 8081",
	"xt -p tcp --dport 8080 -m conntrack --ctproto tcp",
	"xt -p tcp --dport 8080 -m conntrack --ctproto udp",
	"xt -p tcp --dport 8080 -m conntrack ! --ctproto udp",
	"xt -p udp -m conntrack --ctproto udp --ctorigdstport 8081",
	"xt -p tcp --dport 8080 -m conntrack --ctdir ORIGINAL",
	"xt -p tcp --dport 8080 -m conntrack --ctdir REPLY",
	"xt -p tcp --dport 8080 -m conntrack --ctstate NEW --ctdir ORIGINAL",
	"xt -p tcp --dport 8080 -m conntrack --ctstate DNAT",
	"xt -p tcp --dport 8080 -m conntrack ! --ctstate DNAT",
	"xt -p tcp --dport 8080 -m conntrack --ctstatus ASSURED",
	"xt -p tcp --dport 8080 -m conntrack ! --ctstatus SEEN_REPLY,ASSURED",
	"xt -p tcp --dport 8080 -m conntrack --ctstatus CONFIRMED",
	"xt -p tcp --dport 8080 -m state --state NEW",
	"xt -p tcp --dport 8080 -m state ! --state ESTABLISHED,RELATED",
	"xt -p tcp --dport 8080 -m state --state INVALID",
	"xt4 -p tcp --dport 8080 -m addrtype --dst-type LOCAL,BROADCAST",
	"xt -p tcp --dport 8080 -m addrtype ! --dst-type UNICAST",
	"xt -p tcp --dport 8080 -m addrtype --dst-type UNICAST,LOCAL",
	"xt -p tcp --dport 8080 -m addrtype --src-type UNICAST,LOCAL",
	"xt -p tcp --dport 8080 -m addrtype --src-type LOCAL",
	"xt -p tcp --dport 8080 -m addrtype ! --src-type LOCAL",
	"xt4 -p tcp --dport 8080 -m addrtype --src-type UNICAST",
	"xt6 -p tcp --dport 8080 -m addrtype --src-type UNICAST",
	"xt -p tcp --dport 8080 -m statistic --mode random --probability 1.0",
	"xt -p all -m conntrack --ctproto tcp --ctorigdstport 8080",
	"xt ! -p udp -m conntrack --ctorigdstport 8080",
	"legacy4 -p tcp --dport 8080 ! -d 0.0.0.0/0",
	"legacy4 -p tcp --dport 8080 ! -s 0.0.0.0/0",
	"legacy6 -p tcp --dport 8080 ! -s ::/0",
	"xt4 -p tcp --dport 8080 -d 0.0.0.0/0",
	"xt4 -p tcp --dport 8080 -m iprange --src-range 0.0.0.0-255.255.255.255",
	"xt4 -p tcp --dport 8080 -m iprange ! --src-range 0.0.0.0-255.255.255.255",
	"xt4 -p tcp --dport 8080 -m iprange --dst-range 0.0.0.0-255.255.255.255",
	"xt4 -p tcp --dport 8080 -m iprange ! --dst-range 10.0.0.0-10.255.255.255",
	"xt4 -p tcp --dport 8080 -m conntrack --ctorigdst 10.1.0.1",
	"xt4 -p tcp --dport 8080 -m conntrack ! --ctorigdst 10.1.0.0/24",
	"xt4 -p tcp --dport 8080 -m conntrack --ctreplsrc 10.1.0.9",
	"xt4 -p tcp --dport 8080 -m conntrack --ctorigdst 127.0.0.1 --ctorigdstport 8080",
	"xt6 -p tcp --dport 8080 -m conntrack --ctorigdst fd01::1",
	"xt6 -p tcp --dport 8080 -m conntrack --ctorigdst fd01::/64 --ctproto tcp",
	"pre -p tcp --dport 8080 -i lo",
	"pre -p tcp --dport 8080 ! -i lo",
	"pre -p tcp --dport 8080 -m addrtype --dst-type LOCAL --limit-iface-in",
	"pre -p tcp --dport 8080 -m addrtype ! --dst-type LOCAL --limit-iface-in",
	"out -p tcp --dport 8080 -m addrtype --dst-type LOCAL --limit-iface-out",
	"out -p tcp --dport 8080 -m addrtype ! --dst-type LOCAL --limit-iface-out",
	"out -p tcp --dport 8080 -o lo",
	"out -p tcp --dport 8080 ! -o lo",
	"inet tcp dport 0-65535",
	"inet tcp dport != 0-65535",
	"inet tcp dport != 22",
	"inet tcp dport != 8080",
	"inet tcp dport != { 22, 80 }",
	"inet tcp dport != { 22, 8080 }",
	"inet tcp dport != { 22-8080 }",
	"inet tcp dport != { 0-8079, 8081-65535 }",
	"inet tcp dport != { 0-8079, 8082-65534 }",
	"inet tcp dport { 0-30000, 30001-65535 }",
	"inet tcp dport != 8081-65535 tcp dport != 0-8079",
	"inet tcp dport >= 0",
	"inet tcp sport 0-65535 tcp dport 8080",
	"inet tcp sport != 0-65535 tcp dport 8080",
	"inet tcp sport >= 0 tcp dport 8080",
	"inet meta l4proto { tcp, udp } th dport 8080",
	"inet meta l4proto != { tcp, udp } th dport 8080",
	"inet meta l4proto != tcp meta l4proto { tcp, udp } th dport 8080",
	"inet ip protocol tcp tcp dport 8080",
	"inet ip6 nexthdr tcp tcp dport 8080",
	"inet ip version 4 tcp dport 8080",
	"inet meta protocol ip tcp dport 8080",
	"inet meta nfproto ipv6 tcp dport 8080",
	"inet ip daddr 0.0.0.0/0 tcp dport 8080",
	"inet ip daddr != 0.0.0.0/0 tcp dport 8080",
	"inet ip saddr 0.0.0.0/0 tcp dport 8080",
	"inet ip saddr != 0.0.0.0/0 tcp dport 8080",
	"inet ip saddr 0.0.0.0-255.255.255.255 tcp dport 8080",
	"inet ip saddr { 0.0.0.0/1, 128.0.0.0/1 } tcp dport 8080",
	"inet ip saddr != { 0.0.0.0/1, 128.0.0.0/1 } tcp dport 8080",
	"inet ip6 saddr ::/0 tcp dport 8080",
	"inet ip saddr . tcp dport { 0.0.0.0/0 . 8080 }",
	"inet ip daddr != { 10.1.0.1, 10.1.0.9 } tcp dport 8080",
	"inet ip daddr != 10.1.0.0-10.1.0.255 tcp dport 8080",
	"inet ip daddr & 255.0.0.0 == 10.0.0.0 tcp dport 8080",
	"inet ip daddr . tcp dport != { 10.1.0.1 . 8080, 10.1.0.9 . 8080 } tcp dport 8080",
	"inet meta l4proto tcp ct original proto-dst 8080",
	"inet meta l4proto tcp ct original proto-dst != 8080",
	"inet meta l4proto tcp ct original proto-dst { 8080, 8081 }",
	"inet tcp dport 8080 ct original proto-dst 0-65535",
	"inet meta l4proto tcp ct reply proto-src 8080",
	"inet ct original protocol tcp tcp dport 8080",
	"inet ct original protocol != tcp tcp dport 8080",
	"inet ct protocol tcp tcp dport 8080",
	"inet ct original ip daddr 10.1.0.1 tcp dport 8080",
	"inet ct original ip daddr != 10.1.0.0/24 tcp dport 8080",
	"inet ct reply ip saddr 10.1.0.1 tcp dport 8080",
	"inet ct original ip6 daddr fd01::1 tcp dport 8080",
	"inet ct original ip saddr 0.0.0.0/0 tcp dport 8080",
	"inet ct direction original tcp dport 8080",
	"inet ct direction reply tcp dport 8080",
	"inet ct state { new, untracked } tcp dport 8080",
	"inet ct state != { established, related } tcp dport 8080",
	"inet ct state established,related tcp dport 8080",
	"inet ct state != new tcp dport 8080",
	"inet ct status dnat tcp dport 8080",
	"inet ct status != dnat tcp dport 8080",
	"inet ct status assured tcp dport 8080",
	"inet ct mark != 0 tcp dport 8080",
	"inet meta mark 0 tcp dport 8080",
	"inet iif lo tcp dport 8080",
	"inet iif != lo tcp dport 8080",
	"inet iifname != { lo, wan } tcp dport 8080",
	"inet iifname . tcp dport { wan . 8080, lan . 8081 }",
	"inet oif lo tcp dport 8080",
	"inet oifname != lo tcp dport 8080",
	"inet iiftype ether tcp dport 8080",
	"inet iiftype loopback tcp dport 8080",
	"inet iiftype != loopback tcp dport 8080",
	"inet fib daddr type { local, broadcast } tcp dport 8080",
	"inet fib daddr type != { local, broadcast } tcp dport 8080",
	"inet fib daddr type unicast tcp dport 8080",
	"inet fib saddr type local tcp dport 8080",
	"inet fib saddr type != local tcp dport 8080",
	"inet fib saddr type unicast tcp dport 8080",
	"inet oiftype loopback tcp dport 8080",
	"inet ct reply ip daddr 0.0.0.0/0 tcp dport 8080",
	"inet fib daddr type vmap { local : continue, unicast : return } tcp dport 8080",
	"inet numgen inc mod 1 0 tcp dport 8080",
	"inet numgen random mod 4 { 0, 1, 2, 3 } tcp dport 8080",
	"nft4pre fib daddr . iif type local tcp dport 8080",
	"nft4pre fib daddr . iif type != local tcp dport 8080",
	"nft6pre fib daddr . iif type local tcp dport 8080",
	"nft4out fib daddr . oif type local tcp dport 8080",
	"nft4out fib daddr . oif type != local tcp dport 8080",
}

// exactScript returns commands for sh that write a rule with a form, in one or two
// kinds of iptables.
func exactScript(form string) (shells []string) {
	who, condition, _ := strings.Cut(form, " ")
	nft := func(family string, hooks ...string) string {
		s := "nft -f - <<'END'\ntable " + family + " t {\n"
		for _, hook := range hooks {
			s += "chain " + hook + " {\ntype nat hook " + hook + " priority -100\n" + condition + " meta l4proto { tcp, udp } redirect to :9090\n}\n"
		}
		return s + "}\nEND\n"
	}
	xt := func(tools []string, chains ...string) {
		for _, kind := range []string{"nft", "legacy"} {
			s := ""
			for _, tool := range tools {
				for _, chain := range chains {
					c := condition
					if !strings.HasPrefix(c, "-p tcp") && !strings.HasPrefix(c, "-p udp") {
						// REDIRECT to a port wants a protocol.
						c = "-p tcp " + strings.TrimPrefix(strings.TrimPrefix(c, "-p all "), "! -p udp ")
					}
					s += tool + "-" + kind + " -t nat -A " + chain + " " + c + " -j REDIRECT --to-ports 9090\n"
				}
			}
			shells = append(shells, s)
		}
	}
	both := []string{"iptables", "ip6tables"}
	switch who {
	case "xt":
		xt(both, "PREROUTING", "OUTPUT")
	case "xt4":
		xt(both[:1], "PREROUTING", "OUTPUT")
	case "xt6":
		xt(both[1:], "PREROUTING", "OUTPUT")
	case "legacy4":
		xt(both[:1], "PREROUTING", "OUTPUT")
		shells = shells[1:]
	case "legacy6":
		xt(both[1:], "PREROUTING", "OUTPUT")
		shells = shells[1:]
	case "pre":
		xt(both, "PREROUTING")
	case "out":
		xt(both, "OUTPUT")
	case "inet":
		shells = []string{nft("inet", "prerouting", "output")}
	case "nft4pre":
		shells = []string{nft("ip", "prerouting")}
	case "nft6pre":
		shells = []string{nft("ip6", "prerouting")}
	case "nft4out":
		shells = []string{nft("ip", "output")}
	}
	return shells
}

// TestExactForms tries one of eight forms, and all of them with PORTCHECK_TEST_NAT_SETS.
// It checks that no answer is vague about conditions of which it is known
// who meets them, and that callers agree.
func TestExactForms(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
	w := newWorld(t)
	questions := everyQuestion(8080)
	questions = append(questions, Question{Protocol: port.TCP, Addr: netip.IPv4Unspecified(), Port: 8081}, Question{Protocol: port.TCP, Addr: netip.IPv6Unspecified(), Port: 8081})
	var total judge
	step := 8
	if os.Getenv(setsEnv) != "" {
		step = 1
	}
	for i := 0; i < len(exactForms); i += step {
		form := exactForms[i]
		for _, shell := range exactScript(form) {
			clearRules(t)
			if out, err := try("", "sh", "-ec", shell); err != nil {
				t.Errorf("%s: %v\n%s", form, err, out)
				continue
			}
			var j judge
			w.check(t, &j, questions, false, true)
			if len(j.faults) > 0 {
				t.Errorf("%s\n%s%d faults:\n%s", form, shell, len(j.faults), strings.Join(j.faults[:min(len(j.faults), 3)], "\n"))
			}
			total.none, total.some, total.all = total.none+j.none, total.some+j.some, total.all+j.all
		}
	}
	t.Logf("none %d, every port %d, all %d", total.none, total.some, total.all)
	clearRules(t)
}
