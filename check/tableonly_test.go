package check

import (
	"net/netip"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// tableCases returns cases for a host on which nothing can be bound.
func tableCases() []verdictCase {
	reuse := func(on bool) func(*Need) { return func(n *Need) { n.ReuseAddress = &on } }
	unseen := func(s host.Socket) []host.Socket {
		s.MayBeV6Only = s.Addr == netip.IPv6Unspecified()
		return []host.Socket{incomplete(s)}
	}
	of := func(uid int, elevated bool) func(*host.Facts) {
		return func(f *host.Facts) { f.Machine.UID, f.Machine.Elevated, f.Tried[0].UID = uid, elevated, uid }
	}
	low := ports(80, 80)
	const degraded, alone = config.Degraded, "nothing could be bound: no space left"
	one, two := []config.NoticeCode{degraded}, []config.NoticeCode{degraded, degraded}
	cases := []verdictCase{
		{name: "free", want: verdictWant{status: Free, message: "tcp 8080 is free", notices: one, notice: alone}},
		{name: "a listener", sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: InUse, message: "in use by a process of user root that can't be seen", notices: two, notice: "its processes can't be looked into", pids: []int{0}, partly: true}},
		{name: "a listener with an owner", need: owner(config.Owner{Unit: "web.service"}), sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: Unknown, message: "whether by its owner could not be determined", notices: two, pids: []int{0}, partly: true}},
		{name: "udp", need: udp, sockets: unseen(socket(host.Listen, "udp 0.0.0.0:8080")), want: verdictWant{status: InUse, message: "udp 8080 is in use", notices: two, pids: []int{0}, partly: true}},
		{name: "udp connected", need: udp, sockets: unseen(socket(host.Connected, "udp 10.0.0.1:8080")), want: verdictWant{status: InUse, message: "the local port of a connection", notices: two, pids: []int{0}, partly: true}},
		{name: "udp connected, reuse_address", need: both(udp, reuse(true)), sockets: unseen(socket(host.Connected, "udp 10.0.0.1:8080")), want: verdictWant{status: Unknown, message: "can't determine whether they block it", notices: two, pids: []int{0}, partly: true}},
		{name: "udp reuse_address", need: both(udp, reuse(true)), sockets: unseen(ofUID(socket(host.Listen, "udp 0.0.0.0:8080"), 33)), want: verdictWant{status: Shadowed, message: "would share", notices: one, pids: []int{0}, partly: true}},
		{name: "reuse_port, same user", need: reusePort, sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: Shadowed, message: "would share", notices: one, pids: []int{0}, partly: true}},
		{name: "reuse_port, another user", need: reusePort, sockets: unseen(ofUID(socket(host.Listen, "[::]:8080"), 33)), want: verdictWant{status: InUse, message: "uid 33", notices: two, pids: []int{0}, partly: true}},
		{name: "reuse_port, user not known", need: reusePort, sockets: unseen(socket(host.Listen, "[::]:8080")), facts: of(-1, false), want: verdictWant{status: InUse, message: "user root", notices: two, pids: []int{0}, partly: true}},
		{name: "a connection", sockets: unseen(socket(host.Connected, "10.0.0.1:8080")), want: verdictWant{status: Unknown, message: "nothing listens there, but it is the local port of connections", notices: two, pids: []int{0}, partly: true}},
		{name: "a connection, no reuse_address", need: reuse(false), sockets: unseen(socket(host.Connected, "10.0.0.1:8080")), want: verdictWant{status: InUse, message: "the local port of a connection", notices: two, pids: []int{0}, partly: true}},
		{name: "a connection with an owner", need: both(reuse(false), owner(config.Owner{Unit: "web.service"})), sockets: unseen(socket(host.Connected, "10.0.0.1:8080")), want: verdictWant{status: Unknown, message: "whether by its owner could not be determined", notices: two, pids: []int{0}, partly: true}},
		{name: "TIME_WAIT", sockets: []host.Socket{socket(host.TimeWait, "10.0.0.1:8080")}, want: verdictWant{status: Unknown, message: "can't determine whether they block it", notices: []config.NoticeCode{degraded, config.TimeWait}, notice: "within 60 s", pids: []int{0}}},
		{name: "TIME_WAIT, no reuse_address", need: reuse(false), sockets: []host.Socket{socket(host.TimeWait, "10.0.0.1:8080")}, want: verdictWant{status: InUse, message: "TIME_WAIT", notices: []config.NoticeCode{degraded, config.TimeWait}, pids: []int{0}}},
		{name: "privileged, a login with the right", need: low, want: verdictWant{status: Free, message: "is free", notices: []config.NoticeCode{degraded, config.Privileged}, notice: "the login there has that right"}},
		{name: "privileged, a login without", need: low, facts: of(1000, false), want: verdictWant{status: Denied, message: "may not be bound by this user: ports below 1024", notices: one}},
		{name: "the last privileged port, a login without", need: ports(1023, 1023), facts: of(1000, false), want: verdictWant{status: Denied, message: "ports below 1024", notices: one}},
		{name: "the first port that is not privileged, a login without", need: ports(1024, 1024), facts: of(1000, false), want: verdictWant{status: Free, message: "is free", notices: one}},
		{name: "no port is privileged, a login without", need: low, facts: func(f *host.Facts) { of(1000, false)(f); noPrivileges(f) }, want: verdictWant{status: Free, message: "is free", notices: one}},
		{name: "privileged, root without the right", need: low, facts: of(0, false), want: verdictWant{status: Denied, message: "may not be bound by this user", notices: one}},
		{name: "privileged, run_as 0", need: both(low, runAs("0")), facts: of(1000, false), want: verdictWant{status: Free, message: "is free", notices: one}},
		{name: "privileged, taken, a login without", need: low, facts: of(1000, false), sockets: unseen(socket(host.Listen, "[::]:80")), want: verdictWant{status: InUse, message: "in use by", notices: two, pids: []int{0}, partly: true}},
		{name: "privileged, a login that is not known", need: low, facts: of(-1, false), want: verdictWant{status: Unknown, message: "portcheck can't determine whether this user has that right", notices: one}},
		{name: "privileged, run_as", need: both(low, runAs("www-data")), want: verdictWant{status: Unknown, message: "whether www-data has that right", notices: one}},
		{name: "privileged, run_as root", need: both(low, runAs("root")), facts: of(1000, false), want: verdictWant{status: Free, message: "is free", notices: one}},
		{name: "run_as, a port that needs no right", need: runAs("www-data"), facts: of(1000, false), want: verdictWant{status: Free, message: "is free", notices: one}},
		{name: "another's address", need: on("192.0.2.1"), attempts: []string{"no-address read_/proc/net/fib_trie -"}, want: verdictWant{status: Unavailable, message: "the address is not on this host", notices: one}},
		{name: "addresses can't be read", need: on("192.0.2.1"), attempts: []string{"failed read_/proc/net/fib_trie EACCES"}, want: verdictWant{status: Unknown, message: "tcp 192.0.2.1:8080 could not be tried (read /proc/net/", notices: one}},
		{name: "no IPv6, any", attempts: []string{"no-family read_/proc/net/if_inet6 ENOENT", "not-tried"}, want: verdictWant{status: Free, message: "is free", notices: []config.NoticeCode{config.NoIPv6, degraded}}},
		{name: "no IPv6, any6", need: on(port.Any6), attempts: []string{"no-family read_/proc/net/if_inet6 ENOENT"}, want: verdictWant{status: Unavailable, message: "no IPv6", notices: one}},
		{name: "no table", facts: table(true), want: verdictWant{status: Unknown, method: None, message: "could not determine whether a process listens there", notices: one}},
		{name: "listening", need: listening, sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: Listening, message: "is served by a process of user root", notices: one, pids: []int{0}, partly: true}},
		{name: "listening, an owner", need: both(listening, owner(config.Owner{Unit: "web.service"})), sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: Unknown, message: "whether by its owner could not be determined", notices: one, pids: []int{0}, partly: true}},
		{name: "listening on [::], and needed on IPv4", need: both(listening, on("127.0.0.1")), sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: Unknown, message: "the socket table does not show whether it accepts IPv4 as well", pids: []int{0}, partly: true}},
		{name: "listening on [::], and needed on both", need: both(listening, on(port.Loopback)), attempts: []string{"not-tried", "not-tried"}, sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: Listening, message: "is served", notices: one, pids: []int{0}, partly: true}},
		{name: "half a block on [::], the rest nowhere", need: both(ports(8080, 8081), both(listening, on("127.0.0.1"))), attempts: []string{"not-tried", "not-tried"}, sockets: unseen(socket(host.Listen, "[::]:8080")), want: verdictWant{status: NotListening, message: "nothing listens on 8081"}},
		{name: "not listening", need: listening, want: verdictWant{status: NotListening, message: "nothing listens"}},
		{name: "half a block", need: both(ports(8080, 8081), owner(config.Owner{Unit: "web.service"})), attempts: []string{"not-tried", "not-tried"}, sockets: unseen(socket(host.Connected, "10.0.0.1:8081")), want: verdictWant{status: Unknown, message: "tcp 8081 of 8080-8081: nothing listens there", notices: two, pids: []int{0}, partly: true}},
		{name: "reachable", need: reachable, attempts: []string{"not-tried connect no space left"}, want: verdictWant{status: Unknown, method: None, message: "db.internal port 5432: can't connect from this target: no space left"}},
	}
	for i := range cases {
		cases[i] = cases[i].withoutBinds()
	}
	return cases
}

// withoutBinds returns the case with a host that has only a table.
func (c verdictCase) withoutBinds() verdictCase {
	c.name = "by the table: " + c.name
	if c.want.method == "" {
		c.want.method = Table
	}
	if c.attempts == nil {
		c.attempts = []string{"not-tried"}
	}
	more := c.facts
	c.facts = func(f *host.Facts) {
		for i := range f.Tried {
			f.Tried[i].NoBindReason = "no space left"
		}
		f.Gaps = []host.Gap{{What: "its processes can't be looked into", Kind: host.GapHolders}}
		if more != nil {
			more(f)
		}
	}
	return c
}
