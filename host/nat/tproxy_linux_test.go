package nat

import (
	"context"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// TestTransparentProxy compares answers about TPROXY and the statement tproxy of nft
// with what callers reach while a proxy listens: that of nft depends on it.
func TestTransparentProxy(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft", "iptables-legacy", "ip6tables-nft")
	w := newWorld(t)
	listenTransparent(t, "tcp4", "0.0.0.0:7070")
	listenTransparent(t, "tcp4", "10.1.0.9:7072")
	listenTransparent(t, "tcp6", "[::]:7070")
	const hook = "chain pre { type filter hook prerouting priority mangle; "
	for _, c := range []struct {
		name, script, shell string
		vague               bool // without a proxy calls would go on
		none                bool
	}{
		{name: "target", shell: "iptables-nft -t mangle -A PREROUTING -p tcp --dport 8080 -j TPROXY --on-port 7070"},
		{name: "target, legacy", shell: "iptables-legacy -t mangle -A PREROUTING -p tcp --dport 8080 -j TPROXY --on-port 7070"},
		{name: "target, IPv6", shell: "ip6tables-nft -t mangle -A PREROUTING -p tcp --dport 8080 -j TPROXY --on-port 7070"},
		{name: "statement", script: "table ip t { " + hook + "tcp dport 8080 tproxy to :7070 accept; }\n}\n", vague: true},
		{name: "statement with an address", script: "table ip t { " + hook + "tcp dport 8080 tproxy to 10.1.0.9:7072; }\n}\n", vague: true},
		{name: "statement with a map", script: "table ip t { " + hook + "meta l4proto tcp tproxy to :tcp dport map { 8080 : 7070, 8081 : 7070 }; }\n}\n", vague: true},
		{name: "statement in both families", script: "table inet t { " + hook + "tcp dport 8080 tproxy ip to :7070; tcp dport 8081 tproxy ip6 to :7070; tcp dport 9090 tproxy to :7070; }\n}\n", vague: true},
		{name: "statement to nobody", script: "table ip t { " + hook + "tcp dport 8080 tproxy to :7071; }\n}\n", vague: true, none: true},
		{name: "statement to the same port", script: "table ip t { " + hook + "tcp dport 8080 tproxy to :8080; }\n}\n", none: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearRules(t)
			if c.script != "" {
				run(t, c.script, "nft", "-f", "-")
			} else {
				run(t, "", "sh", "-ec", c.shell)
			}
			var j judge
			w.check(t, &j, everyQuestion(8080, 8081), false, !c.vague)
			t.Logf("none %d, some %d, all %d, of which %d were answered", j.none, j.some, j.all, j.arrived)
			for _, f := range j.faults {
				t.Error(f)
			}
			if (j.arrived == 0) != c.none || (j.some > 0) != c.vague || j.all > 0 == (c.vague || c.none) {
				t.Error("other calls than expected")
			}
		})
	}
	clearRules(t)
}

// listenTransparent starts a proxy, which answers with its own address.
func listenTransparent(t *testing.T, network, address string) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var problem error
		err := c.Control(func(fd uintptr) {
			level, option := unix.SOL_IP, unix.IP_TRANSPARENT
			if network == "tcp6" {
				level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
			}
			problem = unix.SetsockoptInt(int(fd), level, option, 1)
		})
		if err == nil {
			err = problem
		}
		return err
	}}
	l, err := config.Listen(context.Background(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(address)) // the caller may have gone
			_ = c.Close()
		}
	}()
}
