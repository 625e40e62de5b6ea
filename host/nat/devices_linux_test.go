package nat

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestBridgePort has a chain of a bridge's port: what it rewrites arrives by the bridge.
// Callers by other ports are left alone.
func TestBridgePort(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	needs(t, "nft", "ip")
	outside := newSpace(t)
	for _, line := range []string{
		"ip link set lo up", "ip link add br0 type bridge", "ip link add p0 type veth peer name eth0 netns " + outside.path,
		"ip link set p0 master br0", "ip addr add 10.9.0.1/24 dev br0", "ip link set p0 up", "ip link set br0 up",
	} {
		run(t, "", strings.Fields(line)...)
	}
	outside.do(func() {
		run(t, "", "ip", "addr", "add", "10.9.0.2/24", "dev", "eth0")
		run(t, "", "ip", "link", "set", "eth0", "up")
	})
	to := netip.MustParseAddr("10.9.0.1")
	serve(t, to)
	call := func(wait time.Duration) (got netip.AddrPort) {
		outside.do(func() { got = reach(port.TCP, netip.Addr{}, netip.AddrPortFrom(to, 8080), wait) })
		return got
	}
	if got := call(patience); got != netip.AddrPortFrom(to, 8080) {
		t.Fatalf("without rules, a call reaches %s", got)
	}
	devices := "p0"
	ask := func(rule string) *Route {
		run(t, "flush ruleset\ntable netdev d {\nchain i {\ntype filter hook ingress devices = { "+devices+" } priority 0\n"+rule+"\n}\n}\n", "nft", "-f", "-")
		answers, err := Read(context.Background(), []Question{{Protocol: port.TCP, Addr: netip.IPv4Unspecified(), Port: 8080}})
		if err != nil {
			t.Fatal(err)
		}
		return find(answers[0], "br0", to)
	}
	if r := ask("tcp dport 9999 tcp dport set 7"); r != nil {
		t.Errorf("another port: %+v", r)
	}
	// What arrives by the port may be tagged, or for another address of the Ethernet.
	for _, condition := range []string{"ether type 8021q", "ether type ip", "meta pkttype other", "meta pkttype host"} {
		if r := ask(condition + " meta l4proto tcp th dport 8080 th dport set 7"); r == nil || r.All {
			t.Errorf("%s: %+v", condition, r)
		}
	}
	r := ask("tcp dport 8080 tcp dport set 7")
	if r == nil || r.All || r.Reason != "it depends on the device where they arrive" {
		t.Errorf("%+v", r)
	}
	if got := call(300 * time.Millisecond); got.IsValid() {
		t.Errorf("a call reaches %s", got)
	}
	devices = "p0, br0"
	if r := ask("tcp dport 8080 tcp dport set 7"); r == nil || !r.All {
		t.Errorf("of the bridge, too: %+v", r)
	}
}

// deviceRules are rules about x0, of which the order of chains, the Ethernet type or the kind of
// packets decides.
var deviceRules = []struct{ name, ingress, raw, nat string }{
	{name: "none"},
	{name: "a redirect", nat: "th dport 8080 redirect to :9090"},
	{name: "a mark", ingress: "th dport 8080 meta mark set 4", nat: "meta mark 4 redirect to :9090"},
	{name: "another mark", ingress: "th dport 8080 meta mark set 5", nat: "meta mark != 5 th dport 8080 redirect to :9090"},
	{name: "no tracking", ingress: "th dport 8080 notrack", nat: "th dport 8080 redirect to :9090"},
	{name: "an Ethernet broadcast", ingress: "th dport 8080 meta pkttype set broadcast", nat: "th dport 8080 redirect to :9090"},
	{name: "an Ethernet broadcast of both ports", ingress: "th dport { 8080, 9090 } meta pkttype set broadcast", nat: "th dport 8080 redirect to :9090"},
	{name: "a redirect of Ethernet broadcasts", ingress: "th dport 8080 meta pkttype set broadcast", nat: "meta pkttype broadcast th dport 8080 redirect to :9090"},
	{name: "a redirect of all but Ethernet broadcasts", ingress: "meta pkttype host th dport 8080 meta pkttype set broadcast", nat: "meta pkttype != broadcast th dport 8080 redirect to :9090"},
	{name: "a packet for others", ingress: "th dport 8080 meta pkttype set other", nat: "th dport 8080 redirect to :9090"},
	{name: "an Ethernet broadcast in raw", raw: "th dport 8080 meta pkttype set broadcast", nat: "th dport 8080 redirect to :9090"},
	{name: "an Ethernet broadcast in raw and another address", raw: "th dport 8080 meta pkttype set broadcast", nat: "th dport 8080 dnat ip to 10.9.0.9:9090\nth dport 8080 dnat ip6 to [fd09::9]:9090"},
	{name: "an Ethernet broadcast in raw and the port of another address", raw: "th dport 8080 meta pkttype set broadcast", nat: "th dport 8080 dnat ip to 10.9.0.9\nth dport 8080 dnat ip6 to fd09::9"},
	{name: "an Ethernet type", nat: "ether type { ip, ip6 } th dport 8080 redirect to :9090"},
	{name: "another Ethernet type", nat: "ether type 8021q th dport 8080 redirect to :9090"},
	{name: "an Ethernet type of a device", ingress: "ether type { ip, ip6 } th dport 8080 meta mark set 4", nat: "meta mark != 4 th dport 8080 redirect to :9090"},
	{name: "another Ethernet type of a device", ingress: "ether type != { ip, ip6 } accept\nth dport 8080 th dport set 9090"},
	{name: "a VLAN", nat: "vlan id 7 th dport 8080 redirect to :9090"},
}

// TestOrderOnDevices compares answers with callers where br_netfilter takes packets of a bridge
// through prerouting first, where it does not, and by a macvlan.
func TestOrderOnDevices(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	needs(t, "nft", "ip")
	const bridge = "ip link add x0 type bridge; ip link set p0 master x0"
	const macvlan = "sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip link add b0 type bridge; ip link set p0 master b0; ip link set b0 up; ip link add x0 link b0 type macvlan mode bridge"
	for _, d := range []struct{ name, calls, commands string }{
		{"a bridge", "0", bridge},
		{"a bridge with br_netfilter", "1", bridge},
		{"a bridge with br_netfilter as its option", "0", bridge + "; ip link set x0 type bridge nf_call_iptables 1 nf_call_ip6tables 1"},
		// Without arp_ignore, the device below answers for the address, too.
		{"a macvlan", "1", "sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip link add x0 link p0 type macvlan mode bridge"},
		{"a macvlan upon a bridge", "0", macvlan},
		{"a macvlan upon a bridge with br_netfilter", "1", macvlan},
		{"a veth", "1", "ip link del p0; ip link add x0 type veth peer name eth0 netns NS"},
	} {
		t.Run(d.name, func(t *testing.T) {
			for _, name := range []string{"iptables", "ip6tables"} {
				if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+name, []byte(d.calls), 0o644); err != nil && strings.Contains(d.name, "netfilter") {
					t.Log(err) // a kernel without br_netfilter
					return
				}
			}
			outside := newSpace(t)
			commands := "ip link set lo up; ip link add p0 type veth peer name eth0 netns NS; ip link set p0 up; " + d.commands + "; ip link set x0 up; ip addr add 10.9.0.1/24 dev x0; ip addr add 10.9.0.9/24 dev x0; ip addr add fd09::1/64 dev x0 nodad; ip addr add fd09::9/64 dev x0 nodad"
			run(t, "", "sh", "-ec", strings.ReplaceAll(commands, "NS", outside.path))
			t.Cleanup(func() {
				run(t, "", "sh", "-ec", "nft flush ruleset; for l in x0 b0 p0; do if ip link show $l > /dev/null 2>&1; then ip link del $l; fi; done")
			})
			outside.do(func() {
				run(t, "", "sh", "-ec", "ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad; ip link set eth0 up")
			})
			for _, a := range addrs("10.9.0.1", "10.9.0.9", "fd09::1", "fd09::9") {
				serve(t, a)
			}
			for _, r := range deviceRules {
				t.Run(r.name, func(t *testing.T) { compareOnDevice(t, outside, r.ingress, r.raw, r.nat, r.name == "none", true) })
			}
			// Upon a bridge, it is not known which interface a rule sees.
			for _, name := range []string{"x0", "b0", "x*"} {
				t.Run("interface "+name, func(t *testing.T) {
					compareOnDevice(t, outside, "", "", "iifname "+name+" th dport 8080 redirect to :9090", false, d.name != "a macvlan upon a bridge with br_netfilter")
				})
			}
		})
	}
}

// compareOnDevice wants an answer about x0 that is true, and certain if that can be.
func compareOnDevice(t *testing.T, outside *space, ingress, raw, nat string, patient, certain bool) {
	t.Helper()
	chain := func(head, rules string) string {
		if rules == "" {
			return ""
		}
		text := head + "\n"
		for line := range strings.Lines(rules) {
			text += "meta l4proto { tcp, udp } " + strings.TrimSpace(line) + "\n"
		}
		return text + "}\n"
	}
	run(t, "flush ruleset\ntable netdev d {\n"+chain("chain i { type filter hook ingress device x0 priority 0", ingress)+"}\ntable inet t {\n"+
		chain("chain raw { type filter hook prerouting priority raw", raw)+chain("chain pre { type nat hook prerouting priority -100", nat)+"}\n", "nft", "-f", "-")
	// A datagram from the port of an earlier one is no new connection, so NAT rules leave it alone.
	flushConnections(t)
	for _, protocol := range []port.Protocol{port.TCP, port.UDP} {
		for _, to := range addrs("10.9.0.1", "fd09::1") {
			q := Question{Protocol: protocol, Addr: to, Port: 8080}
			answers, err := Read(context.Background(), []Question{q})
			if err != nil {
				t.Fatal(err)
			}
			wait := 150 * time.Millisecond
			if patient {
				wait = patience
			}
			var got netip.AddrPort
			outside.do(func() { got = reach(protocol, netip.Addr{}, netip.AddrPortFrom(to, 8080), wait) })
			r := find(answers[0], "x0", to)
			isNeed := got == netip.AddrPortFrom(to, 8080)
			switch {
			case r != nil && (certain && !r.All || r.All && isNeed || got.IsValid() && !isNeed && !names(r.To, got)), r == nil && got.IsValid() && !isNeed, patient && !isNeed:
				t.Errorf("%s to %s reaches %s, and the answer is %+v", protocol, to, got, r)
			}
		}
	}
}
