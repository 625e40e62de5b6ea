package nat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"testing"

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
	}
}
