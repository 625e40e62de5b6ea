package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
)

// remedyRedirected returns how to end a NAT rule. An engine deletes the rule of a
// container that it stops. To stop another process at the destination would not help.
func remedyRedirected(r check.Result) advice {
	a := deleteRule(r)
	for _, h := range r.Holders {
		if h.Container == nil || h.PID != 0 {
			continue
		}
		if w := stopHolder(h, r, familyOf(r.Holders[:0])); w.text != "" {
			text, command, _, _ := together([]way{w})
			return advice{text + "; if the rule is still there, " + a.text, cmp.Or(command, a.command)}
		}
	}
	return a
}

// deleteRule returns how to delete a NAT rule. Names are part of a command only if
// they are one word.
func deleteRule(r check.Result) advice {
	const again = "; if it comes back, end what its program wrote it for (with kube-proxy, the service or pod)"
	x := check.Redirect{}
	if r.Redirect != nil {
		x = *r.Redirect
	}
	family, table, _ := strings.Cut(x.Table, " ")
	switch {
	case table == "ipvs" && x.Chain == "":
		const command = "sudo ipvsadm -L -n"
		return advice{"delete the virtual service: `" + command + "` lists all, and `sudo ipvsadm -D` deletes one" + strings.Replace(again, "the service or pod", "the service or pod; with keepalived, its configuration", 1), command}
	case !isWord(family) || !isWord(table) || !isWord(x.Chain):
		return advice{"find the rule with `sudo nft -a list ruleset` or `sudo iptables-legacy-save`, and delete it" + again, "sudo nft -a list ruleset"}
	case x.Legacy:
		command := "iptables-legacy"
		if family == "ip6" {
			command = "ip6tables-legacy"
		}
		command = fmt.Sprintf("sudo %s -t %s -S %s", command, table, x.Chain)
		return advice{fmt.Sprintf("delete the rule: `%s` shows it, and with -D in place of -A deletes it%s", command, again), command}
	}
	where := family + " " + table + " " + x.Chain
	command := "sudo nft -a list chain " + where
	if usesSet(x.Rule) {
		return advice{fmt.Sprintf("take the port out of the set or map of the rule, which may serve other ports, too: `%s` shows the rule%s", command, again), command}
	}
	return advice{fmt.Sprintf("delete the rule: `%s` shows its handle for `sudo nft delete rule %s handle NUMBER`%s", command, where, again), command}
}

// usesSet reports whether the text of a rule of nf_tables names a set or a map. Bytes of
// a header are written as @ and numbers.
func usesSet(rule string) bool {
	for _, word := range strings.Fields(rule) {
		if name, found := strings.CutPrefix(word, "@"); found && (name == "" || name[0] < '0' || name[0] > '9') {
			return true
		}
	}
	return false
}
