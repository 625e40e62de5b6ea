package report

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
)

// remedyRedirected returns how to stop what a NAT rule sends callers to, and how to
// find and delete the rule. A process behind the rule may serve other ports, so it
// is not among what can be stopped.
func remedyRedirected(r check.Result) string {
	var ways []string
	for _, h := range r.Holders {
		if h.Container != nil || isWord(h.Unit) && stoppable(h.Unit) {
			if way := stopHolder(h, r); way != "" && len(ways) == 0 {
				ways = append(ways, way)
			}
		}
	}
	ways = append(ways, deleteRule(r))
	s := strings.Join(ways, "; if nothing needs the rule any more, ")
	if owner := ownerHint(r); owner != "" {
		s += "; if this is the app itself, allow it with `owner: " + owner + "`"
	}
	return s
}

// deleteRule returns how to delete a NAT rule. Names are part of a command only if
// they are one word.
func deleteRule(r check.Result) string {
	const again = ", unless the program that made it would write it again (Docker, kube-proxy): then stop what it is for"
	x := check.Redirect{}
	if r.Redirect != nil {
		x = *r.Redirect
	}
	family, table, _ := strings.Cut(x.Table, " ")
	switch {
	case !isWord(family) || !isWord(table) || !isWord(x.Chain):
		return "find the rule with `sudo nft -a list ruleset` and `sudo iptables-save`, and delete it" + again
	case x.Legacy:
		command := "iptables-legacy"
		if family == "ip6" {
			command = "ip6tables-legacy"
		}
		return fmt.Sprintf("delete the rule: `sudo %s -t %s -S %s` shows it, and with -D in place of -A it is deleted%s", command, table, x.Chain, again)
	}
	return fmt.Sprintf("delete the rule: `sudo nft -a list chain %s %s %s` shows its handle for `sudo nft delete rule %s %s %s handle NUMBER`%s", family, table, x.Chain, family, table, x.Chain, again)
}
