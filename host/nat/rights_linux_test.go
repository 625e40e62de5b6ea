package nat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

var programs = map[string]func([]string) error{
	"read": func([]string) error {
		answers, err := Read(context.Background(), []Question{{Protocol: port.TCP, Addr: netip.IPv4Unspecified(), Port: 8080}})
		var problem *Unreadable
		if errors.As(err, &problem) {
			fmt.Printf("%t %t", errors.Is(err, fs.ErrPermission), problem.Possible)
			return nil
		}
		fmt.Print(len(answers), err)
		return err
	},
}

// TestWithoutRights checks that rules that can't be read are reported as possible
// only where there may be any.
func TestWithoutRights(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	needs(t, "nft")
	const nobody = 65534
	for _, c := range []struct{ rules, want string }{
		{"", "true false"},
		{"table ip t {\nchain c {\ntype filter hook prerouting priority 0\ntcp dport 8080 accept\n}\n}\n", "true false"},
		{"table ip t {\nchain c {\ntype nat hook prerouting priority -100\ntcp dport 8080 redirect to :9090\n}\n}\n", "true true"},
		{"table ip6 t {\nchain c {\ntype nat hook output priority -100\ntcp dport 8080 redirect to :9090\n}\n}\n", "true true"},
	} {
		run(t, "flush ruleset\n"+c.rules, "nft", "-f", "-")
		if got := string(testbed.RunProgram(t, "read", testbed.Faults{UID: nobody})); got != c.want {
			t.Errorf("with the rules %q: %s, want %s", c.rules, got, c.want)
		}
		flushConnections(t)
	}
	// Rules of a sandbox can't be read by root either.
	denied := testbed.Faults{Deny: []testbed.Denial{{Call: unix.SYS_SOCKET, Arg: unix.AF_NETLINK, Errno: unix.EAFNOSUPPORT}}}
	if got, want := string(testbed.RunProgram(t, "read", denied)), "false true"; got != want {
		t.Errorf("without netlink: %s, want %s", got, want)
	}
	for _, faults := range []testbed.Faults{{HideProc: true}, {HideProc: true, UID: nobody}} {
		if got := string(testbed.RunProgram(t, "read", faults)); !strings.HasSuffix(got, " true") {
			t.Errorf("without /proc: %s", got)
		}
	}
	// Loopback is exempt, but other connections are tracked.
	callSelf(netip.MustParseAddr("127.0.0.1"))
	run(t, "table ip t {\nchain c {\ntype nat hook prerouting priority -100\ntcp dport 8080 redirect to :9090\n}\n}\n", "nft", "-f", "-")
	callSelf(netip.MustParseAddr("127.0.0.1"))
	run(t, "table inet raw {\nchain c {\ntype filter hook output priority raw\noifname lo notrack\n}\n}\n", "nft", "-f", "-")
	if got, want := string(testbed.RunProgram(t, "read", testbed.Faults{UID: nobody})), "true true"; got != want {
		t.Errorf("with loopback exempt: %s, want %s", got, want)
	}
}

func TestUsesProxies(t *testing.T) {
	for modules, want := range map[string]bool{
		"": false,
		"nf_tables 311296 57 nft_ct,nft_nat, Live 0x0\n":                               false,
		"xt_TPROXY 20480 0 - Live 0x0\n":                                               false,
		"nf_tables 311296 57 nft_ct, Live 0x0\nxt_TPROXY 20480 2 - Live 0x0\n":         true,
		"nft_tproxy 16384 1 - Live 0x0\nnf_tproxy_ipv4 16384 1 nft_tproxy, Live 0x0\n": true,
	} {
		if got := usesProxies(modules); got != want {
			t.Errorf("%q: %t", modules, got)
		}
	}
}
