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
	}
	where := family + " " + table + " " + x.Chain
	one, all := "sudo nft -a list chain "+where, "sudo nft -a list table "+family+" "+table
	deleted, deletes := "its handle for `sudo nft delete rule "+where+" handle NUMBER`", "with handles for `sudo nft delete rule "+family+" "+table+" CHAIN handle NUMBER`"
	if x.Legacy {
		name := "iptables-legacy"
		if family == "ip6" {
			name = "ip6tables-legacy"
		}
		all = fmt.Sprintf("sudo %s -t %s -S", name, table)
		one = all + " " + x.Chain
		deleted, deletes = "it, and with -D in place of -A deletes it", "and with -D in place of -A deletes one"
	}
	serves := portsInRule(x.Rule)
	switch {
	case serves == portsInSet || !x.Legacy && usesSet(x.Rule):
		return advice{fmt.Sprintf("take the port out of the set or map of the rule, which may serve other ports, too: `%s` shows the rule%s", one, again), one}
	case serves == portsListed:
		return advice{fmt.Sprintf("take the port out of the rule, which may serve other ports, too: `%s` shows it%s", one, again), one}
	case serves == portUnnamed:
		return advice{fmt.Sprintf("take the port out of the rules that lead to this one, which names none and may serve other ports, too, or delete it if it does not: `%s` shows them, %s%s", all, deletes, again), all}
	}
	return advice{fmt.Sprintf("delete the rule: `%s` shows %s%s", one, deleted, again), one}
}

// rulePorts is what the text of a rule says of the ports that it serves.
type rulePorts int

const (
	portUnnamed rulePorts = iota
	portsInSet
	portsListed // or a range
	portAlone
)

// portsInRule returns which ports a rule serves. "dport 8080" is one, and "dport 8000-8080",
// "dport >= 8000" and "dport { 80, 443 }" are several.
func portsInRule(rule string) rulePorts {
	found := portUnnamed
	words := strings.Fields(rule)
	for i, word := range words {
		switch word {
		case "match-set": // of ipset
			found = max(found, portsInSet)
		case "dport", "proto-dst":
			found = max(found, portsListed)
			rest := words[i+1:]
			if len(rest) > 2 && rest[0] == "{" && rest[2] == "}" {
				rest = rest[1:]
			}
			if len(rest) > 0 && strings.Trim(rest[0], "0123456789") == "" {
				return portAlone
			}
		}
	}
	return found
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
