package report

import (
	"strings"
	"testing"

	"github.com/org/portcheck/check"
)

// The remedy for a rule names commands that show and delete it. It never stops a
// process, which would not help, and has no text from outside in a command.
func TestRemedyForARule(t *testing.T) {
	rule := func(change func(*check.Redirect)) *check.Redirect {
		r := &check.Redirect{From: "eth0", To: "10.0.0.5:80", Rule: "meta l4proto tcp dport 8080 dnat to 10.0.0.5:80", Table: "ip nat", Chain: "PREROUTING"}
		change(r)
		return r
	}
	same := func(*check.Redirect) {}
	for name, c := range map[string]struct {
		holders []check.Holder
		rule    *check.Redirect
		want    []string
		not     []string
	}{
		"nft":            {nil, rule(same), []string{"`sudo nft -a list chain ip nat PREROUTING`", "`sudo nft delete rule ip nat PREROUTING handle NUMBER`"}, []string{"iptables", "stop"}},
		"legacy":         {nil, rule(func(r *check.Redirect) { r.Legacy = true }), []string{"`sudo iptables-legacy -t nat -S PREROUTING`"}, []string{"nft", "ip6tables"}},
		"legacy, IPv6":   {nil, rule(func(r *check.Redirect) { r.Legacy, r.Table = true, "ip6 nat" }), []string{"`sudo ip6tables-legacy -t nat -S PREROUTING`"}, []string{"nft"}},
		"a container":    {[]check.Holder{behindRule()}, rule(same), []string{"stop its Compose service: `docker compose -p shop stop db`; if the rule is still there, delete", "`owner: {compose: shop/db}`"}, []string{"kill"}},
		"a process":      {[]check.Holder{python()}, rule(same), []string{"nft -a list chain", "`owner: {process: python3}`"}, []string{"kill", "stop"}},
		"a unit":         {[]check.Holder{nginx()}, rule(same), []string{"nft -a list chain"}, []string{"systemctl"}},
		"a hostile name": {nil, rule(func(r *check.Redirect) { r.Chain = "x; reboot" }), []string{"`sudo nft -a list ruleset`"}, []string{"reboot"}},
		"IPVS":           {nil, rule(func(r *check.Redirect) { r.Table, r.Chain = "ip ipvs", "" }), []string{"`sudo ipvsadm -L -n`", "keepalived"}, []string{"nft", "iptables"}},
		"a flag":         {nil, rule(func(r *check.Redirect) { r.Table = "ip --flush" }), []string{"`sudo nft -a list ruleset`"}, []string{"flush"}},
		"no rule":        {nil, nil, []string{"`sudo nft -a list ruleset`"}, nil},
	} {
		r := need(check.Redirected, "x")
		r.Holders, r.Redirect = c.holders, c.rule
		got := ""
		for _, h := range hints(r) {
			got += h.Text + "\n"
		}
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q, want %q in it", name, got, w)
			}
		}
		for _, w := range c.not {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q has %q", name, got, w)
			}
		}
	}
}

// A rule that may serve other ports is not to be deleted for one of them.
func TestRemedyOfARuleForSeveralPorts(t *testing.T) {
	const deletes, takesOut, leads, set = "delete the rule: ", "take the port out of the rule, which may serve other ports, too: ", "take the port out of the rules that lead to this one, which names none and may serve other ports, too, or delete it if it does not: ", "take the port out of the set or map of the rule, which may serve other ports, too: "
	for rule, want := range map[string]string{
		"meta l4proto tcp dport 8080 redirect to :9090":                deletes,
		"meta l4proto tcp tcp dport 8080 redirect to :9090":            deletes,
		"meta l4proto tcp dport { 8080 } redirect to :9090":            deletes,
		"tcp dport 8080 match-set hosts src redirect to :9090":         deletes,
		"tcp dport 1-65535 match-set hosts src redirect to :9090":      takesOut,
		"dport 1-65535 dport 8080 redirect to :9090":                   deletes,
		"meta l4proto tcp ct proto-dst 8080 redirect to :9090":         deletes,
		"meta l4proto tcp dport { 443, 8080 } redirect to :9090":       takesOut,
		"meta l4proto tcp dport { 443, 8080-8089 } redirect to :9090":  takesOut,
		"meta l4proto tcp dport 8000-8080 redirect to :9090":           takesOut,
		"meta l4proto tcp dport >= 8000 dport <= 8080 redirect to :90": takesOut,
		"meta l4proto tcp dport != 22 redirect to :9090":               takesOut,
		"meta l4proto tcp dport != { 22 } redirect to :9090":           takesOut,
		"meta l4proto tcp dport & 8080 8080 redirect to :9090":         takesOut,
		"meta l4proto tcp dport":                                       takesOut,
		"meta l4proto tcp redirect to :9090":                           leads,
		"dnat to 10.0.0.5:80":                                          leads,
		"":                                                             leads,
	} {
		x := check.Redirect{Rule: rule, Table: "ip nat", Chain: "c"}
		if got := deleteRule(check.Result{Redirect: &x}); !strings.HasPrefix(got.text, want) || want == leads && got.command != "sudo nft -a list table ip nat" || want != leads && got.command != "sudo nft -a list chain ip nat c" {
			t.Errorf("%s: %+v", rule, got)
		}
		x.Legacy = true
		if got := deleteRule(check.Result{Redirect: &x}); !strings.HasPrefix(got.text, want) || want == leads && got.command != "sudo iptables-legacy -t nat -S" || want != leads && got.command != "sudo iptables-legacy -t nat -S c" {
			t.Errorf("legacy, %s: %+v", rule, got)
		}
	}
	x := check.Redirect{Rule: "meta l4proto tcp match-set ports dst redirect to :9090", Table: "ip nat", Chain: "c", Legacy: true}
	if got := deleteRule(check.Result{Redirect: &x}).text; !strings.HasPrefix(got, set) {
		t.Errorf("ipset: %s", got)
	}
}

// TestRemedyOfASharedRule checks that no rule is to be deleted that has a set or map
// with other ports.
func TestRemedyOfASharedRule(t *testing.T) {
	for rule, shared := range map[string]bool{
		"dnat to tcp dport map @__map0":                         true,
		"tcp dport @ports redirect to :9090":                    true,
		"meta l4proto . dport vmap @services":                   true,
		"meta l4proto tcp dport 8080 redirect to :9090":         false,
		"meta l4proto tcp dport 80 @2,16,8 1 redirect to :9090": false,
	} {
		text := deleteRule(check.Result{Redirect: &check.Redirect{Rule: rule, Table: "ip t", Chain: "c"}}).text
		if strings.Contains(text, "set or map") != shared || strings.Contains(text, "delete the rule") == shared {
			t.Errorf("%s: %s", rule, text)
		}
	}
}
