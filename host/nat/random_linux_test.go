package nat

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// Variables of TestRandomRules: how many sets of rules it makes, and the number of
// the first one.
const (
	setsEnv = "PORTCHECK_TEST_NAT_SETS"
	seedEnv = "PORTCHECK_TEST_NAT_SEED"
)

// TestRandomRules writes random rules with nft, iptables-nft and iptables-legacy
// and compares the answers with what real callers reach.
func TestRandomRules(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft-restore", "ip6tables-nft-restore", "iptables-legacy-restore", "ip6tables-legacy-restore")
	w := newWorld(t)
	sets, seed := number(t, setsEnv, 30), number(t, seedEnv, 1)
	var total judge
	applied := 0
	for n := seed; n < seed+sets; n++ {
		clearRules(t)
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(n), 12))}
		scripts := g.scripts()
		for _, s := range scripts {
			if out, err := try(s.text, s.words...); err != nil {
				t.Logf("seed %d: %s: %v\n%s\n%s", n, s.words, err, out, s.text)
				continue
			}
			applied++
		}
		var j judge
		w.check(t, &j, g.questions(), g.drops, false)
		for _, f := range j.faults {
			t.Errorf("%s=%d: %s", seedEnv, n, f)
		}
		if len(j.faults) > 0 {
			for _, s := range scripts {
				t.Logf("%s\n%s", s.words, s.text)
			}
		}
		total.none, total.some, total.all = total.none+j.none, total.some+j.some, total.all+j.all
	}
	t.Logf("%d sets, %d scripts in use: of the calls, none %d, some %d, all %d", sets, applied, total.none, total.some, total.all)
	if total.none == 0 || total.all == 0 || applied < sets {
		t.Error("the sets show nothing")
	}
}

func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

type generator struct {
	*rand.Rand
	drops bool
}

type script struct {
	words []string
	text  string
}

func (g *generator) scripts() []script {
	all := g.some()
	for _, s := range all {
		// Replies of untracked calls are new connections, which rules can send away.
		g.drops = g.drops || strings.Contains(s.text, "notrack")
	}
	return all
}

func (g *generator) some() []script {
	var all []script
	for range 1 + g.IntN(2) {
		switch g.IntN(4) {
		case 0, 1:
			all = append(all, script{[]string{"nft", "-f", "-"}, g.nft(len(all))})
		case 2:
			v6 := g.IntN(3) == 0
			all = append(all, script{[]string{tool("nft", v6)}, g.iptables(v6)})
		case 3:
			v6 := g.IntN(3) == 0
			all = append(all, script{[]string{tool("legacy", v6)}, g.iptables(v6)})
		}
	}
	return all
}

func tool(kind string, v6 bool) string {
	if v6 {
		return "ip6tables-" + kind + "-restore"
	}
	return "iptables-" + kind + "-restore"
}

func (g *generator) questions() []Question {
	all := everyQuestion(8080, 8081)
	g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:8]
}

func (g *generator) one(texts ...string) string { return texts[g.IntN(len(texts))] }

func (g *generator) nft(number int) string {
	family := g.one("ip", "ip", "ip6", "inet")
	var b strings.Builder
	fmt.Fprintf(&b, "table %s t%d {\n", family, number)
	fmt.Fprintf(&b, "set ports {\ntype inet_service\nelements = { 80, %s }\n}\n", g.one("8080", "8081", "8080, 8081"))
	fmt.Fprintf(&b, "set ranges {\ntype inet_service\nflags interval\nelements = { 80, %s }\n}\n", g.one("8080-8090", "8000-8080", "8081-9000", "8079, 8082-8090"))
	chains := []string{"c", "b", "a"} // each may jump to those before it
	for i, name := range chains {
		fmt.Fprintf(&b, "chain %s {\n", name)
		for range 1 + g.IntN(3) {
			b.WriteString(g.nftRule(family, chains[:i], true) + "\n")
		}
		b.WriteString("}\n")
	}
	base := func(name, kind, hook string, priority int, nat bool) {
		fmt.Fprintf(&b, "chain %s {\ntype %s hook %s priority %d\n", name, kind, hook, priority)
		use := chains
		if !nat {
			use = nil
		}
		for range 1 + g.IntN(4) {
			b.WriteString(g.nftRule(family, use, nat) + "\n")
		}
		if !nat && hook == "prerouting" && g.IntN(4) == 0 {
			g.drops = true
			b.WriteString(g.one("", "iifname wan ", "tcp dport 8080 ", "udp dport 8000-8081 ", "meta mark 1 ") + "meta pkttype set " + g.one("host", "broadcast", "multicast", "other") + "\n")
		}
		b.WriteString("}\n")
	}
	if g.IntN(3) == 0 {
		base("raw", "filter", g.one("prerouting", "output"), -300, false)
	}
	if g.IntN(3) == 0 {
		base("mangle", "filter", g.one("prerouting", "output"), -150, false)
	}
	if g.IntN(4) == 0 {
		fmt.Fprintf(&b, "chain change {\ntype filter hook %s priority %s\n", g.one("prerouting", "input", "output", "postrouting"), g.one("-300", "-150", "0", "110"))
		for range 1 + g.IntN(2) {
			b.WriteString(g.nftChange(family) + "\n")
		}
		b.WriteString("}\n")
	}
	base("pre", "nat", "prerouting", -100, true)
	if g.IntN(2) == 0 {
		base("pre2", "nat", "prerouting", g.IntN(3)-101, true)
	}
	if g.IntN(3) > 0 {
		base("out", "nat", "output", -100, true)
	}
	b.WriteString("}\n")
	return b.String()
}

func (g *generator) nftRule(family string, chains []string, nat bool) string {
	v6 := family == "ip6"
	ip, addr, other, network := "ip", g.one("10.1.0.1", "10.1.0.9", "10.2.0.1", "127.0.0.1"), "10.2.0.2", "10.1.0.0/29"
	if family == "inet" {
		v6 = g.IntN(3) == 0
	}
	if v6 {
		ip, addr, other, network = "ip6", g.one("fd01::1", "fd02::1", "::1"), "fd02::2", "fd01::/64"
	}
	everywhere := map[bool]string{false: "0.0.0.0/0", true: "::/0"}[v6]
	protocol := g.one("tcp", "udp")
	port := g.one("8080", "8081", "9090")
	var words []string
	add := func(texts ...string) { words = append(words, g.one(texts...)) }
	for range g.IntN(3) {
		add(ip+" daddr "+addr, ip+" daddr != "+addr, ip+" daddr "+network, ip+" daddr { "+addr+", "+other+" }",
			"iifname wan", "iifname != wan", "iifname { lan, wan }", "iifname \"l*\"", "fib daddr type local", "fib daddr type != local",
			"meta mark 1", "meta mark & 3 == 1", "meta mark != 2", "ct mark 1", "ct state new", "ct state established,related", "ct state untracked",
			ip+" saddr "+map[bool]string{false: "10.1.0.2", true: "fd01::2"}[v6], "numgen random mod 3 < 1", "oifname lo", "ct direction original", "meta pkttype host", "meta pkttype != host", "ether type "+ip, "ether type != "+ip,
			protocol+" dport != { 22, 80-90 }", protocol+" dport 0-65535", protocol+" sport 0-65535", protocol+" sport != 0-65535", ip+" saddr "+everywhere, ip+" daddr != "+everywhere,
			"ct original "+ip+" daddr "+addr, "ct reply "+ip+" saddr != "+addr, "ct original protocol "+protocol, "meta l4proto { tcp, udp }", "meta l4proto != "+protocol,
			"ct status dnat", "ct status != assured", "iif lo", "iif != lo", "iiftype ether", "oiftype loopback", "fib saddr type local", "fib saddr type != local",
			"fib daddr type vmap { local : continue, unicast : return }", "iifname vmap { wan : continue, lan : return }", "ct state vmap { established : accept, new : continue }")
	}
	switch g.IntN(12) {
	case 0:
		add("meta l4proto { tcp, udp }")
	case 1:
		add("meta l4proto " + protocol)
	case 2:
		add(protocol+" dport @ports", protocol+" dport != @ports")
	case 3:
		add(protocol+" dport @ranges", protocol+" dport != @ranges")
	case 4:
		add(ip + " daddr . " + protocol + " dport { " + addr + " . " + port + ", " + other + " . 80 }")
	case 5:
		add("meta l4proto . th dport { tcp . 8080, udp . "+port+" } meta l4proto "+protocol, "meta l4proto "+protocol+" ct original proto-dst "+port,
			"meta l4proto "+protocol+" ct reply proto-src != { "+port+", 80 }", protocol+" dport != { 0-8079, 8082-65535 }", protocol+" dport vmap { "+port+" : continue } meta l4proto "+protocol)
	case 6:
		add(protocol+" dport 8000-8080", protocol+" dport != 8081-8090", protocol+" dport > 8080", protocol+" dport <= 8080")
	default:
		add(protocol + " dport " + port)
	}
	if g.IntN(10) == 0 {
		add("counter", "limit rate 1000/second")
	}
	to := map[bool]string{false: "ip", true: "ip6"}[v6]
	if family != "inet" {
		to = ""
	}
	target := g.one(other, other, addr)
	withPort := func(p string) string {
		if v6 {
			return "[" + target + "]:" + p
		}
		return target + ":" + p
	}
	if !nat {
		if g.IntN(25) == 0 {
			g.drops = true
			add("drop")
		} else {
			add("meta mark set 1", "meta mark set meta mark or 2", "ct mark set 1", "notrack", "accept", "return", "meta mark set ct mark")
		}
		return strings.Join(words, " ")
	}
	switch n := g.IntN(16); {
	case n < 4:
		add("redirect to :9090", "redirect to :"+port, "redirect", "redirect to :9090-9091", "redirect to :8080-8081", "redirect to :8000-9000 random")
	case n < 8:
		add("dnat "+to+" to "+target, "dnat "+to+" to "+withPort("9090"), "dnat "+to+" to "+withPort(port), "dnat "+to+" to "+withPort("9090-9091"))
	case n == 8 && !v6:
		words = words[:len(words)-1]
		add("dnat "+to+" to "+protocol+" dport map { 8080 : 10.2.0.2, 8081 : "+addr+" }", "dnat "+to+" to "+protocol+" dport map { 8080 : 10.2.0.2 . 9090, 9090 : 10.2.0.2 . 80 }",
			protocol+" dport 8080 dnat "+to+" to numgen random mod 2 map { 0 : 10.2.0.2, 1 : "+addr+" }", protocol+" dport 8081 dnat "+to+" to numgen inc mod 2 map { 0 : 10.2.0.2, 1 : 10.2.0.3 }")
	case n < 11 && len(chains) > 0:
		c := g.one(chains...)
		add("jump "+c, "goto "+c, "meta mark vmap { 0 : jump "+c+", 1 : accept }", protocol+" dport vmap { 8080 : goto "+c+", 8081-8090 : return }")
	case n < 13:
		add("return", "accept", "continue")
	case n == 13 && g.IntN(3) == 0:
		g.drops = true
		add("drop")
	default:
		add("meta mark set 1", "meta mark set 3", "ct mark set 1", "meta mark set meta mark or 2")
	}
	return strings.Join(words, " ")
}

// nftChange returns a rule that changes headers of calls or of replies without NAT.
func (g *generator) nftChange(family string) string {
	ip, own, caller, other := "ip", g.one("10.1.0.1", "10.1.0.9"), g.one("10.1.0.2", "10.1.0.3"), g.one("10.1.0.9", "10.2.0.2", "10.1.0.77")
	if family == "ip6" || family == "inet" && g.IntN(3) == 0 {
		ip, own, caller, other = "ip6", "fd01::1", "fd01::2", g.one("fd02::1", "fd02::2", "fd01::77")
	}
	protocol := g.one("tcp", "udp")
	port := g.one("8080", "8081", "9090")
	var words []string
	for range g.IntN(3) {
		words = append(words, g.one(ip+" saddr "+own, ip+" daddr "+own, ip+" daddr != "+own, ip+" saddr "+caller, ip+" daddr "+caller, "iifname wan", "oifname wan", "oifname != lo", "iifname lo",
			"meta l4proto "+protocol, protocol+" dport "+port, protocol+" sport "+port, protocol+" sport { 80, "+port+" }", protocol+" sport != "+port, "meta mark 1", "ct state new", "ct state established"))
	}
	return strings.Join(append(words, g.one(ip+" saddr set "+other, ip+" daddr set "+other, ip+" saddr set "+own, ip+" daddr set "+own, protocol+" sport set 9090", protocol+" dport set 9090",
		protocol+" sport set "+port, protocol+" dport set "+port)), " ")
}

func (g *generator) iptables(v6 bool) string {
	var b strings.Builder
	if g.IntN(3) == 0 {
		b.WriteString("*raw\n")
		for range 1 + g.IntN(2) {
			fmt.Fprintf(&b, "-A %s %s -j %s\n", g.one("PREROUTING", "OUTPUT"), g.conditions(v6), g.one("CT --notrack", "MARK --set-xmark 0x1/0x1", "ACCEPT"))
		}
		b.WriteString("COMMIT\n")
	}
	if g.IntN(3) == 0 {
		b.WriteString("*mangle\n")
		for range 1 + g.IntN(2) {
			fmt.Fprintf(&b, "-A %s %s -j %s\n", g.one("PREROUTING", "OUTPUT"), g.conditions(v6), g.one("CONNMARK --set-mark 1", "MARK --set-xmark 0x1/0xff", "CONNMARK --save-mark", "CONNMARK --restore-mark", "RETURN"))
		}
		b.WriteString("COMMIT\n")
	}
	b.WriteString("*nat\n:A - [0:0]\n:B - [0:0]\n")
	chains := []string{"PREROUTING", "OUTPUT", "A", "B"}
	for range 3 + g.IntN(7) {
		at := g.IntN(len(chains))
		fmt.Fprintf(&b, "-A %s %s -m comment --comment \"some text\" %s\n", chains[at], g.conditions(v6), g.iptablesTarget(v6, chains[max(at+1, 2):]))
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func (g *generator) conditions(v6 bool) string {
	protocol := g.one("tcp", "udp")
	words := []string{"-p " + protocol}
	addr, source := g.one("10.1.0.1", "10.1.0.9", "10.1.0.0/29", "127.0.0.1", "10.2.0.2"), "10.1.0.2"
	if v6 {
		addr, source = g.one("fd01::1", "fd01::/64", "::1", "fd02::2"), "fd01::2"
	}
	port := g.one("8080", "8081", "9090")
	words = append(words, g.one("--dport "+port, "--dport "+port, "--dport "+port, "! --dport "+port, "--dport 8000:8080", "-m multiport --dports 80,"+port,
		"-m multiport --dports 8000:8080,9000", "-m multiport ! --dports 8080", "-m multiport --ports 8081", "", "--dport 0:65535", "-m multiport --dports 0:65535", "-m multiport ! --dports 0:65535",
		"-m multiport ! --dports 0:8079,8082:65535", "--sport 0:65535 --dport "+port, "-m conntrack --ctorigdstport "+port, "-m conntrack ! --ctorigdstport "+port+" --ctproto "+protocol))
	for range g.IntN(3) {
		words = append(words, g.one("-d "+addr, "! -d "+addr, "-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL", "-m mark --mark 0x1/0x1",
			"-m mark ! --mark 0x1", "-m connmark --mark 1", "-m conntrack --ctstate NEW", "-m conntrack ! --ctstate NEW,UNTRACKED", "-s "+source,
			"-m statistic --mode random --probability 0.5", "-m state --state NEW", "-m limit --limit 100/s", "-m conntrack --ctorigdst "+addr, "-m conntrack ! --ctreplsrc "+addr,
			"-m conntrack --ctdir ORIGINAL", "-m conntrack --ctstate NEW --ctdir REPLY", "-m conntrack --ctstatus ASSURED", "-m conntrack ! --ctstatus SEEN_REPLY", "-m addrtype --src-type LOCAL",
			"-m addrtype ! --src-type LOCAL", "-m addrtype --dst-type UNICAST"))
	}
	text := strings.Join(words, " ")
	for _, option := range []string{"! -d", "-d", "-s", "-m limit", "-m statistic"} {
		if strings.Count(" "+text, " "+option+" ") > 1 || option == "-d" && strings.Count(" "+text, " -d ") > 1 {
			return "-p " + protocol + " --dport " + port
		}
	}
	return text
}

func (g *generator) iptablesTarget(v6 bool, chains []string) string {
	other, own := "10.2.0.2", g.one("10.1.0.1", "10.1.0.9")
	withPort := func(a, p string) string { return a + ":" + p }
	if v6 {
		other, own = "fd02::2", "fd01::1"
		withPort = func(a, p string) string { return "[" + a + "]:" + p }
	}
	texts := []string{
		"-j REDIRECT --to-ports 9090", "-j REDIRECT", "-j REDIRECT --to-ports 8080-8081", "-j DNAT --to-destination " + other,
		"-j DNAT --to-destination " + withPort(other, "9090"), "-j DNAT --to-destination " + withPort(own, "9090-9091"), "-j DNAT --to-destination " + own,
		"-j RETURN", "-j ACCEPT", "-j MARK --set-xmark 0x1/0x1", "-j CONNMARK --set-mark 1", "",
	}
	if !v6 {
		texts = append(texts, "-j DNAT --to-destination 10.2.0.2:9090-9091", "-j NETMAP --to 10.2.0.0/24")
	}
	for _, c := range chains {
		texts = append(texts, "-j "+c, "-g "+c, "-j "+c)
	}
	return g.one(texts...)
}
