package nat

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// portForms are rules for ports, and whether the last is one for every port. The first word
// is who writes them. Rules before the last, which redirects, are separated by semicolons.
var portForms = []struct {
	form  string
	every bool
}{
	{"nft", true},
	{"nft tcp dport >= 8080", false},
	{"nft tcp dport > 1024", false},
	{"nft tcp dport > 1023", true},
	{"nft tcp dport >= 1024", true},
	{"nft tcp dport < 40000", false},
	{"nft tcp dport <= 64510", false},
	{"nft tcp dport <= 64511", true},
	{"nft tcp dport 8080-65535", false},
	{"nft tcp dport 1024-65535", true},
	{"nft tcp dport 1025-65535", false},
	{"nft tcp dport 600-65000", false},
	{"nft tcp dport 600-65400", true},
	{"nft tcp dport != 22", true},
	{"nft tcp dport != 0-1023", true},
	{"nft tcp dport != 0-1024", false},
	{"nft tcp dport != 9000-50000", false},
	{"nft tcp dport { 22, 8080-65535 }", false},
	{"nft tcp dport { 22, 1024-65535 }", true},
	{"nft tcp dport { 22-8079, 8080-65535 }", true},
	{"nft tcp dport != { 22, 80 }", true},
	{"nft tcp dport != { 1-900, 9000-9200 }", false},
	{"nft ip daddr . tcp dport { 10.1.0.0/24 . 8080-65535 }", false},
	{"nft ip daddr . tcp dport { 10.1.0.0/24 . 1024-65535, 10.2.0.1 . 80 }", true},
	{"nft ip daddr . tcp dport { 10.1.0.0/24 . 1-8079, 10.1.0.0/24 . 8080-65535 }", true},
	{"nft ip daddr . tcp dport { 10.1.0.0/24 . 8080-65535, 10.2.0.0/24 . 1-8079 }", false},
	{"nft ip daddr . tcp dport != { 10.1.0.0/24 . 1-8079 }", false},
	{"nft ip daddr . tcp dport != { 10.2.0.0/24 . 1-8079 }", true},
	{"nft tcp dport vmap { 22 : accept, 8080-65535 : continue }", false},
	{"nft tcp dport vmap { 0-1023 : accept, 1024-65535 : continue }", true},
	{"nft tcp dport vmap { 22 : accept }; ", true},
	{"nft tcp dport vmap { 22 : accept, 1000-8079 : accept }; ", false},
	{"nft tcp dport vmap { 22 : accept, 8080 : continue, * : accept }", false},
	{"nft tcp dport vmap { 22 : accept, * : continue }", true},
	{"nft tcp dport vmap { 1000-8079 : accept, * : continue }", false},
	{"nft tcp dport 22 return; ", true},
	{"nft tcp dport 0-1023 return; ", true},
	{"nft tcp dport 1-8079 return; ", false},
	{"nft tcp dport < 8080 return; ", false},
	{"nft tcp dport { 22, 1000-8079 } accept; ", false},
	{"nft tcp dport { 22, 80 } accept; ", true},
	{"nft tcp dport != 8000-8100 accept; ", false},
	{"nft tcp dport != 8080 return; ", false},
	{"nft meta l4proto tcp ct original proto-dst 8080-65535", false},
	{"nft meta l4proto tcp ct original proto-dst >= 1024", true},
	// Rules that decide nothing for the call.
	{"nft tcp dport 8080 counter; ", true},
	{"nft tcp dport 1-8079 counter; ", true},
	{"nft tcp dport 8080 iifname other return; ", true},
	{"nft tcp dport 8080 ip daddr 10.1.0.77 accept; ", true},
	{"nft tcp dport 8080 tcp dport 8081 return; ", true},
	{"nft tcp dport 8080 jump a; ", true},

	{"xt", true},
	{"xt --dport 8080:", false},
	{"xt --dport 8080:40848", false},
	{"xt --dport 1024:65535", true},
	{"xt --dport 1025:65535", false},
	{"xt ! --dport 22", true},
	{"xt ! --dport 0:1023", true},
	{"xt ! --dport 1:8079", false},
	{"xt -m multiport --dports 22,8080:65535", false},
	{"xt -m multiport --dports 22,1024:65535", true},
	{"xt -m multiport ! --dports 22,80", true},
	{"xt -m multiport ! --dports 22,1000:8079", false},
	{"xt -m conntrack --ctorigdstport 8080:65535", false},
	{"xt -m conntrack --ctorigdstport 1024:65535", true},
	{"xt -m conntrack ! --ctorigdstport 1:8079", false},
	{"xt --dport 22 -j RETURN; ", true},
	{"xt --dport 0:1023 -j RETURN; ", true},
	{"xt --dport 1:8079 -j RETURN; ", false},
	{"xt ! --dport 8000:8100 -j ACCEPT; ", false},
	{"xt -m multiport --dports 1:1000,2000:3000 -j RETURN; ", false},
	{"xt -m conntrack --ctorigdstport 1:8079 -j RETURN; ", false},
	{"xt -m conntrack --ctorigdstport 1:8079 --ctorigdst 10.1.0.77 -j RETURN; ", true},
	{"xt --dport 8080 -m comment --comment x; ", true},
	{"xt --dport 8080 -i other -j RETURN; ", true},
	{"xt --dport 8080 -d 10.1.0.77 -j ACCEPT; ", true},
}

// portRules returns commands for sh that write a form.
func portRules(form string) (shells []string) {
	who, text, _ := strings.Cut(form, " ")
	rules := strings.Split(text, "; ")
	if who == "nft" {
		rules[len(rules)-1] += " meta l4proto tcp redirect to :9090"
		return []string{"nft -f - <<'END'\ntable ip t {\nchain a { ip daddr 10.1.0.77 accept; }\n" +
			"chain raw { type filter hook prerouting priority raw; tcp dport 8080 accept; }\nchain pre {\ntype nat hook prerouting priority -100\n" + strings.Join(rules, "\n") + "\n}\n}\nEND\n"}
	}
	rules[len(rules)-1] += " -j REDIRECT --to-ports 9090"
	for _, tool := range []string{"iptables-nft", "iptables-legacy"} {
		s := ""
		for _, r := range rules {
			s += tool + " -t nat -A PREROUTING -p tcp " + r + "\n"
		}
		shells = append(shells, s)
	}
	return shells
}

// everyPort checks that all callers from outside are sent away, by a rule for every port or
// by one for some.
func (w *world) everyPort(t *testing.T, shell string, every bool) {
	t.Helper()
	q := []Question{{Protocol: port.TCP, Addr: netip.MustParseAddr("10.1.0.1"), Port: 8080}}
	answers, kept := bothAnswers(t, q)
	if !strings.Contains(shell, "match-set") && !reflect.DeepEqual(answers, kept) {
		t.Errorf("%s\nkept rules answer %+v, not %+v", shell, kept, answers)
	}
	for _, c := range w.callers(q[0].Addr) {
		if c.space == nil {
			continue
		}
		c.space.do(func() {
			if got := reach(port.TCP, c.from, netip.AddrPortFrom(q[0].Addr, q[0].Port), patience); got.Port() != 9090 {
				t.Errorf("%s\n%s reaches %s", shell, c.name, got)
			}
		})
	}
	if len(answers[0]) == 0 {
		t.Errorf("%s\nnobody is sent away", shell)
	}
	for _, r := range answers[0] {
		if r.All == every || every && r.Reason != EveryPort {
			t.Errorf("%s\n%+v, want a rule for every port: %v", shell, r, every)
		}
	}
}

// TestRulesForEveryPort tries rules for all ports, for all that need no privilege, and for
// fewer. Those for fewer select the port.
func TestRulesForEveryPort(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft", "iptables-legacy")
	w := newWorld(t)
	for _, c := range portForms {
		for _, shell := range portRules(c.form) {
			clearRules(t)
			run(t, "", "sh", "-ec", shell)
			w.everyPort(t, shell, c.every)
		}
	}
	clearRules(t)
}

// TestSetsOfPorts is TestRulesForEveryPort for sets of ipset.
func TestSetsOfPorts(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "ipset", "iptables-nft", "iptables-legacy")
	w := newWorld(t)
	if out, err := try("", "ipset", "create", "other", "bitmap:port", "range", "0-65535"); err != nil {
		testbed.Missing(t, "no ipset in the kernel: "+out)
	}
	run(t, "add other 1-8079\n", "ipset", "restore")
	for _, c := range []struct {
		ports, form string
		every       bool
	}{
		{"8080-65535", "xt -m set --match-set s dst", false},
		{"1024-65535", "xt -m set --match-set s dst", true},
		{"22", "xt -m set ! --match-set s dst", true},
		{"1-8079", "xt -m set ! --match-set s dst", false},
		{"22", "xt -m set --match-set s dst -j RETURN; ", true},
		{"1-8079", "xt -m set --match-set s dst -j RETURN; ", false},
		{"8080-65535", "xt -m set --match-set l dst", true},
		{"8080", "xt -m set --match-set l dst", false},
	} {
		for _, shell := range portRules(c.form) {
			run(t, "create s bitmap:port range 0-65535\nadd s "+c.ports+"\ncreate l list:set\nadd l s\nadd l other\n", "ipset", "restore")
			run(t, "", "sh", "-ec", shell)
			w.everyPort(t, c.ports+"\n"+shell, c.every)
			clearRules(t)
			for deadline := time.Now().Add(patience); ; { // the kernel lets go of them some time later
				_, first := try("", "ipset", "destroy", "l")
				out, err := try("", "ipset", "destroy", "s")
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(first, out)
				}
			}
		}
	}
}
