package nat

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestIPSets compares answers about rules that refer to sets of ipset with what real
// callers reach, for both kinds of iptables.
func TestIPSets(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "ipset", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
	w := newWorld(t)
	if out, err := exec.Command("ipset", "create", "empty", "hash:ip").CombinedOutput(); err != nil {
		testbed.Missing(t, "no ipset in the kernel: "+string(out))
	}
	const redirect = " -j REDIRECT --to-ports 9090"
	for _, c := range []struct {
		name  string
		sets  string // for ipset restore
		rules string // each for PREROUTING and OUTPUT of nat
		v6    bool
		vague bool
		none  bool // nobody is sent away
		text  string
	}{
		{name: "an address", sets: "create s hash:ip\nadd s 10.1.0.1", rules: "-p tcp --dport 8080 -m set --match-set s dst", text: "tcp dport 8080 match-set s dst redirect to :9090"},
		{name: "not an address", sets: "create s hash:ip\nadd s 10.1.0.1", rules: "-p tcp --dport 8080 -m set ! --match-set s dst", text: "! match-set s dst"},
		{name: "an empty set", sets: "create s hash:ip,port", rules: "-p tcp -m set --match-set s dst,dst", none: true},
		{name: "address and port", sets: "create s hash:ip,port\nadd s 10.1.0.1,tcp:8080\nadd s 10.1.0.9,udp:8081", rules: "-p tcp -m set --match-set s dst,dst\n-p udp -m set --match-set s dst,dst", text: "match-set s dst,dst"},
		{name: "a network and an exception", sets: "create s hash:net\nadd s 10.1.0.0/24\nadd s 10.1.0.9 nomatch", rules: "-p tcp --dport 8080 -m set --match-set s dst"},
		{name: "network and port", sets: "create s hash:net,port\nadd s 10.1.0.0/29,tcp:8080\nadd s 10.1.0.9,udp:8081", rules: "-p tcp -m set --match-set s dst,dst\n-p udp -m set --match-set s dst,dst"},
		{name: "port alone", sets: "create s bitmap:port range 8000-8080\nadd s 8080", rules: "-p tcp -m set --match-set s dst\n-p udp -m set --match-set s dst"},
		{name: "addresses in a bitmap", sets: "create s bitmap:ip range 10.1.0.0-10.1.0.255\nadd s 10.1.0.9", rules: "-p tcp --dport 8080:8081 -m set --match-set s dst"},
		{name: "three parts", sets: "create s hash:ip,port,ip\nadd s 10.1.0.1,tcp:8080,10.1.0.1\ncreate n hash:ip,port,net\nadd n 10.1.0.9,udp:8080,10.1.0.0/24", rules: "-p tcp -m set --match-set s dst,dst,dst\n-p udp -m set --match-set n dst,dst,dst"},
		{name: "three parts with two networks", sets: "create s hash:net,port,net\nadd s 10.1.0.0/24,udp:8080,10.1.0.9", rules: "-p udp -m set --match-set s dst,dst,dst"},
		{name: "two networks", sets: "create s hash:net,net\nadd s 10.1.0.0/24,10.1.0.1", rules: "-p udp --dport 8080 -m set --match-set s dst,dst"},
		{name: "a list", sets: "create a hash:ip\nadd a 10.1.0.1\ncreate b hash:net\nadd b 10.2.0.0/24\ncreate s list:set\nadd s a\nadd s b", rules: "-p tcp --dport 8080 -m set --match-set s dst"},
		{name: "more parts than the set has", sets: "create s hash:ip\nadd s 10.1.0.1", rules: "-p tcp --dport 8080 -m set --match-set s dst,src"},
		{name: "fewer parts than the set has", sets: "create s hash:ip,port\nadd s 10.1.0.1,tcp:8080", rules: "-p tcp -m set --match-set s dst", none: true},
		{name: "IPv6", v6: true, sets: "create s hash:ip,port family inet6\nadd s fd01::1,tcp:8080\ncreate n hash:net family inet6\nadd n fd02::/64", rules: "-p tcp -m set --match-set s dst,dst\n-p udp --dport 8081 -m set --match-set n dst"},
		{name: "counters that are updated", sets: "create s hash:ip counters\nadd s 10.1.0.1", rules: "-p tcp --dport 8080 -m set --match-set s dst ! --update-counters"},
		{name: "counters that decide", sets: "create s hash:ip counters\nadd s 10.1.0.1", rules: "-p tcp --dport 8080 -m set --match-set s dst --packets-gt 2", vague: true},
		{name: "a source", sets: "create s hash:ip\nadd s 10.1.0.2", rules: "-p tcp --dport 8080 -m set --match-set s src", vague: true, text: "match-set s src"},
		{name: "an exception that is wanted", sets: "create s hash:net\nadd s 10.1.0.0/24\nadd s 10.1.0.9 nomatch", rules: "-p tcp --dport 8080 -m set --match-set s dst --return-nomatch", vague: true},
		{name: "a network and an interface", sets: "create s hash:net,iface\nadd s 10.1.0.0/24,wan\nadd s 10.1.0.9,wan nomatch", rules: "-p tcp --dport 8080 -m set --match-set s dst,src\n-p udp --dport 8080 -m set ! --match-set s dst,src", text: "match-set s dst,src"},
		{name: "a network and the interface of local calls", sets: "create s hash:net,iface\nadd s 10.1.0.0/24,lo\nadd s 10.2.0.1,wan", rules: "-p tcp --dport 8080 -m set --match-set s dst,dst"},
		{name: "an interface that calls don't have", sets: "create s hash:net,iface\nadd s 10.1.0.0/24,lan0\nadd s 10.1.0.9,eth0", rules: "-p tcp --dport 8080 -m set --match-set s dst,src\n-p tcp --dport 8080 -m set --match-set s dst,dst", none: true},
		{name: "interfaces whose names start so", sets: "create s hash:net,iface\nadd s 10.0.0.0/8,wa wildcard", rules: "-p tcp --dport 8080 -m set --match-set s dst,src"},
		{name: "a list with interfaces", sets: "create a hash:net,iface\nadd a 10.1.0.9,wan\ncreate s list:set\nadd s a", rules: "-p tcp --dport 8080 -m set --match-set s dst,src"},
		{name: "an interface for IPv6", v6: true, sets: "create s hash:net,iface family inet6\nadd s fd01::/64,wan", rules: "-p tcp --dport 8080 -m set --match-set s dst,src"},
		{name: "an interface and a source", sets: "create s hash:net,iface\nadd s 10.1.0.2,wan", rules: "-p tcp --dport 8080 -m set --match-set s src,src", vague: true},
		{name: "a mark", sets: "create s hash:ip,mark\nadd s 10.1.0.1,0\nadd s 10.1.0.9,5", rules: "-p tcp --dport 8080 -m set --match-set s dst,dst"},
		{name: "a MAC address", sets: "create s hash:mac\nadd s 02:00:00:00:00:01", rules: "-p tcp --dport 8080 -m set --match-set s src", vague: true},
		{name: "a MAC address in a bitmap", sets: "create s bitmap:ip,mac range 10.1.0.0/24\nadd s 10.1.0.1", rules: "-p tcp --dport 8080 -m set --match-set s dst,src", vague: true},
		{name: "marks and queues beside elements", sets: "create s hash:ip,port skbinfo\nadd s 10.1.0.1,tcp:8080 skbmark 0x7 skbqueue 1", rules: "-p tcp -m set --match-set s dst,dst"},
	} {
		for _, kind := range []string{"nft", "legacy"} {
			t.Run(c.name+" "+kind, func(t *testing.T) {
				clearRules(t)
				destroyIPSets(t)
				if out, err := try(c.sets+"\n", "ipset", "restore"); err != nil && strings.Contains(out, "set type not supported") {
					t.Logf("this kernel lacks a type: %s", out)
					return
				} else if err != nil {
					t.Fatal(out)
				}
				tool := "iptables-" + kind
				if c.v6 {
					tool = "ip6tables-" + kind
				}
				for rule := range strings.Lines(c.rules) {
					for _, chain := range []string{"PREROUTING", "OUTPUT"} {
						run(t, "", strings.Fields(tool+" -t nat -A "+chain+" "+rule+redirect)...)
					}
				}
				w.judgeIPSets(t, !c.vague, c.none, c.text)
			})
		}
	}
	clearRules(t)
}

// destroyIPSets destroys all sets. The kernel lets go of those of rules that are gone
// some time later.
func destroyIPSets(t *testing.T) {
	t.Helper()
	run(t, "", "ipset", "flush")
	for deadline := time.Now().Add(patience); ; {
		out, err := try("", "ipset", "destroy")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(out)
		}
	}
}

// judgeIPSets is check for rules with sets of ipset, which can't be kept: those make
// kept rules ones for some callers.
func (w *world) judgeIPSets(t *testing.T, certain, none bool, text string) {
	t.Helper()
	questions := everyQuestion(8080, 8081)
	answers, kept := bothAnswers(t, questions)
	for i, a := range answers {
		for _, r := range a {
			if k := find(kept[i], r.Interface, r.Addr); k == nil || k.All {
				t.Errorf("%+v: kept rules answer %+v, and the rules themselves %+v", questions[i], kept[i], r)
			}
			if !strings.Contains(r.Rule.Text, text) {
				t.Errorf("the rule is %q, without %q", r.Rule.Text, text)
			}
		}
	}
	var j judge
	w.call(t, &j, questions, answers, false, certain)
	t.Logf("none %d, some %d, all %d", j.none, j.some, j.all)
	if len(j.faults) > 0 {
		t.Errorf("%d faults:\n%s", len(j.faults), strings.Join(j.faults[:min(len(j.faults), 10)], "\n"))
	}
	if (j.all == 0) != (none || !certain) || (j.some == 0) != certain {
		t.Errorf("none %d, some %d, all %d", j.none, j.some, j.all)
	}
}

// The target SET can take a packet's mark from a set.
func TestMarkOfAnIPSet(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "ipset", "iptables-nft")
	testbed.NeedRoot(t)
	if out, err := exec.Command("ipset", "create", "s", "hash:ip", "skbinfo").CombinedOutput(); err != nil {
		testbed.Missing(t, "no ipset in the kernel: "+string(out))
	}
	run(t, "", "ip", "link", "set", "lo", "up")
	run(t, "", "ipset", "add", "s", "127.0.0.1", "skbmark", "0x7")
	for _, rule := range []string{"-t mangle -A OUTPUT -j SET --map-set s dst --map-mark", "-t nat -A OUTPUT -p tcp -m mark --mark 7 --dport 8080 -j REDIRECT --to-ports 9090"} {
		run(t, "", append([]string{"iptables-nft"}, strings.Fields(rule)...)...)
	}
	answers, err := Read(context.Background(), []Question{{Protocol: port.TCP, Addr: netip.MustParseAddr("127.0.0.1"), Port: 8080}})
	if err != nil {
		t.Fatal(err)
	}
	if len(answers[0]) != 1 || answers[0][0].All {
		t.Errorf("%+v", answers[0])
	}
}

// What a set lacks now, the first call may put into it. So nothing is certain about a
// rule that refers to a set that packets change.
func TestSetsThatPacketsChange(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "ipset", "nft", "iptables-nft", "iptables-legacy")
	testbed.NeedRoot(t)
	run(t, "", "ip", "link", "set", "lo", "up")
	judge := func(t *testing.T) {
		t.Helper()
		answers, err := Read(context.Background(), []Question{{Protocol: port.TCP, Addr: netip.MustParseAddr("127.0.0.1"), Port: 8080}})
		if err != nil {
			t.Fatal(err)
		}
		if len(answers[0]) != 1 || answers[0][0].All {
			t.Errorf("%+v", answers[0])
		}
	}
	t.Run("nft", func(t *testing.T) {
		run(t, `table ip t {
	set s { type inet_service; flags dynamic,timeout; timeout 1m; }
	chain c {
		type nat hook output priority -100;
		tcp dport 8080 update @s { tcp dport }
		tcp dport @s redirect to :9090
	}
}
`, "nft", "-f", "-")
		judge(t)
		run(t, "", "nft", "flush", "ruleset")
	})
	if out, err := exec.Command("ipset", "create", "s", "hash:ip").CombinedOutput(); err != nil {
		testbed.Missing(t, "no ipset in the kernel: "+string(out))
	}
	for _, tool := range []string{"iptables-nft", "iptables-legacy"} {
		for _, rules := range []string{
			"-t mangle -A OUTPUT -p tcp --dport 8080 -j SET --add-set s dst\n-t nat -A OUTPUT -p tcp --dport 8080 -m set --match-set s dst -j REDIRECT --to-ports 9090",
			"-t raw -A OUTPUT -j SET --del-set s dst\n-t nat -A OUTPUT -p tcp --dport 8080 -m set ! --match-set s dst -j REDIRECT --to-ports 9090",
		} {
			t.Run(tool, func(t *testing.T) {
				for rule := range strings.Lines(rules) {
					run(t, "", append([]string{tool}, strings.Fields(rule)...)...)
				}
				judge(t)
				for _, table := range []string{"mangle", "raw", "nat"} {
					run(t, "", tool, "-t", table, "-F")
				}
			})
		}
	}
}
