package nat

import (
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// rewriting returns a table with rules that change packets before they are tracked. The
// answers are changed back.
func rewriting(rules string) string {
	return "table ip t {\nchain pre { type filter hook prerouting priority raw; " + rules + "; }\nchain post { type filter hook postrouting priority 350\n" +
		"ip saddr 10.2.0.2 ip saddr set 10.1.0.1\ntcp sport 9090 tcp sport set 8080\nudp sport 9091 udp sport set 8080\n}\n}\n"
}

// kindSet returns a table that sets, before NAT, for whom calls are.
func kindSet(kind string) string {
	return "table inet d {\nchain pre { type filter hook prerouting priority raw; meta l4proto { tcp, udp } th dport 8080 meta pkttype set " + kind + "; }\n}\n"
}

// sentAway returns a table that redirects calls of other machines.
func sentAway(protocol string) string {
	return "table inet t {\nchain pre {\ntype nat hook prerouting priority -100\n" + protocol + " dport 8080 redirect to :9090\n}\n}\n"
}

// TestMatrix compares answers about real rules with what real callers reach.
func TestMatrix(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
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
		// wantSome is like wantAll, for an answer that is not certain.
		wantSome bool
		wantNone bool // no answer may say that somebody is sent away
		// wantArrived wants callers who are sent away to reach a server.
		wantArrived bool
	}{
		{name: "nothing"},
		{name: "redirect", nft: "tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "redirect to the same port", nft: "tcp dport 8080 redirect to :8080"},
		{name: "redirect without a port", nft: "tcp dport 8080 redirect"},
		{name: "to another machine", nft: "udp dport 8080 dnat to 10.2.0.2:9090", wantAll: true},
		{name: "to another machine, same port", nft: "udp dport 8080 dnat to 10.2.0.2", wantAll: true},
		{name: "to an own address", nft: "tcp dport 8080 dnat to 10.1.0.9:8080"},
		{name: "to another own port", nft: "tcp dport 8080 dnat to 10.1.0.9:9090", wantAll: true},
		{name: "port within its range", nft: "tcp dport 8080 dnat to 10.1.0.1:8080-8090"},
		{name: "port outside its range", nft: "tcp dport 8080 dnat to 10.1.0.1:9090-9091", wantAll: true},
		{name: "one address", nft: "ip daddr 10.1.0.1 tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "a network", nft: "ip daddr 10.1.0.0/29 tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "not an address", nft: "ip daddr != 10.1.0.1 tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "one interface", nft: "iifname \"wan\" tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "names that start so", nft: "iifname \"w*\" tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "interface by index", nft: "iif \"lan\" tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "not an interface", nft: "iifname != \"wan\" tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "way out", nft: "oifname \"lo\" tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "local addresses", nft: "fib daddr type local tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "local on the interface", script: "table ip t {\nchain pre {\ntype nat hook prerouting priority -100;\nfib daddr . iif type local tcp dport 8080 redirect to :9090\n}\n}\n", vague: true},
		{name: "addresses of others", nft: "fib daddr type != local tcp dport 8080 redirect to :9090"},
		{name: "set", nft: "tcp dport { 80, 8080, 9999 } redirect to :9090", wantAll: true},
		{name: "set with ranges", nft: "tcp dport { 80, 8000-8080, 9999 } redirect to :9090", wantAll: true},
		{name: "not in a set", nft: "tcp dport { 80, 8000-8080, 9999 } accept; tcp dport 8000-8090 redirect to :9090", wantAll: true},
		{name: "open range", nft: "tcp dport >= 8081 redirect to :9090", vague: true},
		{name: "range", nft: "tcp dport 8081-9000 redirect to :9090", wantAll: true},
		{name: "not a range", nft: "tcp dport 7000-9500 tcp dport != 8081-9000 redirect to :9090", wantAll: true},
		{name: "concatenation", nft: "ip daddr . tcp dport { 10.1.0.1 . 8080, 10.1.0.9 . 8081 } redirect to :9090", wantAll: true},
		{name: "concatenation of ranges", nft: "ip daddr . tcp dport { 10.1.0.0/29 . 8000-8080, 10.1.0.9 . 8081 } redirect to :9090", wantAll: true},
		{name: "map", nft: "dnat to tcp dport map { 8080 : 10.2.0.2, 8081 : 10.2.0.3 }", wantAll: true},
		{name: "map with ports", nft: "dnat to tcp dport map { 8080 : 10.2.0.2 . 9090, 8081 : 10.2.0.3 . 8081 }", wantAll: true},
		{name: "numgen", nft: "tcp dport 8080 dnat to numgen random mod 2 map { 0 : 10.2.0.2, 1 : 10.2.0.3 }", wantAll: true},
		{name: "numgen with a gap", nft: "tcp dport 8080 dnat to numgen inc mod 3 map { 0 : 10.2.0.2, 1 : 10.2.0.3 }", vague: true},
		{name: "hash", nft: "tcp dport 8080 dnat to jhash ip saddr mod 2 map { 0 : 10.2.0.2, 1 : 10.2.0.3 }", wantAll: true},
		{name: "source", nft: "ip saddr 10.1.0.2 tcp dport 8080 redirect to :9090", vague: true},
		{name: "source returns", nft: "ip saddr 10.1.0.2 return; tcp dport 8080 redirect to :9090", vague: true},
		{name: "probability", nft: "numgen random mod 2 0 tcp dport 8080 redirect to :9090", vague: true},
		{name: "every port", nft: "meta l4proto tcp redirect to :9090", vague: true},
		{name: "accept before", nft: "tcp dport 8080 accept; tcp dport 8080-8081 redirect to :9090", wantAll: true},
		{name: "drop", nft: "tcp dport 8080 drop; tcp dport 8080-8081 redirect to :9090", drops: true, wantAll: true},
		{name: "new connections", nft: "ct state new tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "established connections", nft: "ct state established tcp dport 8080 redirect to :9090"},
		{name: "original port", nft: "meta l4proto tcp ct original proto-dst 8080 redirect to :9090", wantAll: true},
		{name: "shifted port", nft: "meta l4proto tcp @th,16,16 & 0xfff0 == 0x1f90 redirect to :9090", wantAll: true},
		{name: "marks", nft: "tcp dport 8080 meta mark set 0x10; meta mark & 0xf0 == 0x10 meta l4proto tcp redirect to :9090", wantAll: true},
		{name: "no mark", nft: "meta mark 7 tcp dport 8080 redirect to :9090"},
		{name: "ct mark", nft: "tcp dport 8080 ct mark set 5; ct mark 5 tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "limit", nft: "limit rate 1/hour tcp dport 8080 redirect to :9090", vague: true},
		{name: "first byte of a SYN", nft: "tcp flags & (syn|ack) == syn tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "jumps", script: `table ip t {
			chain a { tcp dport 8081 return; tcp dport 8000-9000 goto b; }
			chain b { ip daddr 10.1.0.9 return; meta l4proto { tcp, udp } redirect to :9090; }
			chain pre { type nat hook prerouting priority -100; jump a; tcp dport 8081 dnat to 10.2.0.2; }
			chain out { type nat hook output priority -100; jump a; }
		}`, wantAll: true},
		{name: "verdict map", script: `table ip t {
			map m { type inet_proto . inet_service : verdict; elements = { tcp . 8080 : goto b, udp . 8080 : jump c } }
			chain b { meta l4proto { tcp, udp } redirect to :9090; }
			chain c { ip daddr 10.1.0.1 meta l4proto udp dnat to 10.2.0.2:9090; }
			chain pre { type nat hook prerouting priority -100; meta l4proto . th dport vmap @m; udp dport 8080 redirect to :9091; }
			chain out { type nat hook output priority -100; meta l4proto . th dport vmap @m; }
		}`, wantAll: true},
		{name: "verdict map of numbers", script: `table ip t {
			chain b { meta l4proto tcp dnat to 10.2.0.2:9090; }
			chain c { meta l4proto tcp dnat to 10.2.0.3:9091; }
			chain pre { type nat hook prerouting priority -100; tcp dport 8080 numgen random mod 2 vmap { 0 : goto b, 1 : goto c }; }
		}`, wantAll: true},
		{name: "named sets", script: `table ip t {
			set s { type inet_service; flags interval; elements = { 8000-8080 } }
			set h { type ipv4_addr . inet_service; elements = { 10.1.0.9 . 8081 } }
			chain pre { type nat hook prerouting priority -100; tcp dport @s redirect to :9090; ip daddr . tcp dport @h redirect to :9091; }
		}`, wantAll: true},
		{name: "catch-all", script: `table ip t {
			map m { type inet_service : verdict; elements = { 8081 : accept, * : jump c } }
			chain c { tcp dport 8000-8100 redirect to :9090; }
			chain pre { type nat hook prerouting priority -100; tcp dport vmap @m; }
		}`, wantAll: true},
		{name: "both families", script: `table inet t {
			chain pre { type nat hook prerouting priority -100; tcp dport 8080 redirect to :9090; udp dport 8080 dnat ip to 10.2.0.2:9090; udp dport 8081 dnat ip6 to [fd02::2]:9090; }
			chain out { type nat hook output priority -100; tcp dport 8080 redirect to :9090; }
		}`, wantAll: true},
		{name: "IPv6", script: `table ip6 t {
			chain pre { type nat hook prerouting priority -100; ip6 daddr fd01::1 tcp dport 8080 redirect to :9090; udp dport 8080 dnat to [fd02::2]:9090; tcp dport 8081 redirect; }
			chain out { type nat hook output priority -100; ip6 daddr ::1 tcp dport 8080 dnat to [fd01::1]:8080; fib daddr type local udp dport 8081 redirect to :9091; }
		}`, wantAll: true},
		{name: "order of priority", script: `table ip t {
			chain late { type nat hook prerouting priority 0; tcp dport 8080 dnat to 10.2.0.2:9090; }
			chain early { type nat hook prerouting priority -110; tcp dport 8080 redirect to :8080; }
		}`},
		{name: "two tables", script: `table ip a {
			chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 10.2.0.2:9090; }
		}
		table ip b {
			chain pre { type nat hook prerouting priority -100; tcp dport 8080 redirect to :8080; }
		}`, vague: true},
		{name: "dormant", script: `table ip a { flags dormant; chain pre { type nat hook prerouting priority -100; tcp dport 8080 redirect to :9090; }
}`},
		{name: "policy drop", script: `table ip a { chain pre { type nat hook prerouting priority -100; policy drop; tcp dport 8080 redirect to :9090; udp dport 8080-8081 accept; }
}`, drops: true, wantAll: true},
		{name: "marks of raw", script: `table ip a {
			chain raw { type filter hook prerouting priority -300; tcp dport 8080 meta mark set 4; udp dport 8080 notrack; }
			chain rawout { type filter hook output priority -300; udp dport 8081 notrack; tcp dport 8081 meta mark set 4; }
			chain pre { type nat hook prerouting priority -100; meta mark 4 meta l4proto tcp redirect to :9090; udp dport 8080 redirect to :9090; }
			chain out { type nat hook output priority -100; meta mark 4 tcp dport 8081 redirect to :9090; udp dport 8080-8081 redirect to :9090; }
		}`, wantAll: true},
		{name: "iptables-nft", shell: `iptables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9090
			iptables-nft -t nat -A OUTPUT -p tcp -m addrtype --dst-type LOCAL -m multiport --dports 80,8000:8081 -j DNAT --to 10.2.0.2:9090
			iptables-nft -t nat -A PREROUTING ! -i lan -p udp -m udp --dport 8080 -m comment --comment hello -j DNAT --to 10.2.0.2:9091
			ip6tables-nft -t nat -A PREROUTING -d fd01::1 -p tcp --dport 8080 -j DNAT --to [fd02::2]:9090`, wantAll: true},
		{name: "iptables-legacy", shell: `iptables-legacy -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9090
			iptables-legacy -t nat -A OUTPUT -p tcp -m addrtype --dst-type LOCAL -m multiport --dports 80,8000:8081 -j DNAT --to 10.2.0.2:9090
			iptables-legacy -t nat -A PREROUTING ! -i lan -p udp -m udp --dport 8080 -m comment --comment hello -j DNAT --to 10.2.0.2:9091
			ip6tables-legacy -t nat -A PREROUTING -d fd01::1 -p tcp --dport 8080 -j DNAT --to [fd02::2]:9090
			ip6tables-legacy -t nat -A PREROUTING -p udp --dport 8080 -j REDIRECT --to-ports 9091`, wantAll: true},
		{name: "legacy chains", shell: `iptables-legacy-restore <<-END
				*mangle
				-A PREROUTING -p tcp --dport 8081 -j MARK --set-mark 0x8
				COMMIT
				*nat
				:A - [0:0]
				:B - [0:0]
				-A PREROUTING -j A
				-A PREROUTING -m mark --mark 0x8/0x8 -j NETMAP --to 10.2.0.0/24
				-A A -p tcp -m conntrack --ctstate NEW -m tcp --dport 8080 -g B
				-A A -p udp --dport 8080 -j RETURN
				-A A -p udp --dport 8080:8081 -j REDIRECT --to-ports 9090
				-A B -d 10.1.0.9/32 -j RETURN
				-A B -p tcp -j DNAT --to-destination 10.2.0.2:9090
				COMMIT
				END`, wantAll: true},
		{name: "port range that has no listener first", nft: "tcp dport 8080 dnat to 10.1.0.1:9090-9091; udp dport 8080 redirect to :9090-9091", wantAll: true},
		{name: "address range", nft: "tcp dport 8080 dnat to 10.2.0.2-10.2.0.3; udp dport 8080 dnat to 10.2.0.2-10.2.0.3:9090-9091", wantAll: true},
		{name: "address range with an own one", nft: "tcp dport 8080 dnat to 10.2.0.1-10.2.0.2", vague: true},
		{name: "verdict map that continues", nft: "iifname vmap { \"wan\" : continue, \"lan\" : return } tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "verdict map with a jump and a rest", script: `table ip t {
			chain a { tcp dport 8080 redirect to :9091; }
			chain pre { type nat hook prerouting priority -100; ip daddr vmap { 10.1.0.1 : continue, 10.1.0.9 : jump a } tcp dport 8080 redirect to :9090; }
		}`, wantAll: true},
		{name: "a user before routing", script: `table ip t { chain pre { type nat hook prerouting priority -100; meta skuid 0-4294967295 tcp dport 8080 redirect to :9090; }
}`},
		{name: "a group and a cgroup before routing", script: `table ip t { chain pre { type nat hook prerouting priority -100; meta skgid 0-4294967295 tcp dport 8080 redirect to :9090; meta cgroup 0-4294967295 udp dport 8080 redirect to :9090; }
}`},
		{name: "a user of local callers", script: `table ip t { chain out { type nat hook output priority -100; meta skuid 0-4294967295 tcp dport 8080 redirect to :9090; }
}`, wantAll: true},
		{name: "mark of a connection, set and restored", shell: `for kind in nft legacy; do
			iptables-$kind -t mangle -A PREROUTING -p tcp --dport 8080 -j CONNMARK --set-mark 5
			iptables-$kind -t mangle -A PREROUTING -j CONNMARK --restore-mark
			iptables-$kind -t nat -A PREROUTING -p tcp -m mark --mark 0x5 -j REDIRECT --to-ports 9090
			done`, wantAll: true},
		{name: "mark of a connection, shifted", shell: `iptables-legacy -t mangle -A PREROUTING -p tcp --dport 8080 -j CONNMARK --set-xmark 0x1/0x0 --left-shift-mark 4
			iptables-legacy -t nat -A PREROUTING -p tcp -m connmark --mark 0x10 -j REDIRECT --to-ports 9090`, vague: true, wantSome: true},
		{name: "mark of a connection, saved", shell: `iptables-legacy -t mangle -A PREROUTING -p tcp --dport 8080 -j MARK --set-mark 6
			iptables-legacy -t mangle -A PREROUTING -p tcp --dport 8080 -j CONNMARK --save-mark
			iptables-legacy -t nat -A PREROUTING -p tcp -m connmark --mark 6 -j REDIRECT --to-ports 9090`, wantAll: true},
		{name: "ports rewritten in raw", script: rewriting("tcp dport 8080 tcp dport set 9090; udp dport 8080 udp dport set 9091"), wantAll: true, drops: true},
		{name: "port rewritten by a map", script: rewriting("tcp dport set tcp dport map { 8080 : 9090, 9999 : 8081 }"), wantAll: true, drops: true},
		{name: "port rewritten to itself", script: rewriting("tcp dport 8080 tcp dport set 8080"), drops: true},
		{name: "address and port rewritten in raw", script: rewriting("tcp dport 8080 ip daddr set 10.2.0.2 tcp dport set 9090"), wantAll: true, drops: true},
		{name: "address rewritten to an own one", script: `table ip t { chain pre { type filter hook prerouting priority raw; tcp dport 8080 ip daddr set 10.1.0.9; }
chain out { type filter hook output priority raw; tcp dport 8080 ip daddr set 10.1.0.9; }
}`, vague: true, wantSome: true},
		{name: "address rewritten by its bits", script: `table ip t { chain pre { type filter hook prerouting priority raw; tcp dport 8080 ip daddr set ip daddr & 255.255.255.0 | 0.0.0.9; }
}`, vague: true, wantSome: true},
		{name: "address rewritten to the caller's", script: `table ip t { chain pre { type filter hook prerouting priority raw; tcp dport 8080 ip daddr set ip saddr; }
}`, vague: true, wantSome: true},
		{name: "ports rewritten on input", script: "table ip t { chain in { type filter hook input priority filter; tcp dport 8080 tcp dport set 9090; udp dport 8080 udp dport set 9091; }\n" +
			"chain post { type filter hook output priority -350; tcp sport 9090 tcp sport set 8080; udp sport 9091 udp sport set 8080; }\n}\n", wantAll: true},
		{name: "ports rewritten on input, for both families", script: `table inet t { chain in { type filter hook input priority mangle; tcp dport 8080 tcp dport set 9090; }
}`, wantAll: true},
		{name: "ports rewritten behind jumps and a verdict map", script: `table ip t {
			chain re { meta l4proto tcp tcp dport set 9090; }
			map m { type inet_service : verdict; elements = { 8080 : goto re, 9999 : accept } }
			chain x { tcp dport vmap @m; }
			chain in { type filter hook input priority 0; jump x; }
			chain nat { type nat hook prerouting priority -100; tcp dport 9999 redirect to :9090; }
		}`, wantAll: true, drops: true},
		{name: "input without a rewritten port", script: `table inet t { chain in { type filter hook input priority filter; policy drop; ct state established,related accept; meta l4proto { tcp, udp } th dport { 8080, 8081, 9090, 9091 } accept; icmpv6 type != 255 accept; }
}`},
		{name: "ports rewritten on the way out", script: `table ip t { chain post { type filter hook postrouting priority filter; udp dport 8080 udp dport set 9091; }
}`, wantAll: true},
		{name: "source rewritten", script: `table ip t { chain pre { type filter hook prerouting priority mangle; tcp dport 8080 tcp sport set 77; }
chain out { type filter hook output priority mangle; udp dport 8081 ip saddr set 10.1.0.9; }
}`, vague: true, wantSome: true},
		{name: "changes that cancel", script: `table ip t { chain a { type filter hook prerouting priority -300; udp dport 8080 udp dport set 9999; }
chain b { type filter hook prerouting priority -290; udp dport 9999 udp dport set 8080; }
}`, vague: true, wantSome: true},
		{name: "changes of addresses that cancel", script: `table ip t { chain a { type filter hook prerouting priority -300; ip daddr 10.1.0.1 tcp dport 8080 ip daddr set 10.2.0.9; }
chain b { type filter hook prerouting priority -290; ip daddr 10.2.0.9 ip daddr set 10.1.0.1; }
}`, vague: true, wantSome: true},
		{name: "every called address rewritten to an own one", script: "table ip t { chain pre { type filter hook prerouting priority raw; ip daddr set 10.1.0.9; }\n}\n", vague: true, wantSome: true},
		{name: "every called address rewritten on input", script: "table ip t { chain in { type filter hook input priority filter; ip daddr set 10.1.0.9; }\n}\n", vague: true, wantSome: true},
		{name: "every called address rewritten on output", script: "table ip t { chain out { type filter hook output priority raw; ip daddr set 10.1.0.9; }\n}\n", vague: true, wantSome: true},
		{name: "every source rewritten on output", script: "table ip t { chain out { type filter hook output priority raw; ip saddr set 10.1.0.9; }\n}\n", vague: true, wantSome: true},
		{name: "every source rewritten on the way out", script: "table inet t { chain post { type filter hook postrouting priority srcnat; ip saddr set 10.1.0.9; }\n}\n", vague: true, wantSome: true},
		{name: "the source of replies to one caller rewritten", script: "table ip t { chain re { ip saddr set 10.1.0.9; }\nchain out { type filter hook output priority raw; ip daddr 10.1.0.2 jump re; }\n}\n", vague: true, wantSome: true},
		{name: "the source of one caller rewritten", script: "table ip t { chain pre { type filter hook prerouting priority raw; ip saddr 10.1.0.2 ip saddr set 10.1.0.3; }\n}\n", vague: true, wantSome: true},
		{name: "the port of replies rewritten", script: "table ip t { chain out { type filter hook output priority raw; tcp sport 8080 oifname != lo tcp sport set 77; }\n}\n", vague: true, wantSome: true},
		{name: "replies rewritten after NAT to an own address", nft: "tcp dport 8080 dnat to 10.1.0.9", script: "table ip s { chain out { type filter hook output priority raw; ip saddr 10.1.0.9 tcp sport 8080 tcp sport set 77; }\n}\n", vague: true, wantSome: true},
		{name: "a source rewritten behind NAT to the same port", nft: "tcp dport 8080 redirect", script: "table ip s { chain pre { type filter hook prerouting priority 110; tcp dport 8080 ip saddr set 10.1.0.77; }\n}\n", vague: true, wantSome: true},
		{name: "a port rewritten on input behind NAT to the same port", nft: "tcp dport 8080 redirect", script: "table ip s { chain in { type filter hook input priority 0; tcp dport 8080 tcp dport set 9090; }\n}\n", vague: true, wantSome: true},
		{name: "replies sent out by another device", script: "table netdev d { chain e { type filter hook egress device wan priority 0; ip daddr 10.1.0.2 tcp sport 8080 fwd to lan; }\n}\n", vague: true, wantSome: true},
		{name: "the source of most callers rewritten", script: "table ip t { chain pre { type filter hook prerouting priority raw; tcp sport != 77 ip saddr set 10.1.0.77; }\n}\n", vague: true, wantSome: true},
		{name: "the source of callers without privilege rewritten", script: "table ip t { chain pre { type filter hook prerouting priority raw; udp sport 1024-65535 ip saddr set 10.1.0.77; }\n}\n", vague: true, wantSome: true},
		{name: "the source of replies of some ports rewritten", script: "table ip t { chain pre { type filter hook prerouting priority raw; tcp sport 9095-9099 ip saddr set 10.1.0.77; }\n}\n", wantNone: true},
		{name: "ports of calls to others rewritten on output", script: "table ip t { chain out { type filter hook output priority raw; tcp dport 9095-9099 tcp dport set 9090; }\n}\n", wantNone: true},
		// Those of the own addresses are left alone.
		{name: "sources of others rewritten on the way out", script: "table ip t { chain post { type filter hook postrouting priority srcnat; ip saddr 10.88.0.0/16 ip saddr set 10.1.0.9; ip saddr 10.2.0.2 ip saddr set 10.1.0.9; oifname wan0 ip saddr set 10.1.0.9; }\n}\n"},
		{name: "replies rewritten to what they are", script: "table ip t { chain out { type filter hook output priority raw; ip saddr 10.1.0.1 tcp sport 8080 ip saddr set 10.1.0.1 tcp sport set 8080; }\n}\n"},
		{name: "a queue that nobody reads", shell: `for kind in nft legacy; do
			iptables-$kind -t nat -A PREROUTING -p tcp --dport 8080 -j NFQUEUE --queue-bypass
			iptables-$kind -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9090
			done`},
		{name: "to no address", script: `table ip t { chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 0.0.0.0:8080; }
}`, wantAll: true},
		{name: "rewritten before NAT", script: rewriting("tcp dport 8080 tcp dport set 9090") + "table ip n { chain pre { type nat hook prerouting priority -100; tcp dport 9090 redirect to :8080; }\n}\n", vague: true, drops: true},
		{name: "NOTRACK of all", shell: "iptables-nft -t raw -A PREROUTING -j CT --notrack\niptables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9090", drops: true},
		{name: "kube-proxy in nft mode, a NodePort with external policy Local", script: `table ip kube-proxy {
			map service-nodeports { type inet_proto . inet_service : verdict; elements = { tcp . 8080 : goto external-x } }
			set nodeport-ips { type ipv4_addr; elements = { 10.1.0.1 } }
			chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
			chain endpoint-a { ip saddr 10.2.0.2 jump mark-for-masquerade; meta l4proto tcp dnat to 10.2.0.2:9090; }
			chain service-x { numgen random mod 1 vmap { 0 : goto endpoint-a }; }
			chain local-x { numgen random mod 1 vmap { 0 : goto endpoint-a }; }
			chain external-x { ip saddr 10.244.0.0/16 goto service-x; fib saddr type local jump mark-for-masquerade; fib saddr type local goto service-x; goto local-x; }
			chain services { ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports; }
			chain pre { type nat hook prerouting priority -100; jump services; }
			chain out { type nat hook output priority -100; jump services; }
		}`, wantAll: true, drops: true},
		{name: "firewalld", script: `table inet firewalld {
			chain pre { type nat hook prerouting priority -90; jump policies; jump zones; }
			chain policies { return; }
			chain zones { iifname "lan" goto trusted; iifname "wan" goto public; goto public; }
			chain trusted { return; }
			chain public { jump public_allow; }
			chain public_allow { meta nfproto ipv4 tcp dport 8080 dnat ip to 10.2.0.2:9090; meta nfproto ipv6 udp dport 8080-8081 redirect to :9090; }
		}`, wantAll: true, drops: true},
		{name: "Docker 29 by nft", script: `table ip docker-bridges {
			map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 } }
			map nat-postrouting-in-jumps { type ifname : verdict; }
			chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; }
			chain nat-OUTPUT { type nat hook output priority -100; policy accept; ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output; }
			chain nat-POSTROUTING { type nat hook postrouting priority srcnat; policy accept; iifname vmap @nat-postrouting-in-jumps; }
			chain nat-PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local counter jump nat-prerouting-and-output; }
			chain nat-prerouting-and-output { iifname != "docker0" tcp dport 8080 counter dnat to 10.2.0.2:9090 comment "DNAT"; ip daddr 10.1.0.9 udp dport 8081 dnat to 10.2.0.2:9091; }
			chain raw-PREROUTING { type filter hook prerouting priority raw; policy accept; ip daddr 10.2.0.2 iifname != "docker0" counter drop comment "DROP DIRECT ACCESS"; ip daddr 127.0.0.1 iifname != "lo" tcp dport 8081 drop; }
			chain filter-forward-in__docker0 { ct state established,related accept; drop; }
}
`, wantAll: true, drops: true},
		{name: "netavark by nft", script: `table inet netavark {
			chain INPUT { type filter hook input priority filter; policy accept; ip saddr 10.88.0.0/16 meta l4proto { tcp, udp } th dport 53 accept; }
			chain FORWARD { type filter hook forward priority filter; policy accept; ct state invalid drop; jump NETAVARK-ISOLATION-1; }
			chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; meta mark & 0x2000 == 0x2000 masquerade; }
			chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local jump NETAVARK-HOSTPORT-DNAT; }
			chain OUTPUT { type nat hook output priority -100; policy accept; fib daddr type local jump NETAVARK-HOSTPORT-DNAT; }
			chain NETAVARK-HOSTPORT-DNAT { tcp dport 8080 jump nv_2f259bab_10_88_0_0_nm16_dnat; ip daddr 10.1.0.1 udp dport 8081 jump nv_2f; }
			chain NETAVARK-HOSTPORT-SETMARK { meta mark set meta mark | 0x2000; }
			chain NETAVARK-ISOLATION-1 { }
			chain nv_2f { ip saddr 10.88.0.0/16 udp dport 8081 jump NETAVARK-HOSTPORT-SETMARK; udp dport 8081 dnat ip to 10.2.0.2:9091; }
			chain nv_2f259bab_10_88_0_0_nm16_dnat { ip saddr 10.88.0.0/16 tcp dport 8080 jump NETAVARK-HOSTPORT-SETMARK; ip saddr 127.0.0.1 tcp dport 8080 jump NETAVARK-HOSTPORT-SETMARK; tcp dport 8080 dnat ip to 10.2.0.2:9090; }
}
`, wantAll: true, drops: true},
		{name: "OpenWrt's fw4", script: `table inet fw4 {
			chain dstnat { type nat hook prerouting priority dstnat; policy accept; iifname { "wan", "pppoe-wan" } jump dstnat_wan comment "!fw4: Handle wan IPv4/IPv6 dstnat traffic"; iifname "lan" jump dstnat_lan; }
			chain dstnat_wan { meta nfproto ipv4 tcp dport 8080 counter dnat ip to 10.2.0.2:9090 comment "!fw4: web"; }
			chain dstnat_lan { ip saddr 10.2.0.0/24 ip daddr 10.1.0.1 udp dport 8080 dnat ip to 10.2.0.2:9090; }
		}`, wantAll: true, vague: true, drops: true},
		{name: "Istio's inbound", shell: `iptables-nft -t nat -N ISTIO_INBOUND
			iptables-nft -t nat -N ISTIO_IN_REDIRECT
			iptables-nft -t nat -A PREROUTING -p tcp -j ISTIO_INBOUND
			iptables-nft -t nat -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
			iptables-nft -t nat -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
			iptables-nft -t nat -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 9090`},
		{name: "a verdict map before another port", nft: "iifname vmap { \"wan\" : continue, \"lan\" : return } udp dport 9999 accept; tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "marks before another port", nft: "meta mark set 4 udp dport 9999 accept; meta mark 4 tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "a port rewritten before a condition on the caller", script: rewriting("tcp dport 8080 tcp dport set 9090 ip saddr 10.1.0.77 accept"), wantAll: true, drops: true},
		{name: "a port rewritten by a device", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; tcp dport 8080 tcp dport set 9090; }\n}\n" + rewriting("tcp dport 9999 accept"), wantAll: true, drops: true},
		{name: "a port rewritten by a device in a table of both families", script: "table inet d {\nchain i { type filter hook ingress device wan priority 0; udp dport 8080 udp dport set 9091; }\n}\n" + rewriting("tcp dport 9999 accept"), wantAll: true, drops: true},
		{name: "an address rewritten by a device", script: "table netdev d {\nchain i { type filter hook ingress devices = { wan, lan } priority 0; udp dport 8080 ip daddr set 10.2.0.2; }\n}\n", wantAll: true, drops: true},
		{name: "a device that forwards", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; tcp dport 8080 fwd to lan; }\n}\n", wantSome: true, vague: true, drops: true},
		{name: "a device that forwards another port", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; tcp dport 9999 fwd to lan; }\n}\n"},
		{name: "a port rewritten by lo", script: "table netdev d {\nchain i { type filter hook ingress device lo priority 0; udp dport 8080 udp dport set 9091; }\n}\n", wantAll: true, drops: true},
		{name: "a device that marks", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; tcp dport 8080 meta mark set 4; }\n}\n" +
			"table ip t {\nchain pre { type nat hook prerouting priority -100; meta mark 4 meta l4proto tcp redirect to :9090; }\n}\n", wantAll: true},
		{name: "a device that keeps calls from being tracked", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; tcp dport 8080 notrack; }\n}\n" +
			"table ip t {\nchain pre { type nat hook prerouting priority -100; tcp dport 8080 redirect to :9090; }\n}\n", wantAll: true},
		{name: "ethernet type of a port that a device rewrites", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; ether type ip tcp dport 8080 tcp dport set 9090; }\n}\n" + rewriting("tcp dport 9999 accept"), wantAll: true, drops: true},
		{name: "another ethernet type", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; ether type ip6 tcp dport 8080 tcp dport set 9090; ether type ip6 udp dport 8080 ip6 daddr set fd02::2; ether type arp drop; }\n}\n", wantAll: true, drops: true},
		{name: "not an ethernet type", nft: "ether type != ip accept; tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "ethernet types", script: "table inet t {\nchain pre { type nat hook prerouting priority -100; ether type { ip, ip6 } tcp dport 8080 redirect to :9090; }\nchain out { type nat hook output priority -100; ether type ip tcp dport 8081 redirect to :9090; }\n}\n", wantAll: true},
		{name: "packets for this host", nft: "meta pkttype host tcp dport 8080 redirect to :9090", wantAll: true},
		{name: "packets for others", nft: "meta pkttype != host accept; meta pkttype { broadcast, multicast, other } tcp dport 8080 redirect to :9090", wantNone: true},
		{name: "a device that takes calls for others'", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; tcp dport 8080 meta pkttype set other; }\n}\n" +
			"table ip t {\nchain pre { type nat hook prerouting priority -100; iifname wan tcp dport 8080 redirect to :9090; }\n}\n", wantNone: true, drops: true},
		{name: "a device that takes them back", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; meta pkttype set other; tcp dport 8080 meta pkttype set host; meta pkttype other udp dport 8080 meta pkttype set host; }\n}\n" +
			"table ip t {\nchain pre { type nat hook prerouting priority -100; meta l4proto { tcp, udp } th dport 8080 redirect to :9090; }\n}\n", wantAll: true, drops: true},
		{name: "calls that are an Ethernet broadcast", script: kindSet("broadcast"), wantNone: true, drops: true},
		{name: "calls that are an Ethernet multicast", script: kindSet("multicast"), wantNone: true, drops: true},
		{name: "calls that are for others", script: kindSet("other"), wantNone: true, drops: true},
		{name: "TCP that is an Ethernet broadcast before a redirect", script: kindSet("broadcast") + sentAway("tcp"), wantNone: true, drops: true},
		{name: "TCP that is an Ethernet multicast before a redirect", script: kindSet("multicast") + sentAway("tcp"), wantNone: true, drops: true},
		{name: "TCP that is for others before a redirect", script: kindSet("other") + sentAway("tcp"), wantNone: true, drops: true},
		{name: "UDP that is an Ethernet broadcast before a redirect", script: kindSet("broadcast") + sentAway("udp"), wantAll: true, wantArrived: true, drops: true},
		{name: "UDP that is an Ethernet multicast before a redirect", script: kindSet("multicast") + sentAway("udp"), wantAll: true, wantArrived: true, drops: true},
		{name: "UDP that is for others before a redirect", script: kindSet("other") + sentAway("udp"), wantAll: true, wantArrived: true, drops: true},
		{name: "UDP that is an Ethernet broadcast on the way to another machine", script: kindSet("broadcast") + "table inet t {\nchain pre {\ntype nat hook prerouting priority -100\nudp dport 8080 dnat ip to 10.2.0.2:9090\nudp dport 8080 dnat ip6 to [fd02::2]:9090\n}\n}\n", wantNone: true, drops: true},
		{name: "a device that makes calls an Ethernet broadcast", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; meta l4proto { tcp, udp } th dport 8080 meta pkttype set broadcast; }\n}\n" +
			"table inet t {\nchain pre {\ntype nat hook prerouting priority -100\niifname wan tcp dport 8080 redirect to :9090\n}\n}\n", wantNone: true, drops: true},
		{name: "a device that makes datagrams an Ethernet broadcast", script: "table netdev d {\nchain i { type filter hook ingress device wan priority 0; meta l4proto { tcp, udp } th dport 8080 meta pkttype set broadcast; }\n}\n" +
			"table inet t {\nchain pre {\ntype nat hook prerouting priority -100\niifname wan udp dport 8080 redirect to :9090\n}\n}\n", wantAll: true, wantArrived: true, drops: true},
		{name: "calls that are for this host again", script: kindSet("broadcast") + sentAway("tcp") + "table inet u {\nchain late { type filter hook prerouting priority 0; tcp dport 9090 meta pkttype set host; }\n}\n", wantAll: true, wantArrived: true, drops: true},
		{name: "calls that may be for this host again", script: kindSet("broadcast") + sentAway("tcp") + "table inet u {\nchain re { meta pkttype set host; }\nchain late { type filter hook prerouting priority 0; tcp dport 9999 jump re; }\n}\n", wantAll: true, drops: true},
		{name: "one caller's calls that are an Ethernet broadcast", script: "table ip d {\nchain pre { type filter hook prerouting priority raw; ip saddr 10.1.0.2 meta pkttype set broadcast; }\n}\n" + sentAway("tcp"), wantAll: true, wantArrived: true, drops: true},
		{name: "TPROXY of an Ethernet broadcast", script: kindSet("broadcast"), shell: `iptables-nft -t mangle -A PREROUTING -p tcp --dport 8080 -j TPROXY --on-port 9090`, wantNone: true, drops: true},
		{name: "TPROXY", shell: `iptables-nft -t mangle -A PREROUTING -p tcp --dport 8080 -j TPROXY --on-port 9090`, wantAll: true, drops: true},
		{name: "tproxy of nft", script: `table ip t { chain pre { type filter hook prerouting priority -150; tcp dport 8080 tproxy to :9090 accept; }
}`, vague: true, drops: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearRules(t)
			if c.nft != "" {
				run(t, "table ip t {\nchain pre {\n"+nat+"\n"+strings.ReplaceAll(c.nft, "; ", "\n")+"\n}\nchain out {\ntype nat hook output priority -100;\n"+strings.ReplaceAll(c.nft, "; ", "\n")+"\n}\n}\n", "nft", "-f", "-")
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
			if c.wantSome && j.some == 0 {
				t.Error("nobody may be sent away")
			}
			if c.wantArrived && j.arrived == 0 {
				t.Error("nobody who is sent away reaches a server")
			}
			if c.wantNone && j.all+j.some > 0 {
				t.Error("somebody is sent away")
			}
		})
	}
}
