package callers

import (
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// wan is an interface of this machine that is no part of a bridge. Behind it is the
// caller, with two addresses. Any address of a prefix is local here (AnyIP).
const wan = "10.1.0.254"

// deviceSituation is a situation, and who answers each call.
type deviceSituation struct {
	situation
	// reached are the names of those whom calls reach, by the called address. Several calls
	// reach the names in their order.
	reached map[string]string
}

func deviceSituations() []deviceSituation {
	nat := func(rule string) string {
		return "table ip t { chain pre { type nat hook prerouting priority -100\n " + rule + "\n }\n }"
	}
	ingress := func(rule string) string {
		return "table netdev d { chain in { type filter hook ingress device wan0 priority 0\n " + rule + "\n }\n }\n"
	}
	egress := func(rule string) string {
		return "table netdev e { chain out { type filter hook egress device wan0 priority 0\n " + rule + "\n }\n }\n"
	}
	outside := func(names string) map[string]string { return map[string]string{wan: names} }
	return []deviceSituation{
		{situation{name: "AnyIP", want: "free"}, map[string]string{wan: "app app", "10.9.1.1": "app app", "10.9.200.7": "app app"}},
		{situation{name: "AnyIP, and a rule for one address", nft: nat("ip daddr 10.9.1.1 tcp dport 8080 redirect to :9090"), want: "redirected", message: "callers of 10.9.1.1 by "}, map[string]string{wan: "app app", "10.9.1.1": "old old", "10.9.1.2": "app app"}},
		{situation{name: "AnyIP, and a rule for the prefix", nft: nat("ip daddr 10.9.0.0/16 tcp dport 8080 dnat to 10.9.5.5:9090"), want: "redirected", message: "are sent to 10.9.5.5:9090 of callers.test (pid"}, map[string]string{wan: "app app", "10.9.1.1": "old old", "10.9.200.7": "old old"}},
		{situation{name: "AnyIP, and a rule to another address of it", nft: nat("ip daddr 10.9.1.1 tcp dport 8080 dnat to 10.9.5.5"), want: "free"}, map[string]string{"10.9.1.1": "app app"}},
		{situation{name: "AnyIP, and a rule for one caller", nft: nat("ip saddr 10.1.0.1 ip daddr 10.9.1.1 tcp dport 8080 redirect to :9090"), want: "free", notice: "some of the callers of 10.9.1.1 by "}, map[string]string{"10.9.1.1": "old app"}},
		{situation{name: "AnyIP, and a rule for local addresses", nft: nat("fib daddr type local tcp dport 8080 redirect to :9090"), want: "redirected"}, map[string]string{wan: "old old", "10.9.1.1": "old old"}},
		{situation{name: "AnyIP, and a rule beside the prefix", nft: nat("ip daddr 10.10.0.0/16 tcp dport 8080 redirect to :9090"), want: "free"}, map[string]string{wan: "app app", "10.9.1.1": "app app"}},
		{situation{name: "AnyIP, and a device that rewrites one address", nft: ingress("ip daddr 10.9.1.1 tcp dport 8080 ip daddr set 10.9.5.5"), want: "free", notice: "answers to callers of 10.9.1.1 by wan0 may be lost"}, map[string]string{wan: "app app", "10.9.1.1": "nobody nobody", "10.9.1.2": "app app"}},
		{situation{name: "one address of AnyIP", need: "address: 10.9.1.1, ", nft: nat("ip daddr 10.9.1.1 tcp dport 8080 redirect to :9090"), want: "redirected"}, map[string]string{"10.9.1.1": "old old"}},
		{situation{name: "another address of AnyIP", need: "address: 10.9.1.2, ", nft: nat("ip daddr 10.9.1.1 tcp dport 8080 redirect to :9090"), want: "free"}, map[string]string{"10.9.1.2": "app app"}},

		{situation{name: "a device rewrites the port", nft: ingress("tcp dport 8080 tcp dport set 9090") + egress("tcp sport 9090 tcp sport set 8080"), want: "redirected", message: "by wan0 are sent to "}, outside("old old")},
		{situation{name: "a device rewrites the port, and nothing the answers", nft: ingress("tcp dport 8080 tcp dport set 9090"), want: "redirected", message: "in chain in of table netdev d"}, outside("nobody nobody")},
		{situation{name: "a device rewrites another port", nft: ingress("tcp dport 8081 tcp dport set 9090") + egress("tcp sport 9090 tcp sport set 8081"), want: "free"}, outside("app app")},
		{situation{name: "another device rewrites the port", nft: strings.ReplaceAll(ingress("tcp dport 8080 tcp dport set 9090"), "wan0", "net0p1"), want: "free", notice: "by net0"}, outside("app app")},
		{situation{name: "a device rewrites answers", nft: egress("tcp sport 8080 tcp sport set 77"), want: "free", notice: "answers to callers by wan0 may be lost"}, outside("nobody nobody")},
		{situation{name: "a device rewrites answers to one caller", nft: egress("ip daddr 10.1.0.3 tcp sport 8080 tcp sport set 77"), want: "free", notice: "answers to callers by wan0 may be lost"}, outside("app nobody")},
		{situation{name: "a device forwards", nft: ingress("tcp dport 8080 fwd to net0p1"), want: "free", notice: "by wan0 may be sent to another place"}, outside("nobody nobody")},
		{situation{name: "a device forwards calls of one address", nft: ingress("ip saddr 10.1.0.3 tcp dport 8080 fwd to net0p1"), want: "free", notice: "by wan0 may be sent to another place"}, outside("app nobody")},
		{situation{name: "a device forwards another port", nft: ingress("tcp dport 8081 fwd to net0p1"), want: "free"}, outside("app app")},
		{situation{name: "a device forwards answers", nft: egress("tcp sport 8080 fwd to net0p1"), want: "free", notice: "answers to callers by wan0 may be lost"}, outside("nobody nobody")},
		{situation{name: "a device duplicates", nft: ingress("tcp dport 8080 dup to net0p1") + egress("tcp sport 8080 dup to net0p1"), want: "free"}, outside("app app")},
		{situation{name: "a device marks for a NAT rule", nft: ingress("tcp dport 8080 meta mark set 7") + nat("meta mark 7 meta l4proto tcp redirect to :9090"), want: "redirected", message: "by wan0 are sent to"}, outside("old old")},
		{situation{name: "a device keeps calls from NAT", nft: ingress("tcp dport 8080 notrack") + nat(`iifname "wan0" tcp dport 8080 redirect to :9090`), want: "free"}, outside("app app")},
		{situation{name: "a device forwards behind a rule that accepts", nft: ingress("tcp dport 8080 accept\n meta l4proto tcp fwd to net0p1"), want: "free"}, outside("app app")},
		{situation{name: "a set of ports on a device", nft: "table netdev d { set s { type inet_service\n elements = { 80, 8080 }\n }\n chain re { meta l4proto tcp tcp dport set 9090\n }\n" +
			" chain in { type filter hook ingress devices = { wan0, net0p1 } priority 0\n tcp dport @s jump re\n }\n }\n" + egress("tcp sport 9090 tcp sport set 8080"), want: "redirected", message: "by wan0"}, outside("old old")},
		{situation{name: "a device for another family", need: "address: " + wan + ", ", nft: ingress("meta protocol ip6 tcp dport 8080 tcp dport set 9090"), want: "free"}, outside("app app")},
	}
}

// TestCallersByDevices has rules for a device and for addresses that a route makes local.
func TestCallersByDevices(t *testing.T) {
	testbed.Slow(t, "runs portcheck in a network of its own")
	if !testbed.Isolated(t) {
		return
	}
	machines := testbed.StartMachines(t, 1)
	needs(t, "nft", "iptables-legacy")
	caller := machines[0]
	namespace := strings.TrimPrefix(caller.Words()[1], "--net=")
	for _, line := range []string{
		"ip link set lo up", "ip link add wan0 type veth peer name eth1", "ip link set eth1 netns " + namespace,
		"ip addr add " + wan + "/24 dev wan0", "ip link set wan0 up", "ip route add local 10.9.0.0/16 dev lo",
	} {
		must(t, strings.Fields(line)...)
	}
	for _, line := range []string{"ip addr add 10.1.0.1/24 dev eth1", "ip addr add 10.1.0.3/24 dev eth1", "ip link set eth1 up", "ip route add 10.9.0.0/16 via " + wan} {
		must(t, caller.Words(strings.Fields(line)...)...)
	}
	serve(t, ":9090", "old")
	for _, s := range deviceSituations() {
		t.Run(s.name, func(t *testing.T) {
			s.check(t)
			address := ""
			if _, rest, found := strings.Cut(s.need, "address: "); found {
				address, _, _ = strings.Cut(rest, ",")
			}
			serve(t, address+":8080", "app")
			for to, want := range s.reached {
				timeout := "10"
				if strings.Contains(want, "nobody") {
					timeout = "0.3"
				}
				if got := strings.Join(calls(t, caller.Words(), timeout, "10.1.0.1", to, "10.1.0.3", to), " "); got != want {
					t.Errorf("calls of %s reach %s, want %s", to, got, want)
				}
			}
		})
	}
}
