package nat

import (
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestMatrix compares answers about real rules with what real callers reach.
func TestMatrix(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft", "ip6tables-nft")
	w := newWorld(t)
	const nat = "type nat hook prerouting priority -100;"
	for _, c := range []struct {
		name    string
		nft     string // rules of a chain in a table of the family ip
		script  string // or a whole script for nft
		shell   string // or commands
		vague   bool   // some depend on the caller
		drops   bool
		wantAll bool // there has to be a certain answer
	}{
		{name: "nothing"},
		{name: "redirect", nft: "tcp dport 8080 redirect to :9090", wantAll: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearRules(t)
			if c.nft != "" {
				run(t, "table ip t {\nchain pre {\n"+nat+"\n"+c.nft+"\n}\nchain out {\ntype nat hook output priority -100;\n"+c.nft+"\n}\n}\n", "nft", "-f", "-")
			}
			if c.script != "" {
				run(t, c.script, "nft", "-f", "-")
			}
			if c.shell != "" {
				run(t, "", "sh", "-ec", c.shell)
			}
			var j judge
			w.check(t, &j, everyQuestion(8080, 8081), c.drops, !c.vague)
			t.Logf("none %d, some %d, all %d", j.none, j.some, j.all)
			if len(j.faults) > 0 {
				t.Errorf("%d faults:\n%s", len(j.faults), strings.Join(j.faults[:min(len(j.faults), 10)], "\n"))
			}
			if c.wantAll && j.all == 0 {
				t.Error("nobody is sent away")
			}
		})
	}
}
