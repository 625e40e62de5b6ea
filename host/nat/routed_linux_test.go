package nat

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestRoutedAddresses has rules for addresses that a route makes local (AnyIP), which
// a need on any covers. Each address that the answer names is called, and so are some
// that it does not name.
func TestRoutedAddresses(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
	w := newWorld(t)
	for _, line := range []string{
		"ip route add local 192.0.2.0/24 dev lo", "ip -6 route add local 2001:db8:7::/64 dev lo",
		"ip route add local 198.51.100.0/24 dev lo table 100", "ip rule add pref 100 lookup 100",
		// The kernel asks for neighbors from a link's address if not from the packet's.
		"ip addr add fe80::1/64 dev wan nodad", "ip addr add fe80::1/64 dev lan nodad",
	} {
		run(t, "", strings.Fields(line)...)
	}
	// For IPv6, a bind wants an address of an interface.
	if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	called := addrs("192.0.2.0", "192.0.2.7", "192.0.2.8", "192.0.2.128", "192.0.2.200", "2001:db8:7::", "2001:db8:7::9", "2001:db8:7::a")
	for _, a := range called {
		serve(t, a)
	}
	both := func(rule string) string {
		return "table inet t {\nchain pre { type nat hook prerouting priority -100; " + rule + "; }\nchain out { type nat hook output priority -100; " + rule + "; }\n}\n"
	}
	for _, c := range []struct {
		name, nft, shell string
		// want are the addresses of which all callers are sent away.
		want []string
	}{
		{name: "no rule"},
		{name: "one address", nft: both("ip daddr 192.0.2.7 tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.7"}},
		{name: "all but one", nft: both("ip daddr 192.0.2.0/24 ip daddr != 192.0.2.7 tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.0", "192.0.2.8"}},
		{name: "a part of the prefix", nft: both("ip daddr 192.0.2.128/25 tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.128"}},
		{name: "a prefix around it", nft: both("ip daddr 192.0.0.0/16 tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.0"}},
		{name: "a range", nft: both("ip daddr 192.0.2.5-192.0.2.7 tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.5"}},
		{name: "a bound", nft: both("ip daddr >= 192.0.2.128 ip daddr <= 192.0.2.255 tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.128"}},
		{name: "a set", nft: both("ip daddr { 192.0.2.7, 192.0.2.8, 10.1.0.77 } tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.7", "192.0.2.8"}},
		{name: "a map", nft: both("tcp dport 8080 dnat ip to ip daddr . tcp dport map { 192.0.2.7 . 8080 : 10.1.0.1 . 9090, 192.0.2.8 . 8080 : 192.0.2.200 . 8080 }"), want: []string{"192.0.2.7"}},
		{name: "a map of verdicts", nft: "table inet t {\nmap m { type ipv4_addr . inet_service : verdict; elements = { 192.0.2.7 . 8080 : goto a, 192.0.2.8 . 8081 : goto a, 10.1.0.1 . 8081 : goto a } }\n" +
			"chain a { meta l4proto tcp redirect to :9090; }\nchain pre { type nat hook prerouting priority -100; ip daddr . tcp dport vmap @m; }\nchain out { type nat hook output priority -100; ip daddr . tcp dport vmap @m; }\n}\n", want: []string{"192.0.2.7"}},
		{name: "the connection's address", nft: both("ct original ip daddr 192.0.2.7 tcp dport 8080 redirect to :9090"), want: []string{"192.0.2.7"}},
		{name: "another port", nft: both("ip daddr 192.0.2.7 tcp dport 8081 redirect to :9090")},
		{name: "an address of another machine", nft: both("ip daddr 192.0.3.7 tcp dport 8080 redirect to :9090")},
		{name: "to another address of the route", nft: both("ip daddr 192.0.2.7 tcp dport 8080 dnat ip to 192.0.2.200")},
		{name: "IPv6", nft: both("ip6 daddr 2001:db8:7::9 tcp dport 8080 redirect to :9090"), want: []string{"2001:db8:7::9"}},
		{name: "IPv6, a prefix", nft: both("ip6 daddr 2001:db8::/32 tcp dport 8080 redirect to :9090"), want: []string{"2001:db8:7::"}},
		{name: "another table", nft: both("ip daddr 198.51.100.7 tcp dport 8080 redirect to :9090")},
		{name: "iptables", shell: `for chain in PREROUTING OUTPUT; do
			iptables-nft -t nat -A $chain -d 192.0.2.7 -p tcp --dport 8080 -j REDIRECT --to-ports 9090
			iptables-legacy -t nat -A $chain -m iprange --dst-range 192.0.2.200-192.0.2.255 -p tcp --dport 8080 -j REDIRECT --to-ports 9090
			ip6tables-legacy -t nat -A $chain -d 2001:db8:7::9 -p tcp --dport 8080 -j REDIRECT --to-ports 9090
			iptables-legacy -t nat -A $chain -m conntrack --ctorigdst 192.0.2.128/26 -p tcp --dport 8080 -j REDIRECT --to-ports 9090
			done`, want: []string{"192.0.2.128", "192.0.2.200", "192.0.2.7", "2001:db8:7::9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearRules(t)
			if c.nft != "" {
				run(t, c.nft, "nft", "-f", "-")
			}
			if c.shell != "" {
				run(t, "", "sh", "-ec", c.shell)
			}
			ask := func(addr netip.Addr) Answer {
				questions := []Question{{Protocol: port.TCP, Addr: addr, Port: 8080}}
				answers, kept := bothAnswers(t, questions)
				if diff := cmp.Diff(answers, kept, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Fatalf("kept rules: %s", diff)
				}
				return answers[0]
			}
			var got []string
			for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
				for _, r := range ask(any) {
					if !r.All {
						t.Errorf("vague: %+v", r)
					}
					if name := r.Addr.String(); !slices.Contains(got, name) {
						got = append(got, name)
					}
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("addresses of which all callers are sent away: %s", diff)
			}
			for _, to := range called {
				answer := ask(to)
				for _, from := range w.callers(to) {
					var reached netip.AddrPort
					from.space.do(func() { reached = reach(port.TCP, from.from, netip.AddrPortFrom(to, 8080), patience) })
					away := reached.Port() != 8080 || reached.Addr() != to
					if r := find(answer, from.in, to); away != (r != nil) {
						t.Errorf("%s calls %s and reaches %s, but the answer for it is %+v", from.name, to, reached, r)
					}
				}
			}
		})
	}
	clearRules(t)
}

// TestManyRoutedAddresses has more routes, and more rules for their addresses, than are
// followed one by one.
func TestManyRoutedAddresses(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	needs(t, "nft", "ip")
	run(t, "", "ip", "link", "set", "lo", "up")
	var routes strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&routes, "route add local 10.%d.%d.1/32 dev lo\n", 100+i>>8, i&255)
	}
	run(t, routes.String(), "ip", "-batch", "-")
	question := []Question{{Protocol: port.TCP, Addr: netip.IPv4Unspecified(), Port: 8080}}
	ask := func(rules string) Answer {
		run(t, "flush ruleset\ntable ip t {\nchain out { type nat hook output priority -100\n"+rules+"\n}\n}\n", "nft", "-f", "-")
		start := time.Now()
		answers, err := Read(context.Background(), question)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(start))
		return answers[0]
	}
	if a := ask("ip daddr 10.120.7.1 tcp dport 8080 redirect to :9090"); len(a) != 1 || !a[0].All || a[0].Addr.String() != "10.120.7.1" {
		t.Errorf("one address: %+v", a)
	}
	var rules strings.Builder
	for i := range 200 {
		fmt.Fprintf(&rules, "ip daddr 10.120.%d.1 tcp dport 8080 counter accept\n", i)
	}
	// The address of the last rule is beyond those that are followed.
	a := ask(rules.String() + "ip daddr 10.122.7.1 tcp dport 8080 redirect to :9090")
	if len(a) != 1 || a[0].All || a[0].Reason != "routes make many addresses local" {
		t.Errorf("many addresses: %+v", a)
	}
}
