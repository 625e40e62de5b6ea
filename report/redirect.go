package report

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
)

// remedyRedirected returns how to end a NAT rule. An engine deletes the rule of a
// container that it stops. To stop another process at the destination would not help.
func remedyRedirected(r check.Result) string {
	s := deleteRule(r)
	for _, h := range r.Holders {
		if h.Container != nil && h.PID == 0 {
			if way := stopHolder(h, r); way != "" {
				s = way + "; if the rule is still there, " + s
				break
			}
		}
	}
	if owner := ownerHint(r); owner != "" {
		s += "; if this is the app itself, allow it with `owner: " + owner + "`"
	}
	return s
}

// deleteRule returns how to delete a NAT rule. Names are part of a command only if
// they are one word.
func deleteRule(r check.Result) string {
	const again = "; if it comes back, end what its program wrote it for (with kube-proxy, the service or pod)"
	x := check.Redirect{}
	if r.Redirect != nil {
		x = *r.Redirect
	}
	family, table, _ := strings.Cut(x.Table, " ")
	switch {
	case !isWord(family) || !isWord(table) || !isWord(x.Chain):
		return "find the rule with `sudo nft -a list ruleset` or `sudo iptables-legacy-save`, and delete it" + again
	case x.Legacy:
		command := "iptables-legacy"
		if family == "ip6" {
			command = "ip6tables-legacy"
		}
		return fmt.Sprintf("delete the rule: `sudo %s -t %s -S %s` shows it, and with -D in place of -A deletes it%s", command, table, x.Chain, again)
	}
	return fmt.Sprintf("delete the rule: `sudo nft -a list chain %s %s %s` shows its handle for `sudo nft delete rule %s %s %s handle NUMBER`%s", family, table, x.Chain, family, table, x.Chain, again)
}
