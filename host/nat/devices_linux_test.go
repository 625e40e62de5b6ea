package nat

import (
	"context"
	"net/netip"
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
	ask := func(rule string) *Route {
		run(t, "flush ruleset\ntable netdev d {\nchain i {\ntype filter hook ingress device p0 priority 0\n"+rule+"\n}\n}\n", "nft", "-f", "-")
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
}
