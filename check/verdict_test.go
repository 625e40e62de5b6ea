package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// verdictCase has a need, a host's answer about it, and the result.
type verdictCase struct {
	name string
	need func(*Need) // changes tcp 8080 on any, expected to be free
	// attempts has one outcome for each endpoint, "outcome" or "outcome op errno".
	// For a need that has to be reachable, it has one for each port.
	attempts []string
	sockets  []host.Socket
	facts    func(*host.Facts) // changes the other facts, which are those of a Linux host for root
	want     verdictWant
}

type verdictWant struct {
	status  Status
	method  Method // default: bind+table
	message string // a part of the result's message
	notices []config.NoticeCode
	notice  string // a part of the last notice's message
	pids    []int  // of the holders; 0 for a socket without one

	partly bool // holders_complete is false

	met, unmet bool // ok is not that of the status
}

func TestVerdicts(t *testing.T) {
	for _, c := range verdictCases() {
		t.Run(c.name, func(t *testing.T) {
			got := c.judge(t)
			if got.Status != c.want.status || got.OK != (c.want.met || c.want.status.OK() && !c.want.unmet) {
				t.Errorf("status %s, ok %t, want %s (%s)", got.Status, got.OK, c.want.status, got.Message)
			}
			if c.want.method == "" {
				c.want.method = BindTable
			}
			if got.Method != c.want.method {
				t.Errorf("method %s, want %s", got.Method, c.want.method)
			}
			if c.want.message == "" || !strings.Contains(got.Message, c.want.message) {
				t.Errorf("message %q, want %q in it", got.Message, c.want.message)
			}
			var codes []config.NoticeCode
			for _, n := range got.Notices {
				codes = append(codes, n.Code)
				if got.OS == "windows" && strings.Contains(n.Message, "Linux") {
					t.Errorf("a notice on Windows: %s", n.Message)
				}
			}
			if diff := cmp.Diff(c.want.notices, codes); diff != "" {
				t.Errorf("notices %+v: %s", got.Notices, diff)
			}
			if c.want.notice != "" && (len(got.Notices) == 0 || !strings.Contains(got.Notices[len(got.Notices)-1].Message, c.want.notice)) {
				t.Errorf("notices %+v, want %q in the last", got.Notices, c.want.notice)
			}
			var pids []int
			for _, h := range got.Holders {
				pids = append(pids, h.PID)
			}
			if diff := cmp.Diff(c.want.pids, pids); diff != "" {
				t.Errorf("holders: %s", diff)
			}
			if partly := got.Complete != nil && !*got.Complete; partly != c.want.partly {
				t.Errorf("holders_complete is false: %t, want %t", partly, c.want.partly)
			}
			if got.Endpoints == nil || got.Holders == nil || got.Notices == nil || got.Alternatives == nil || got.Address == nil {
				t.Errorf("a list is null: %+v", got)
			}
		})
	}
}

// judge runs the case on a host that returns its answer.
func (c verdictCase) judge(t *testing.T) Result {
	t.Helper()
	n := Need{App: "shop", Target: "local", Port: config.Port{
		At: config.Position{File: "portcheck.yml", Line: 6, Column: 11}, Name: "web",
		Ports: port.One(8080), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any},
		Expect: config.Free, Severity: config.SeverityError,
	}}
	if c.need != nil {
		c.need(&n)
	}
	f := machine()
	f.Sockets = c.sockets
	f.Tried = []host.Tried{{TableOK: true}}
	if n.Expect.Connects() {
		f.Tried = []host.Tried{}
		for i, a := range c.attempts {
			f.Dialed = append(f.Dialed, dialed(n.Ports.First+uint16(i), a))
		}
	} else {
		f.Tried[0].Attempts = attempts(t, n, c.attempts)
	}
	if n.Only { // whatever listens there is asked for first
		everywhere := n
		everywhere.Addresses = []port.Address{port.Any}
		f.Tried = append([]host.Tried{{TableOK: true, Attempts: attempts(t, everywhere, []string{"not-tried"})}}, f.Tried...)
	}
	if c.facts != nil {
		c.facts(&f)
	}
	report, err := Run(context.Background(), []Need{n}, []Target{targetOf("local", canned(f))}, Options{})
	if err != nil || len(report.Results) != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	return report.Results[0]
}

// canned is a host that returns one answer to every request.
type canned host.Facts

func (c canned) Probe(context.Context, host.Request) (host.Facts, error) { return host.Facts(c), nil }
func (canned) Close() error                                              { return nil }

func machine() host.Facts {
	return host.Facts{
		Machine: host.Machine{OS: "linux", Elevated: true, IPv6: true, Namespace: host.Namespace{Kind: host.NamespaceHost, Inode: 4026531840}},
		Limits:  host.Limits{Ephemeral: port.Range{First: 32768, Last: 60999}, UnprivilegedFrom: 1024},
	}
}

func outcome(text string) host.Attempt {
	words := strings.SplitN(text, " ", 3)
	a := host.Attempt{Outcome: host.Outcome(words[0])}
	switch {
	case len(words) == 3:
		a.Op, a.Errno = strings.ReplaceAll(words[1], "_", " "), words[2]
	case a.Outcome == host.InUse:
		a.Op, a.Errno = "bind", "EADDRINUSE"
	case a.Outcome == host.Denied:
		a.Op, a.Errno = "bind", "EACCES"
	case a.Outcome == host.NoAddress:
		a.Op, a.Errno = "bind", "EADDRNOTAVAIL"
	case a.Outcome == host.NoFamily:
		a.Op, a.Errno = "socket", "EAFNOSUPPORT"
	}
	return a
}

// dialed returns the attempt of a connect.
func dialed(n uint16, text string) host.Attempt {
	a := outcome(text)
	a.Protocol, a.Port = port.TCP, n
	return a
}

// attempts returns an attempt for each endpoint of a need. If IPv6 is missing for
// [::], an attempt for 0.0.0.0 follows, as in a host's answer.
func attempts(t *testing.T, n Need, outcomes []string) []host.Attempt {
	t.Helper()
	var all []host.Attempt
	next := func(e port.Endpoint) host.Attempt {
		if len(outcomes) == 0 {
			t.Fatal("the case has fewer outcomes than the need has endpoints")
		}
		a := outcome(outcomes[0])
		outcomes = outcomes[1:]
		a.Endpoint = e
		return a
	}
	for p := int(n.Ports.First); p <= int(n.Ports.Last); p++ {
		for _, e := range n.Binding(n.Protocols[0]).At(uint16(p)) {
			a := next(e)
			all = append(all, a)
			if a.Outcome == host.NoFamily && e.Addr == netip.IPv6Unspecified() && !e.V6Only {
				e.Addr = netip.IPv4Unspecified()
				all = append(all, next(e))
			}
		}
	}
	if len(outcomes) > 0 {
		t.Fatalf("the case has more outcomes than the need has endpoints: %q", outcomes)
	}
	return all
}

var inodes uint64

// socket returns a socket of the table; addr is "127.0.0.1:8080" or "udp [::]:53".
func socket(state host.State, addr string, holders ...host.Holder) host.Socket {
	proto := port.TCP
	if rest, udp := strings.CutPrefix(addr, "udp "); udp {
		proto, addr = port.UDP, rest
	}
	ap := netip.MustParseAddrPort(addr)
	inodes++
	uid := uint32(0)
	s := host.Socket{
		Endpoint: port.Endpoint{Protocol: proto, Addr: ap.Addr().WithZone(""), Port: ap.Port(), Device: ap.Addr().Zone()},
		State:    state, UID: &uid, Inode: inodes, Holders: holders, Complete: true,
	}
	if state == host.TimeWait {
		s.UID, s.Inode, s.Complete = nil, 0, false
	}
	return s
}

func maybeV6Only(s host.Socket) []host.Socket { s.MayBeV6Only = true; return []host.Socket{s} }

func incomplete(s host.Socket) host.Socket   { s.Complete = false; return s }
func withoutInode(s host.Socket) host.Socket { s.Inode = 0; return s }
func ofUID(s host.Socket, uid uint32) host.Socket {
	s.UID = &uid
	return s
}

func process(pid int, executable string) host.Holder {
	return host.Holder{PID: pid, Process: "forged", Executable: executable, UID: 33, User: "www-data", Started: time.Unix(1e9, 0), File: host.FileMachine, Vouched: vouched}
}

// vouched is what a probe of Linux vouches for, about a process in a container of
// root's engine.
var vouched = []string{"unit", "container"}

var (
	nginx  = host.Holder{PID: 812, Process: "nginx", Executable: "/usr/sbin/nginx", UID: 33, User: "www-data", Unit: "nginx.service", File: host.FileMachine, Vouched: vouched}
	worker = host.Holder{PID: 813, Process: "nginx", Executable: "/usr/sbin/nginx", UID: 33, User: "www-data", Unit: "nginx.service", File: host.FileMachine, Vouched: vouched}
	python = process(77, "/usr/bin/python3")
	boxed  = host.Holder{PID: 900, Process: "node", Executable: "/usr/bin/node", UID: 1000, Container: "0123456789abcdef0123456789abcdef", File: host.FileOther, Vouched: vouched}
	named  = host.Holder{PID: 904, Process: "node", Executable: "/usr/bin/node", UID: 1000, Container: "0123456789abcdef0123456789abcdef", ContainerInfo: &host.ContainerInfo{Name: "shop-web-1", Image: "node:24", Compose: "shop/web"}, File: host.FileOther, Vouched: vouched}
	proxy  = host.Holder{PID: 905, Process: "docker-proxy", Executable: "/usr/bin/docker-proxy", UID: 0, User: "root", Unit: "docker.service", Unseen: []string{host.ContainerName}, File: host.FileRoots, Vouched: vouched}
	hidden = host.Holder{PID: 901, Process: "nginx", UID: 0, User: "root", Unseen: []string{"executable", "unit", "container"}}
	gone   = host.Holder{PID: 902, Process: "x", UID: -1, Unseen: []string{"executable", "unit", "container", "user"}}
)

var service = host.Holder{PID: 906, Executable: "/usr/bin/postgres", Container: boxed.Container, ContainerInfo: &host.ContainerInfo{Name: "x_pg_1", Image: "postgres:18", Service: "pg"}, File: host.FileOther, Vouched: vouched}

// daemon returns an engine that holds a port for a container by itself.
func daemon(name string) host.Holder {
	return host.Holder{PID: 6, Executable: "/usr/bin/dockerd", Container: name, ContainerInfo: &host.ContainerInfo{Name: name}}
}

func owner(owners ...config.Owner) func(*Need) { return func(n *Need) { n.Owner = owners } }

// both returns a change that makes two changes.
func both(a, b func(*Need)) func(*Need) { return func(n *Need) { a(n); b(n) } }

func on(addresses ...port.Address) func(*Need) { return func(n *Need) { n.Addresses = addresses } }

func ports(first, last uint16) func(*Need) {
	return func(n *Need) { n.Ports = port.Range{First: first, Last: last} }
}

func udp(n *Need) { n.Protocols = []port.Protocol{port.UDP} }
func only(addresses ...port.Address) func(*Need) {
	return func(n *Need) { n.Expect, n.Only, n.Addresses = config.Listening, true, addresses }
}

func closed(n *Need) {
	reachable(n)
	n.Expect = config.Unreachable
}

func listening(n *Need) { n.Expect = config.Listening }
func reusePort(n *Need) { n.ReusePort = true }

func reuseAddress(n *Need) { n.ReuseAddress = new(true) }

func byFlag(n *Need) { n.At = config.Position{File: "--port"} }

func ofCompose(n *Need) { n.Project = "shop" }

func runAs(user string) func(*Need) { return func(n *Need) { n.RunAs = user } }

func reachableBlock(n *Need) {
	reachable(n)
	n.Ports = port.Range{First: 5432, Last: 5435}
}

func reachable(n *Need) {
	n.Expect, n.Remote, n.Addresses, n.Ports = config.Reachable, "db.internal", nil, port.One(5432)
}

// system has the case judged on another system, by a user.
func system(os string, uid int) func(*host.Facts) {
	return func(f *host.Facts) {
		f.Machine.OS = os
		for i := range f.Tried {
			f.Tried[i].UID = uid
		}
	}
}

func table(err bool) func(*host.Facts) {
	return func(f *host.Facts) {
		f.Tried[0].TableOK = !err
		f.Gaps = []host.Gap{{What: "the tcp socket table can't be read", Op: "netlink", Errno: "EPERM", Kind: host.GapSockets}}
	}
}

func noLeases(f *host.Facts) {
	f.Gaps = []host.Gap{{What: "leases of ports could not be listed: socket", Kind: host.GapLeases}}
}

// noPrivileges sets net.ipv4.ip_unprivileged_port_start to 0, as in containers.
func noPrivileges(f *host.Facts) { f.Limits.UnprivilegedFrom = 0 }

func verdictCases() []verdictCase {
	absent := func(f *host.Facts) { f.Tried[0].Unreached = []host.Unreached{{Addr: netip.MustParseAddr("192.0.2.9")}} }
	degraded := []config.NoticeCode{config.Degraded}
	listen := func(addr string, holders ...host.Holder) []host.Socket {
		return []host.Socket{socket(host.Listen, addr, holders...)}
	}
	unreadable := func(f *host.Facts) {
		f.Gaps = []host.Gap{{What: "processes of other users can't be looked into", Op: "open /proc/1/fd", Errno: "EACCES", Kind: host.GapHolders}}
	}
	return slices.Concat([]verdictCase{
		{name: "free", attempts: []string{"ok"}, want: verdictWant{status: Free, message: "tcp 8080 is free"}},
		{name: "free beside a connection", attempts: []string{"ok"}, sockets: []host.Socket{socket(host.Connected, "10.0.0.1:8080", nginx)}, want: verdictWant{status: Free, message: "is free"}},
		{name: "free beside TIME_WAIT", attempts: []string{"ok"}, sockets: []host.Socket{socket(host.TimeWait, "10.0.0.1:8080")}, want: verdictWant{status: Free, message: "is free"}},
		{
			name: "claimed", attempts: []string{"ok"}, sockets: []host.Socket{socket(host.Bound, "0.0.0.0:8080", python)},
			want: verdictWant{status: Free, message: "is free", notices: []config.NoticeCode{config.Claimed}, notice: "python3 (pid 77, user www-data) has bound it and does not listen yet", pids: []int{77}},
		},
		{
			name: "claimed is allowed", need: func(n *Need) { n.Allow = []config.NoticeCode{config.Claimed} }, attempts: []string{"ok"},
			sockets: []host.Socket{socket(host.Bound, "0.0.0.0:8080", python)}, want: verdictWant{status: Free, message: "is free", pids: []int{77}},
		},
		{name: "shadowed", attempts: []string{"ok"}, sockets: listen("127.0.0.1:8080", nginx), want: verdictWant{status: Shadowed, message: "beside nginx (pid 812, nginx.service), which would share or steal its traffic", pids: []int{812}}},
		{name: "in use", attempts: []string{"in-use"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: InUse, message: "tcp 8080 is in use by nginx (pid 812, nginx.service)", pids: []int{812}}},
		{name: "in use, bound", attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Bound, "[::]:8080", python)}, want: verdictWant{status: InUse, message: "is bound by python3 (pid 77, user www-data), which does not listen yet", pids: []int{77}}},
		{name: "in use, connected", attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Connected, "10.0.0.1:8080", python)}, want: verdictWant{status: InUse, message: "is the local port of a connection of python3", pids: []int{77}}},
		{name: "in use, closing", attempts: []string{"in-use"}, sockets: []host.Socket{incomplete(func() host.Socket { s := socket(host.Closing, "10.0.0.1:8080"); s.Inode = 0; return s }())}, want: verdictWant{status: InUse, message: "a connection that is closing", pids: []int{0}, partly: true}},
		{
			name: "in use, a listener and its connections", attempts: []string{"in-use"},
			sockets: []host.Socket{socket(host.Listen, "[::]:8080", nginx), socket(host.Connected, "10.0.0.1:8080", nginx), socket(host.TimeWait, "10.0.0.1:8080")},
			want:    verdictWant{status: InUse, message: "in use by nginx", pids: []int{812}},
		},
		{
			name: "in use, a listener and a connection of another process", attempts: []string{"in-use"},
			sockets: []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.Connected, "10.0.0.1:8080", python)},
			want:    verdictWant{status: InUse, message: "in use by nginx", pids: []int{812, 77}},
		},
		{
			name: "one of two sockets searched in part", attempts: []string{"in-use"},
			sockets: []host.Socket{incomplete(socket(host.Listen, "127.0.0.1:8080", nginx)), socket(host.Listen, "127.0.0.2:8080", python)},
			want:    verdictWant{status: InUse, message: "in use by nginx", pids: []int{812, 77}, partly: true},
		},
		{name: "time-wait", attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.TimeWait, "10.0.0.1:8080")}, want: verdictWant{status: InUse, message: "TIME_WAIT", notices: []config.NoticeCode{config.TimeWait}, notice: "within 60 s", pids: []int{0}}},
		{name: "time-wait with an owner", need: owner(config.Owner{Unit: "x"}), attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.TimeWait, "10.0.0.1:8080")}, want: verdictWant{status: InUse, message: "TIME_WAIT", notices: []config.NoticeCode{config.TimeWait}, pids: []int{0}}},
		{name: "no process visible", attempts: []string{"in-use"}, want: verdictWant{status: InUse, message: "in use by a process that can't be seen", notices: degraded, notice: "EADDRINUSE"}},
		{
			name: "no process visible, and no table", attempts: []string{"in-use"}, facts: table(true),
			want: verdictWant{status: InUse, method: Bind, message: "in use by a process that can't be seen", notices: degraded, notice: "the socket table could not be read: the tcp socket table can't be read (netlink: EPERM)"},
		},
		{name: "a bind of UDP is proof without a table", need: udp, attempts: []string{"ok"}, facts: table(true), want: verdictWant{status: Free, method: Bind, message: "udp 8080 is free"}},
		{name: "a bind of UDP that can share is no proof", need: both(udp, reuseAddress), attempts: []string{"ok"}, facts: table(true), want: verdictWant{status: Unknown, method: Bind, message: "could not determine whether"}},
		{
			name: "a bind of UDP is no proof on Windows", need: udp, attempts: []string{"ok"}, facts: func(f *host.Facts) { table(true)(f); f.Machine.OS = "windows" },
			want: verdictWant{status: Unknown, method: Bind, message: "could not determine whether"},
		},
		{
			name: "no process visible, and bound sockets are not listed", attempts: []string{"in-use"}, facts: func(f *host.Facts) { f.Tried[0].BoundHidden = true },
			want: verdictWant{status: InUse, message: "tcp 8080 is in use by a socket that the socket table does not show", notices: degraded, notice: "the bind failed with EADDRINUSE and the socket table shows no socket there: it does not show those that are bound and do not listen (sock_diag does since Linux 6.8)"},
		},
		{
			name: "bound sockets are not listed on Windows", attempts: []string{"in-use"}, facts: func(f *host.Facts) {
				f.Tried[0].BoundHidden, f.Tried[0].Attempts[0].Errno, f.Machine.OS = true, "WSAEADDRINUSE", "windows"
			},
			want: verdictWant{status: InUse, message: "tcp 8080 is in use by a socket that the socket table does not show", notices: degraded, notice: "the bind failed with WSAEADDRINUSE and the socket table shows no socket there: it does not show those that are bound and do not listen"},
		},
		{
			name: "free, and bound sockets are not listed", attempts: []string{"ok"}, facts: func(f *host.Facts) { f.Tried[0].BoundHidden = true },
			want: verdictWant{status: Free, message: "is free"},
		},
		{
			name: "a connection from [::1] blocks 0.0.0.0", need: on(port.Any4), attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Connected, "[::1]:8080", nginx)},
			want: verdictWant{status: InUse, message: "is the local port of a connection of nginx", pids: []int{812}},
		},
		{
			name: "a connection from [::1] blocks no other IPv4 address", need: on("127.0.0.1"), attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Connected, "[::1]:8080", nginx)},
			want: verdictWant{status: InUse, message: "can't be seen", notices: degraded},
		},
		{
			name: "a listener that may be IPv6-only", need: both(listening, on(port.Any4)), attempts: []string{"not-tried"}, sockets: maybeV6Only(socket(host.Listen, "[::]:8080", nginx)),
			want: verdictWant{status: Unknown, method: Table, message: "does not show whether it accepts IPv4 as well", pids: []int{812}},
		},
		{
			name: "a listener that may be IPv6-only, and IPv6 will do", need: both(listening, on(port.Any)), attempts: []string{"not-tried"}, sockets: maybeV6Only(socket(host.Listen, "[::]:8080", nginx)),
			want: verdictWant{status: Listening, method: Table, message: "is served by nginx", pids: []int{812}},
		},
		{
			name: "holder not visible", attempts: []string{"in-use"}, sockets: []host.Socket{incomplete(socket(host.Listen, "[::]:8080"))}, facts: unreadable,
			want: verdictWant{status: InUse, message: "in use by a process of user root that can't be seen", notices: degraded, notice: "EACCES", pids: []int{0}, partly: true},
		},
		{name: "held by no process", attempts: []string{"in-use"}, sockets: listen("[::]:8080"), want: verdictWant{status: InUse, message: "user root", notices: degraded, notice: "has ended, or has sent it through a unix socket", pids: []int{0}}},
		{name: "several holders", attempts: []string{"in-use"}, sockets: listen("[::]:8080", nginx, worker), want: verdictWant{status: InUse, message: "nginx (pid 812, nginx.service), nginx (pid 813, nginx.service)", pids: []int{812, 813}}},
		{name: "search stopped early", attempts: []string{"in-use"}, sockets: []host.Socket{incomplete(socket(host.Listen, "[::]:8080", nginx))}, want: verdictWant{status: InUse, message: "nginx", pids: []int{812}, partly: true}},
		{name: "in a container", attempts: []string{"in-use"}, sockets: listen("[::]:8080", boxed), want: verdictWant{status: InUse, message: "node (pid 900, container 0123456789ab)", pids: []int{900}}},
		{name: "in a container with a name", attempts: []string{"in-use"}, sockets: listen("[::]:8080", named), want: verdictWant{status: InUse, message: "node (pid 904, container shop-web-1)", pids: []int{904}}},
		{
			name: "one process for two containers", need: ports(8080, 8081), attempts: []string{"in-use", "in-use"},
			sockets: []host.Socket{socket(host.Listen, "[::]:8080", daemon("a")), socket(host.Listen, "[::]:8081", daemon("b"))},
			want:    verdictWant{status: InUse, message: "in use by dockerd (pid 6, container a), dockerd (pid 6, container b)", pids: []int{6, 6}},
		},
		{
			name: "in a container without a known name", attempts: []string{"in-use"}, sockets: listen("[::]:8080", proxy),
			facts: func(f *host.Facts) { f.Gaps = []host.Gap{{What: "no engine", Kind: host.GapContainers}} },
			want:  verdictWant{status: InUse, message: "docker-proxy (pid 905, docker.service)", pids: []int{905}, notices: degraded, notice: "the name of the container is not known: no engine"},
		},
		{
			name: "names of containers are no reason for others", attempts: []string{"in-use"}, sockets: []host.Socket{incomplete(socket(host.Listen, "[::]:8080"))},
			facts: func(f *host.Facts) { f.Gaps = []host.Gap{{What: "no engine", Kind: host.GapContainers}} },
			want:  verdictWant{status: InUse, pids: []int{0}, partly: true, notices: degraded, notice: "its holder can't be seen", message: "user root"},
		},
		{
			name: "many holders", attempts: []string{"in-use"}, sockets: listen("[::]:8080", nginx, worker, python, boxed, hidden),
			want: verdictWant{status: InUse, message: "python3 (pid 77, user www-data), 2 more", pids: []int{812, 813, 77, 900, 901}},
		},
		{name: "denied", need: ports(80, 80), attempts: []string{"denied"}, want: verdictWant{status: Denied, message: "ports below 1024 (net.ipv4.ip_unprivileged_port_start) need root or CAP_NET_BIND_SERVICE"}},
		{name: "denied to run_as", need: both(runAs("www-data"), ports(80, 80)), attempts: []string{"denied bind EPERM"}, want: verdictWant{status: Denied, message: "may not be bound by www-data"}},
		{name: "denied by a policy", attempts: []string{"denied"}, want: verdictWant{status: Denied, message: "tcp 8080 may not be bound by this user (EACCES)"}},
		{name: "denied to run_as by a policy", need: runAs("www-data"), attempts: []string{"denied"}, want: verdictWant{status: Denied, message: "tcp 8080 may not be bound by www-data (EACCES)"}},
		{name: "denied, the last privileged port", need: ports(1023, 1023), attempts: []string{"denied"}, want: verdictWant{status: Denied, message: "ports below 1024"}},
		{name: "denied, the first port that is not privileged", need: ports(1024, 1024), attempts: []string{"denied"}, want: verdictWant{status: Denied, message: "tcp 1024 may not be bound by this user (EACCES)"}},
		{name: "denied where no port is privileged", need: ports(80, 80), attempts: []string{"denied"}, facts: noPrivileges, want: verdictWant{status: Denied, message: "tcp 80 may not be bound by this user (EACCES)"}},
		{name: "denied, and a process has bound it", attempts: []string{"denied"}, sockets: []host.Socket{socket(host.Bound, "0.0.0.0:8080", python)}, want: verdictWant{status: Denied, message: "may not be bound by this user (EACCES); it is in use by python3", pids: []int{77}}},
		{name: "denied to run_as, and a process listens", need: both(runAs("www-data"), ports(80, 80)), attempts: []string{"denied"}, sockets: listen("0.0.0.0:80", nginx), want: verdictWant{status: Denied, message: "need root or CAP_NET_BIND_SERVICE; it is in use by nginx", pids: []int{812}}},
		{name: "denied off Linux", need: ports(80, 80), attempts: []string{"denied"}, facts: func(f *host.Facts) { f.Machine.OS = "freebsd" }, want: verdictWant{status: Denied, message: "ports below 1024 need root"}},
		{name: "denied, and a process listens", attempts: []string{"denied"}, sockets: listen("0.0.0.0:8080", nginx), want: verdictWant{status: InUse, message: "in use by nginx", pids: []int{812}}},
		{name: "unavailable", need: on("192.0.2.1"), attempts: []string{"no-address"}, want: verdictWant{status: Unavailable, message: "tcp 192.0.2.1:8080 can't be bound: the address is not on this host"}},
		{name: "no such device", attempts: []string{"no-address setsockopt(SO_BINDTODEVICE) ENODEV"}, want: verdictWant{status: Unavailable, method: Table, message: "tcp 8080 can't be bound: this host has no such device"}},
		{name: "unavailable, two for two reasons", need: on("192.0.2.1", "2001:db8::1"), attempts: []string{"no-address", "no-family"}, want: verdictWant{status: Unavailable, message: "tcp 8080 on 192.0.2.1 and 2001:db8::1 can't be bound: the address is not on this host (192.0.2.1), and this host has no IPv6 (2001:db8::1)"}},
		{name: "unavailable, one of two", need: on("127.0.0.1", "192.0.2.1"), attempts: []string{"ok", "no-address"}, want: verdictWant{status: Unavailable, message: "tcp 8080 on 127.0.0.1 and 192.0.2.1: tcp 192.0.2.1:8080 can't"}},
		{name: "an address that callers don't reach", need: on("192.0.2.9"), attempts: []string{"ok"}, facts: absent, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.NoCallers}, notice: "this host does not have 192.0.2.9 now"}},
		{name: "the same, allowed", need: func(n *Need) { on("192.0.2.9")(n); allow(config.NoCallers)(n) }, attempts: []string{"ok"}, facts: absent, want: verdictWant{status: Free, message: "free"}},
		{name: "os-reserved", attempts: []string{"excluded bind WSAEACCES"}, facts: func(f *host.Facts) { f.Machine.OS = "windows" }, want: verdictWant{status: OSReserved, message: "reserved by the operating system"}},
		{name: "no IPv6, any", attempts: []string{"no-family", "ok"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.NoIPv6}, notice: "no IPv6"}},
		{name: "no [::], any", attempts: []string{"no-address"}, want: verdictWant{status: Unavailable, message: "tcp 8080 can't be bound: the address is not on this host", notices: []config.NoticeCode{config.NoIPv6}}},
		{name: "no IPv6, any in use", attempts: []string{"no-family", "in-use"}, sockets: listen("0.0.0.0:8080", nginx), want: verdictWant{status: InUse, message: "nginx", notices: []config.NoticeCode{config.NoIPv6}, pids: []int{812}}},
		{name: "no IPv6, loopback", need: on(port.Loopback), attempts: []string{"ok", "no-family"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.NoIPv6}}},
		{name: "no ::1, loopback", need: on(port.Loopback), attempts: []string{"ok", "no-address"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.NoIPv6}, notice: "the address ::1 is not on this host, so the need is judged on IPv4 alone"}},
		{name: "no IPv6, any6", need: on(port.Any6), attempts: []string{"no-family"}, want: verdictWant{status: Unavailable, method: Table, message: "this host has no IPv6"}},
		{name: "no IPv6, a literal", need: on("::1"), attempts: []string{"no-family"}, want: verdictWant{status: Unavailable, method: Table, message: "this host has no IPv6"}},
		{name: "no ::1, a literal", need: on("::1"), attempts: []string{"no-address"}, want: verdictWant{status: Unavailable, message: "the address is not on this host"}},
		{name: "anything else", attempts: []string{"failed socket EMFILE"}, want: verdictWant{status: Unknown, method: Table, message: "could not be tried (socket: EMFILE)"}},
		{name: "IPv6 sockets are forbidden to portcheck", attempts: []string{"failed socket EAFNOSUPPORT"}, want: verdictWant{status: Unknown, method: Table, message: "tcp 8080 could not be tried (socket: EAFNOSUPPORT)"}},
		{name: "IPv6 sockets are forbidden to portcheck, loopback", need: on(port.Loopback), attempts: []string{"ok", "failed socket EAFNOSUPPORT"}, want: verdictWant{status: Unknown, message: "could not be tried (socket: EAFNOSUPPORT)"}},
		{name: "IPv6 sockets are forbidden to portcheck, and a process listens", attempts: []string{"failed socket EAFNOSUPPORT"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "IPv6 sockets are forbidden to portcheck, and its owner listens", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"failed socket EAFNOSUPPORT"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: Owned, method: Table, message: "nginx", pids: []int{812}}},
		{name: "IPv6 sockets are forbidden to portcheck, and a connection has the port", attempts: []string{"failed socket EAFNOSUPPORT"}, sockets: []host.Socket{socket(host.TimeWait, "[::1]:8080")}, want: verdictWant{status: Unknown, method: Table, message: "could not be tried (socket: EAFNOSUPPORT)"}},
		{name: "a filter denies IPv6 sockets, and a process listens", attempts: []string{"failed socket EPERM"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "a filter denies IPv6 sockets of UDP, and a process has one", need: udp, attempts: []string{"failed socket EACCES"}, sockets: listen("udp [::]:8080", nginx), want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "a filter denies IPv6 sockets", attempts: []string{"failed socket EPERM"}, want: verdictWant{status: Unknown, method: Table, message: "tcp 8080 could not be tried (socket: EPERM)"}},
		{name: "a filter denies IPv6 sockets, and a process has bound the port", attempts: []string{"failed socket EPERM"}, sockets: []host.Socket{socket(host.Bound, "[::]:8080", nginx)}, want: verdictWant{status: Unknown, method: Table, message: "tcp 8080 could not be tried (socket: EPERM)", notices: []config.NoticeCode{config.Claimed}, notice: "nginx", pids: []int{812}}},
		{name: "a filter denies IPv6 sockets, and a process has bound the port of an app that can't share it", need: func(n *Need) { n.ReuseAddress = new(false) }, attempts: []string{"failed socket EPERM"}, sockets: []host.Socket{socket(host.Bound, "[::]:8080", nginx)}, want: verdictWant{status: InUse, method: Table, message: "bound by nginx", pids: []int{812}}},
		{name: "a filter denies IPv6 sockets, and a process listens that may be the owner", need: owner(config.Owner{Process: "x"}), attempts: []string{"failed socket EPERM"}, sockets: listen("[::]:8080"), want: verdictWant{status: Unknown, method: Table, message: "whether by its owner could not be determined", notices: degraded, pids: []int{0}}},
		{name: "a filter denies IPv6 sockets, and there is no table", attempts: []string{"failed socket EPERM"}, facts: table(true), want: verdictWant{status: Unknown, method: None, message: "tcp 8080 could not be tried (socket: EPERM)"}},
		{name: "run_as without the right, and a process listens", need: runAs("www-data"), attempts: []string{"failed setresuid EPERM"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "leases are not known", attempts: []string{"ok"}, facts: noLeases, want: verdictWant{status: Unknown, message: "tcp 8080: could not determine whether another job has leased it: leases of ports could not be listed: socket"}},
		{name: "leases of UDP are not known", need: udp, attempts: []string{"ok"}, facts: noLeases, want: verdictWant{status: Unknown, message: "udp 8080: could not determine whether another job has leased it"}},
		{name: "leases are not known, and the port is taken", attempts: []string{"in-use"}, sockets: listen("[::]:8080", nginx), facts: noLeases, want: verdictWant{status: InUse, message: "in use by nginx", pids: []int{812}}},
		{name: "run_as without the right", need: runAs("www-data"), attempts: []string{"failed setresuid EPERM"}, want: verdictWant{status: Unknown, method: Table, message: "could not be tried as www-data: portcheck has no right to change its user (setresuid: EPERM)"}},
		{name: "run_as a user that the namespace lacks", need: runAs("4000"), attempts: []string{"failed setresuid EINVAL"}, want: verdictWant{status: Unknown, method: Table, message: "could not be tried as 4000: portcheck runs in a user namespace that has no such user (setresuid: EINVAL)"}},
		{name: "run_as and something else", need: runAs("www-data"), attempts: []string{"failed socket EMFILE"}, want: verdictWant{status: Unknown, method: Table, message: "tcp 8080 could not be tried (socket: EMFILE)"}},
		{name: "a look-up without run_as", attempts: []string{"failed look_up_user odd"}, want: verdictWant{status: Unknown, method: Table, message: "tcp 8080 could not be tried (look up user: odd)"}},
		{name: "run_as of an unknown user", need: runAs("ghost"), attempts: []string{"failed look_up_user unknown user ghost"}, want: verdictWant{status: Unknown, method: Table, message: "could not be tried as ghost: there is no such user"}},
		{name: "bound without a table", attempts: []string{"ok"}, facts: table(true), want: verdictWant{status: Unknown, method: Bind, message: "could not determine whether a process listens there: the tcp socket table can't be read (netlink: EPERM)"}},
		{name: "neither bound nor a table", need: reusePort, attempts: []string{"not-tried"}, facts: table(true), want: verdictWant{status: Unknown, method: None, message: "could not determine whether"}},
		{name: "in use without a table", attempts: []string{"in-use"}, facts: table(true), want: verdictWant{status: InUse, method: Bind, message: "a process that can't be seen", notices: degraded}},
		{name: "a block with two taken", need: ports(8080, 8083), attempts: []string{"ok", "in-use", "ok", "in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8081", nginx), socket(host.Listen, "[::]:8083", python)}, want: verdictWant{status: InUse, message: "tcp 8081,8083 of 8080-8083 are in use by nginx", pids: []int{812, 77}}},
		{name: "a block, in use before denied", need: ports(80, 81), attempts: []string{"denied", "in-use"}, sockets: listen("[::]:81", nginx), want: verdictWant{status: InUse, message: "tcp 81 of 80-81 is in use", pids: []int{812}}},
		{name: "another device", need: on("fe80::1%eth0"), attempts: []string{"ok"}, sockets: listen("[fe80::1%eth1]:8080", nginx), want: verdictWant{status: Free, message: "tcp [fe80::1%eth0]:8080 is free"}},
		{name: "privileged", need: ports(80, 80), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Privileged}, notice: "but your app may not: set run_as to its user to be sure"}},
		{name: "privileged, from the command line", need: both(byFlag, ports(80, 80)), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Privileged}, notice: "but your app may not: use --run-as with its user to be sure"}},
		{name: "privileged, in a Compose file", need: both(ofCompose, ports(80, 80)), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Privileged}, notice: "set run_as in x-portcheck to its user"}},
		{name: "the last privileged port", need: ports(1023, 1023), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Privileged}, notice: "below 1024"}},
		{name: "the first port that is not privileged", need: ports(1024, 1024), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free"}},
		{name: "privileged with run_as", need: both(runAs("www-data"), ports(80, 80)), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free"}},
		{name: "privileged and not elevated", need: ports(80, 80), attempts: []string{"ok"}, facts: func(f *host.Facts) { f.Machine.Elevated = false }, want: verdictWant{status: Free, message: "free"}},
		{name: "no port is privileged", need: ports(80, 80), attempts: []string{"ok"}, facts: noPrivileges, want: verdictWant{status: Free, message: "free"}},
		{name: "ephemeral", need: ports(40000, 40000), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Ephemeral}, notice: "32768-60999 on this host"}},
		{name: "ephemeral but reserved", need: ports(40000, 40000), attempts: []string{"ok"}, facts: func(f *host.Facts) { f.Limits.Reserved = port.Set{port.One(40000)} }, want: verdictWant{status: Free, message: "free"}},
		{name: "ephemeral, the second of a block", need: ports(40000, 40001), attempts: []string{"ok", "ok"}, facts: func(f *host.Facts) { f.Limits.Reserved = port.Set{port.One(40000)} }, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Ephemeral}, notice: "port 40001 is an ephemeral port"}},
		{name: "ephemeral, the second of a block that begins below", need: ports(32766, 32769), attempts: []string{"ok", "ok", "ok", "ok"}, facts: func(f *host.Facts) { f.Limits.Reserved = port.Set{port.One(32768)} }, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Ephemeral}, notice: "port 32769 is an ephemeral port"}},
		{name: "ephemeral but reserved, a block", need: ports(40000, 40001), attempts: []string{"ok", "ok"}, facts: func(f *host.Facts) { f.Limits.Reserved = port.Set{{First: 40000, Last: 40001}} }, want: verdictWant{status: Free, message: "free"}},
		{name: "ephemeral but reserved, a block that ends above", need: ports(60998, 61001), attempts: []string{"ok", "ok", "ok", "ok"}, facts: func(f *host.Facts) { f.Limits.Reserved = port.Set{{First: 60998, Last: 60999}} }, want: verdictWant{status: Free, message: "free"}},
		{name: "unsafe-port", need: ports(6000, 6000), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.UnsafePort}}},
		{name: "squatter of this system", need: ports(5000, 5000), attempts: []string{"ok"}, facts: func(f *host.Facts) { f.Machine.OS = "darwin" }, want: verdictWant{status: Free, message: "free", notices: []config.NoticeCode{config.Squatter}, notice: "AirPlay"}},
		{name: "squatter of another system", need: ports(5000, 5000), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "free"}},
		{name: "shadowed by several", attempts: []string{"ok"}, sockets: []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.Listen, "127.0.0.2:8080", python), socket(host.Listen, "[::1]:8080", python)}, want: verdictWant{status: Shadowed, message: "tcp 8080 can be bound, but beside nginx (pid 812, nginx.service) at 127.0.0.1:8080, python3 (pid 77, user www-data) at 127.0.0.2:8080 and [::1]:8080, which would share or steal its traffic", pids: []int{812, 77, 77}}},
		{name: "shadowed by one at several addresses", attempts: []string{"ok"}, sockets: []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.Listen, "127.0.0.2:8080", nginx)}, want: verdictWant{status: Shadowed, message: "tcp 8080 can be bound, but beside nginx (pid 812, nginx.service), which would", pids: []int{812, 812}}},
		{name: "reuse_port, same user", need: reusePort, attempts: []string{"not-tried"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: Shadowed, method: Table, message: "would share", pids: []int{812}}},
		{name: "reuse_port, another user", need: reusePort, attempts: []string{"not-tried"}, sockets: []host.Socket{ofUID(socket(host.Listen, "[::]:8080", nginx), 33)}, want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "reuse_port, a listener without a user", need: reusePort, attempts: []string{"not-tried"}, sockets: []host.Socket{func() host.Socket { s := socket(host.Listen, "[::]:8080", nginx); s.UID = nil; return s }()}, want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "reuse_port, same user, and another's bound socket", need: reusePort, attempts: []string{"not-tried"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", nginx), ofUID(socket(host.Bound, "[::]:8080", python), 33)}, want: verdictWant{status: Shadowed, method: Table, message: "would share", pids: []int{812, 77}}},
		// How sockets share a port on BSD: port.LikeBSD. Those that would take a part of a
		// server's traffic are not bound (host.Probe); the outcomes of the others are those
		// of in_pcbbind and in6_pcbbind of XNU.
		{name: "macOS: an address beside the wildcard, same user", need: on("127.0.0.1"), facts: system("darwin", 501), attempts: []string{"not-tried"}, sockets: []host.Socket{ofUID(socket(host.Listen, "0.0.0.0:8080", nginx), 501)}, want: verdictWant{status: Shadowed, method: Table, message: "can be bound, but beside nginx", pids: []int{812}}},
		{name: "macOS: an address beside the wildcard, root", need: on("127.0.0.1"), facts: system("darwin", 0), attempts: []string{"not-tried"}, sockets: []host.Socket{ofUID(socket(host.Listen, "0.0.0.0:8080", nginx), 501)}, want: verdictWant{status: Shadowed, method: Table, message: "can be bound, but beside nginx", pids: []int{812}}},
		{name: "macOS: an address beside another user's wildcard", need: on("127.0.0.1"), facts: system("darwin", 501), attempts: []string{"not-tried"}, sockets: listen("0.0.0.0:8080", nginx), want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "macOS: the wildcard beside an address", need: on(port.Any4), facts: system("darwin", 501), attempts: []string{"ok"}, sockets: []host.Socket{ofUID(socket(host.Listen, "127.0.0.1:8080", nginx), 501)}, want: verdictWant{status: Shadowed, message: "can be bound, but beside nginx", pids: []int{812}}},
		{name: "macOS: both families beside 0.0.0.0", facts: system("darwin", 501), attempts: []string{"ok"}, sockets: listen("0.0.0.0:8080", nginx), want: verdictWant{status: Shadowed, message: "can be bound, but beside nginx", pids: []int{812}}},
		{name: "macOS: 0.0.0.0 beside both families", need: on(port.Any4), facts: system("darwin", 501), attempts: []string{"in-use"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: InUse, message: "in use by nginx", pids: []int{812}}},
		{name: "macOS: 0.0.0.0 beside IPv6 only", need: on(port.Any4), facts: system("darwin", 501), attempts: []string{"ok"}, sockets: func() []host.Socket {
			s := socket(host.Listen, "[::]:8080", nginx)
			s.V6Only = true
			return []host.Socket{s}
		}(), want: verdictWant{status: Free, message: "is free"}},
		{name: "macOS: the same address, reuse_address", need: on("127.0.0.1"), facts: system("darwin", 501), attempts: []string{"in-use"}, sockets: listen("127.0.0.1:8080", nginx), want: verdictWant{status: InUse, message: "in use by nginx", pids: []int{812}}},
		{name: "macOS: udp reuse_address, the same address", need: both(udp, reuseAddress), facts: system("darwin", 501), attempts: []string{"in-use"}, sockets: listen("udp [::]:8080", nginx), want: verdictWant{status: InUse, message: "udp 8080 is in use by nginx", pids: []int{812}}},
		{name: "macOS: udp reuse_address beside another user's wildcard", need: both(both(udp, reuseAddress), on("127.0.0.1")), facts: system("darwin", 501), attempts: []string{"not-tried"}, sockets: listen("udp 0.0.0.0:8080", nginx), want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "FreeBSD: reuse_port, root beside a user", need: reusePort, facts: system("freebsd", 0), attempts: []string{"not-tried"}, sockets: []host.Socket{ofUID(socket(host.Listen, "[::]:8080", nginx), 501)}, want: verdictWant{status: Shadowed, method: Table, message: "would share", pids: []int{812}}},
		{name: "FreeBSD: reuse_port, another user", need: reusePort, facts: system("freebsd", 501), attempts: []string{"not-tried"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: InUse, method: Table, message: "in use by nginx", pids: []int{812}}},
		{name: "reuse_port, and the listener has gone", need: reusePort, attempts: []string{"not-tried"}, want: verdictWant{status: Unknown, method: Table, message: "tcp 8080 was not bound, because"}},
		{
			name: "udp reuse_address", need: both(udp, func(n *Need) { n.ReuseAddress = new(bool); *n.ReuseAddress = true }), attempts: []string{"not-tried"},
			sockets: listen("udp [::]:8080", nginx), want: verdictWant{status: Shadowed, method: Table, message: "udp 8080 can be bound, but beside nginx", pids: []int{812}},
		},
		{
			name: "udp reuse_address and reuse_port, another user", need: both(both(udp, reusePort), func(n *Need) { n.ReuseAddress = new(bool); *n.ReuseAddress = true }), attempts: []string{"not-tried"},
			sockets: []host.Socket{ofUID(socket(host.Listen, "udp [::]:8080", nginx), 33)}, want: verdictWant{status: Shadowed, method: Table, message: "would share", pids: []int{812}},
		},
		{
			name: "one socket at two endpoints", need: on(port.Loopback), attempts: []string{"in-use", "in-use"}, sockets: listen("[::]:8080", nginx),
			want: verdictWant{status: InUse, message: "is in use by nginx (pid 812, nginx.service)", pids: []int{812}},
		},
		{
			name: "sockets without inodes at one address", attempts: []string{"in-use"},
			sockets: []host.Socket{withoutInode(socket(host.Listen, "[::]:8080", nginx)), withoutInode(socket(host.Listen, "[::]:8080", python)), withoutInode(socket(host.Listen, "[::]:8080", nginx))},
			want:    verdictWant{status: InUse, message: "nginx (pid 812, nginx.service), python3 (pid 77, user www-data)", pids: []int{812, 77}},
		},
		{name: "a listener without an inode or a holder", attempts: []string{"in-use"}, sockets: []host.Socket{withoutInode(socket(host.Listen, "[::]:8080"))}, want: verdictWant{status: InUse, message: "user root", notices: degraded, notice: "another PID namespace", pids: []int{0}}},
		{name: "a connection without an inode", attempts: []string{"in-use"}, sockets: []host.Socket{withoutInode(socket(host.Connected, "10.0.0.1:8080"))}, want: verdictWant{status: InUse, message: "local port of a connection of a process of user root", pids: []int{0}}},
		{name: "a connection without a holder", attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Connected, "10.0.0.1:8080")}, want: verdictWant{status: InUse, message: "local port of a connection of a process of user root", notices: degraded, notice: "no process has it open", pids: []int{0}}},
		{name: "udp in use", need: udp, attempts: []string{"in-use"}, sockets: listen("udp 127.0.0.1:8080", nginx), want: verdictWant{status: InUse, message: "udp 8080 is in use by nginx", pids: []int{812}}},

		{name: "listening", need: listening, attempts: []string{"not-tried"}, sockets: listen("127.0.0.1:8080", nginx), want: verdictWant{status: Listening, method: Table, message: "tcp 8080 is served by nginx", pids: []int{812}}},
		{name: "not listening", need: listening, attempts: []string{"not-tried"}, want: verdictWant{status: NotListening, method: Table, message: "nothing listens on tcp 8080"}},
		{name: "not listening but bound", need: listening, attempts: []string{"not-tried"}, sockets: []host.Socket{socket(host.Bound, "[::]:8080", python)}, want: verdictWant{status: NotListening, method: Table, message: "nothing listens", notices: []config.NoticeCode{config.Claimed}, pids: []int{77}}},
		{name: "not listening but connected", need: listening, attempts: []string{"not-tried"}, sockets: []host.Socket{socket(host.Connected, "10.0.0.1:8080", python)}, want: verdictWant{status: NotListening, method: Table, message: "nothing listens"}},
		{name: "listening elsewhere", need: both(listening, on("127.0.0.1")), attempts: []string{"not-tried"}, sockets: listen("127.0.0.2:8080", nginx), want: verdictWant{status: NotListening, method: Table, message: "tcp 127.0.0.1:8080"}},
		{name: "half a block listens", need: both(listening, ports(8080, 8081)), attempts: []string{"not-tried", "not-tried"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: NotListening, method: Table, message: "tcp 8080-8081: nothing listens on 8081"}},
		{name: "listening, no table", need: listening, attempts: []string{"not-tried"}, facts: table(true), want: verdictWant{status: Unknown, method: None, message: "could not determine whether"}},
		{name: "listening, right owner", need: both(listening, owner(config.Owner{Unit: "nginx.service"})), attempts: []string{"not-tried"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: Listening, method: Table, message: "served by nginx", pids: []int{812}}},
		{name: "listening, wrong owner", need: both(listening, owner(config.Owner{Unit: "nginx.service"})), attempts: []string{"not-tried"}, sockets: listen("[::]:8080", python), want: verdictWant{status: WrongOwner, method: Table, message: "served by a process that is not its owner: python3", pids: []int{77}}},
		{name: "listening, owner unproven", need: both(listening, owner(config.Owner{Unit: "nginx.service"})), attempts: []string{"not-tried"}, sockets: []host.Socket{incomplete(socket(host.Listen, "[::]:8080", hidden))}, want: verdictWant{status: Unknown, method: Table, message: "whether by its owner could not be determined", notices: []config.NoticeCode{config.Degraded, config.Degraded}, pids: []int{901}, partly: true}},
		{name: "on loopback alone", need: only("127.0.0.1"), attempts: []string{"not-tried"}, sockets: listen("127.0.0.1:8080", nginx), want: verdictWant{status: Listening, method: Table, message: "served by nginx", pids: []int{812}}},
		{name: "on loopback alone, and all of loopback", need: only(port.Loopback), attempts: []string{"not-tried", "not-tried"}, sockets: slices.Concat(listen("127.0.0.1:8080", nginx), listen("[::1]:8080", nginx), listen("127.0.0.2:8080", python)), want: verdictWant{status: Listening, method: Table, message: "served by nginx", pids: []int{812, 812}}},
		{name: "on every address, and only loopback may be", need: only(port.Loopback), attempts: []string{"not-tried", "not-tried"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: Exposed, method: Table, message: "tcp 8080 on loopback is served, but nginx (pid 812, nginx.service) also listens outside of it: tcp [::]:8080", pids: []int{812}}},
		{name: "another listens outside", need: only("127.0.0.1"), attempts: []string{"not-tried"}, sockets: slices.Concat(listen("127.0.0.1:8080", nginx), listen("192.0.2.7:8080", python)), want: verdictWant{status: Exposed, method: Table, message: "python3 (pid 77", pids: []int{812, 77}}},
		{name: "only outside", need: only("127.0.0.1"), attempts: []string{"not-tried"}, sockets: listen("192.0.2.7:8080", python), want: verdictWant{status: NotListening, method: Table, message: "nothing listens"}},
		{name: "exposed, and whose it is can't be seen", need: both(only("127.0.0.1"), owner(config.Owner{Unit: "nginx.service"})), attempts: []string{"not-tried"}, sockets: []host.Socket{incomplete(socket(host.Listen, "[::]:8080", hidden))}, want: verdictWant{status: Exposed, method: Table, message: "also listens outside", notices: []config.NoticeCode{config.Degraded}, pids: []int{901}, partly: true}},
		{name: "only IPv4, and a dual-stack listener", need: only(port.Any4), attempts: []string{"not-tried"}, sockets: listen("[::]:8080", nginx), want: verdictWant{status: Exposed, method: Table, message: "outside of it: tcp [::]:8080", pids: []int{812}}},
		{name: "udp listening", need: both(listening, udp), attempts: []string{"not-tried"}, sockets: listen("udp 127.0.0.1:8080", nginx), want: verdictWant{status: Listening, method: Table, message: "udp 8080 is served", pids: []int{812}}},

		{name: "reachable", need: reachable, attempts: []string{"ok"}, want: verdictWant{status: Reachable, method: Connect, message: "db.internal port 5432 accepts connections"}},
		{name: "refused", need: reachable, attempts: []string{"failed connect ECONNREFUSED"}, want: verdictWant{status: Unreachable, method: Connect, message: "refuses connections"}},
		{name: "refused on Windows", need: reachable, attempts: []string{"failed connect WSAECONNREFUSED"}, want: verdictWant{status: Unreachable, method: Connect, message: "refuses connections"}},
		{name: "timeout", need: reachable, attempts: []string{"failed connect ETIMEDOUT"}, want: verdictWant{status: Unreachable, method: Connect, message: "does not answer (timeout)"}},
		{name: "unresolved", need: reachable, attempts: []string{"failed resolve not found"}, want: verdictWant{status: Unreachable, method: Connect, message: "db.internal can't be resolved (not found)"}},
		{name: "no route", need: reachable, attempts: []string{"failed connect EHOSTUNREACH"}, want: verdictWant{status: Unreachable, method: Connect, message: "can't be reached (EHOSTUNREACH)"}},
		{name: "a reachable block", need: reachableBlock, attempts: slices.Repeat([]string{"ok"}, 4), want: verdictWant{status: Reachable, method: Connect, message: "db.internal ports 5432-5435 accept connections"}},
		{name: "one port of a block refuses", need: reachableBlock, attempts: []string{"ok", "ok", "failed connect ECONNREFUSED", "ok"}, want: verdictWant{status: Unreachable, method: Connect, message: "db.internal ports 5432-5435: 1 of 4 not reached: 5434 (connection refused: nothing listens there)"}},
		{name: "ports of a block fail for different reasons", need: reachableBlock, attempts: []string{"failed connect ECONNREFUSED", "failed connect ETIMEDOUT", "failed connect ECONNREFUSED", "failed connect EHOSTUNREACH"}, want: verdictWant{status: Unreachable, method: Connect, message: "4 of 4 not reached: 5432,5434 (connection refused: nothing listens there), 5433 (no answer: it is down, or a firewall drops the packets), 5435 (EHOSTUNREACH)"}},
		{name: "a block at a name that does not resolve", need: reachableBlock, attempts: slices.Repeat([]string{"failed resolve not found"}, 4), want: verdictWant{status: Unreachable, method: Connect, message: "4 of 4 not reached: 5432-5435 (resolve: not found)"}},
		{name: "no time for a port of a block", need: reachableBlock, attempts: []string{"ok", "ok", "ok", "not-tried connect --timeout leaves too little time"}, want: verdictWant{status: Unknown, method: Connect, message: "1 of 4 not reached: 5435 (not tried: --timeout leaves too little time)"}},
		{name: "no time for a port, and another refuses", need: reachableBlock, attempts: []string{"ok", "ok", "failed connect ECONNREFUSED", "not-tried connect --timeout leaves too little time"}, want: verdictWant{status: Unreachable, method: Connect, message: "5435 (not tried: --timeout leaves too little time)"}},
		{name: "no connects at all for a block", need: reachableBlock, attempts: slices.Repeat([]string{"not-tried connect no space left"}, 4), want: verdictWant{status: Unknown, method: None, message: "4 of 4 not reached: 5432-5435 (not tried: no space left)"}},
		{name: "no time to connect", need: reachable, attempts: []string{"not-tried connect --timeout leaves too little time"}, want: verdictWant{status: Unknown, method: None, message: "db.internal port 5432: can't connect from this target: --timeout leaves too little time"}},
		{name: "unreachable, and refused", need: closed, attempts: []string{"failed connect ECONNREFUSED"}, want: verdictWant{status: Unreachable, method: Connect, message: "refuses connections", met: true}},
		{name: "unreachable, and silent", need: closed, attempts: []string{"failed connect ETIMEDOUT"}, want: verdictWant{status: Unreachable, method: Connect, message: "does not answer", met: true}},
		{name: "unreachable, and rejected on the way", need: closed, attempts: []string{"failed connect EHOSTUNREACH"}, want: verdictWant{status: Unreachable, method: Connect, message: "EHOSTUNREACH", met: true}},
		{name: "unreachable, and it answers", need: closed, attempts: []string{"ok"}, want: verdictWant{status: Reachable, method: Connect, message: "accepts connections", unmet: true}},
		{name: "unreachable, and the name does not resolve", need: closed, attempts: []string{"failed resolve not found"}, want: verdictWant{status: Unknown, method: Connect, message: "can't be resolved (not found), which does not show"}},
		{name: "unreachable, and there is no network", need: closed, attempts: []string{"failed connect ENETUNREACH"}, want: verdictWant{status: Unknown, method: Connect, message: "ENETUNREACH"}},
		{name: "unreachable, and not tried", need: closed, attempts: []string{"not-tried connect --timeout leaves too little time"}, want: verdictWant{status: Unknown, method: None, message: "can't connect from this target"}},
		{name: "an unreachable block, and one port answers", need: both(reachableBlock, func(n *Need) { n.Expect = config.Unreachable }), attempts: []string{"failed connect ECONNREFUSED", "ok", "failed resolve not found", "ok"}, want: verdictWant{status: Reachable, method: Connect, message: "ports 5432-5435: 2 of 4 accept connections: 5433,5435", unmet: true}},
		{name: "connect not tried", need: reachable, attempts: []string{"failed socket EMFILE"}, want: verdictWant{status: Unknown, method: Connect, message: "could not be tried (socket: EMFILE)"}},
	}, ownerCases(), tableCases(), callerCases())
}

// ownerCases returns cases of a need with an owner on a port that is held.
func ownerCases() []verdictCase {
	held := func(name string, sockets []host.Socket, status Status, owners ...config.Owner) verdictCase {
		c := verdictCase{name: "owner: " + name, need: owner(owners...), attempts: []string{"in-use"}, sockets: sockets}
		c.want = verdictWant{status: status, message: map[Status]string{
			Owned: "is held by its owner", InUse: "is in use by", Unknown: "whether by its owner could not be determined",
		}[status]}
		for _, s := range sockets {
			if s.Inode == 0 || s.State == host.Connected {
				continue
			}
			for _, h := range s.Holders {
				c.want.pids = append(c.want.pids, h.PID)
			}
			if len(s.Holders) == 0 {
				c.want.pids = append(c.want.pids, 0)
				c.want.notices = []config.NoticeCode{config.Degraded}
			}
		}
		return c
	}
	changed := func(h host.Holder, change func(*host.Holder)) host.Holder { change(&h); return h }
	noCgroup := func(c verdictCase) verdictCase {
		c.want.notices, c.want.notice = []config.NoticeCode{config.Degraded}, "the cgroup of pid 901, which has its unit and container, can't be read, or portcheck runs in a cgroup namespace of its own"
		return c
	}
	doubtful := func(c verdictCase) verdictCase {
		c.want.notices = []config.NoticeCode{config.Degraded}
		return c
	}
	ofTarget := func(c verdictCase) verdictCase {
		c.facts = func(f *host.Facts) { f.Machine.Namespace.Kind = host.NamespaceContainer }
		return c
	}
	more := func(sockets []host.Socket) []host.Socket {
		for i := range sockets {
			sockets[i].MoreHolders, sockets[i].Complete = true, false
		}
		return sockets
	}
	leftOut := func(c verdictCase) verdictCase {
		c.facts = func(f *host.Facts) { f.Gaps = []host.Gap{{What: "there are more holders", Kind: host.GapHolders}} }
		c.want.notices, c.want.notice, c.want.partly = []config.NoticeCode{config.Degraded}, "not compared with owner: there are more holders", true
		return c
	}
	nameless := func(c verdictCase) verdictCase {
		c.facts = func(f *host.Facts) {
			f.Gaps = []host.Gap{{What: "the engine can't be asked", Op: "connect", Errno: "ENOENT", Kind: host.GapContainers}}
		}
		c.want.notices, c.want.notice = []config.NoticeCode{config.Degraded}, "the name of the container is not known: the engine can't be asked (connect: ENOENT)"
		return c
	}
	by := func(holders ...host.Holder) []host.Socket {
		return []host.Socket{socket(host.Listen, "[::]:8080", holders...)}
	}
	cases := []verdictCase{
		held("process", by(nginx), Owned, config.Owner{Process: "nginx"}),
		leftOut(held("more processes than were examined", more(by(nginx)), Unknown, config.Owner{Process: "nginx"})),
		leftOut(held("another process, and more than were examined", more(by(nginx)), InUse, config.Owner{Process: "apache2"})),
		held("process is not the forged name", by(python), InUse, config.Owner{Process: "forged"}),
		held("process glob", by(python), Owned, config.Owner{Process: "python*"}),
		held("another process", by(nginx), InUse, config.Owner{Process: "apache2"}),
		held("process unseen", by(hidden), Unknown, config.Owner{Process: "nginx"}),
		held("executable", by(nginx), Owned, config.Owner{Executable: "/usr/sbin/nginx"}),
		held("executable glob", by(nginx), Owned, config.Owner{Executable: "/usr/*/nginx"}),
		held("a glob does not cross /", by(nginx), InUse, config.Owner{Executable: "/*nginx"}),
		held("executable unseen", by(hidden), Unknown, config.Owner{Executable: "/usr/sbin/nginx"}),
		held("unit", by(nginx), Owned, config.Owner{Unit: "nginx.service"}),
		held("another unit", by(nginx), InUse, config.Owner{Unit: "shop-*.service"}),
		held("no unit", by(python), InUse, config.Owner{Unit: "*.service"}),
		noCgroup(held("unit unseen", by(hidden), Unknown, config.Owner{Unit: "nginx.service"})),
		held("user", by(nginx), Owned, config.Owner{User: "www-data"}),
		held("another user", by(nginx), InUse, config.Owner{User: "root"}),
		held("user unseen", by(gone), Unknown, config.Owner{User: "root"}),
		held("container ID", by(boxed), Owned, config.Owner{Container: "0123456789abcdef0123456789abcdef"}),
		held("short container ID", by(boxed), Owned, config.Owner{Container: "0123456789ab"}),
		held("not in a container", by(nginx), InUse, config.Owner{Container: "web"}),
		noCgroup(held("container unseen", by(hidden), Unknown, config.Owner{Container: "web"})),
		held("container name, which only the engine has", by(boxed), Unknown, config.Owner{Container: "web"}),
		held("image, which only the engine has", by(boxed), Unknown, config.Owner{Image: "node:*"}),
		held("compose, which only the engine has", by(boxed), Unknown, config.Owner{Compose: "shop/web"}),
		held("image, and not in a container", by(nginx), InUse, config.Owner{Image: "node:*"}),
		held("container name", by(named), Owned, config.Owner{Container: "shop-*"}),
		held("another container name", by(named), InUse, config.Owner{Container: "shop-db-*"}),
		held("ID of a named container", by(named), Owned, config.Owner{Container: "0123456789ab"}),
		held("too little of an ID", by(named), InUse, config.Owner{Container: "0123456789a"}),
		held("a name as long as an ID", by(named), InUse, config.Owner{Container: "shop-database-1"}),
		held("service of the job", by(service), Owned, config.Owner{Container: "pg"}),
		held("container of a service of the job", by(service), Owned, config.Owner{Container: "x_pg_1"}),
		held("another service of the job", by(service), InUse, config.Owner{Container: "redis"}),
		held("service and another image", by(service), InUse, config.Owner{Container: "pg", Image: "redis:*"}),
		held("image", by(named), Owned, config.Owner{Image: "node:*"}),
		held("another image", by(named), InUse, config.Owner{Image: "nginx:*"}),
		held("compose", by(named), Owned, config.Owner{Compose: "shop/*"}),
		held("another compose service", by(named), InUse, config.Owner{Compose: "shop/db"}),
		held("name and another image", by(named), InUse, config.Owner{Container: "shop-web-1", Image: "nginx:*"}),
		nameless(held("a proxy of a container that is not known", by(proxy), Unknown, config.Owner{Container: "shop-*"})),
		nameless(held("a proxy is a process too", by(proxy), Owned, config.Owner{Process: "docker-proxy"})),
		nameless(held("a proxy is not every process", by(proxy), InUse, config.Owner{Process: "nginx"})),
		held("the process of a container", by(named), InUse, config.Owner{Process: "node"}),
		held("the path in a container", by(named), InUse, config.Owner{Executable: "/usr/bin/node"}),
		held("the process of a container, together with it", by(named), Owned, config.Owner{Process: "node", Image: "node:*"}),
		held("the path in a container, together with its ID", by(boxed), Owned, config.Owner{Executable: "/usr/bin/node", Container: boxed.Container}),
		held("another path in a container", by(named), InUse, config.Owner{Executable: "/usr/bin/nginx", Container: "shop-*"}),
		ofTarget(held("the process of a container that is the target", by(boxed), Owned, config.Owner{Process: "node"})),
		ofTarget(held("a container that nobody vouches for, in a target", by(changed(boxed, func(h *host.Holder) { h.Vouched = nil })), InUse, config.Owner{Process: "node"})),
		held("a file of its own", by(changed(nginx, func(h *host.Holder) { h.File = host.FileOther })), InUse, config.Owner{Process: "nginx"}),
		doubtful(held("a file that was not compared", by(changed(nginx, func(h *host.Holder) { h.File = "" })), Unknown, config.Owner{Process: "nginx"})),
		doubtful(held("names that were not read", by(changed(nginx, func(h *host.Holder) { h.Unseen = []string{host.NamesUnseen} })), Unknown, config.Owner{Process: "httpd"})),
		held("a name that was read beside them", by(changed(nginx, func(h *host.Holder) { h.Unseen = []string{host.NamesUnseen} })), Owned, config.Owner{Process: "nginx"}),
		held("names that were not read do not matter to a path", by(changed(nginx, func(h *host.Holder) { h.Unseen = []string{host.NamesUnseen} })), InUse, config.Owner{Executable: "/usr/bin/httpd"}),
		doubtful(held("an answer without proofs", by(changed(nginx, func(h *host.Holder) { h.File, h.Vouched = "", nil })), Unknown, config.Owner{Unit: "nginx.service"})),
		doubtful(held("a container that nobody vouches for", by(changed(named, func(h *host.Holder) { h.Vouched = nil })), Unknown, config.Owner{Container: "shop-*"})),
		doubtful(held("an ID that nobody vouches for", by(changed(boxed, func(h *host.Holder) { h.Vouched = nil })), Unknown, config.Owner{Container: boxed.Container})),
		held("a user's unit", by(changed(nginx, func(h *host.Holder) { h.Unit = "user@33.service/nginx.service" })), InUse, config.Owner{Unit: "nginx.service"}),
		held("a user's unit as such", by(changed(nginx, func(h *host.Holder) { h.Unit = "user@33.service/nginx.service" })), Owned, config.Owner{Unit: "user@*.service/nginx.service"}),
		doubtful(held("another user's socket", []host.Socket{ofUID(by(nginx)[0], 1000)}, Unknown, config.Owner{User: "www-data"})),
		held("the user's own socket", []host.Socket{ofUID(by(nginx)[0], 33)}, Owned, config.Owner{User: "www-data"}),
		held("every key must match", by(nginx), InUse, config.Owner{Process: "nginx", User: "root"}),
		held("a key that does not match outweighs an unseen one", by(hidden), InUse, config.Owner{Process: "nginx", User: "www-data"}),
		held("any mapping may match", by(nginx), Owned, config.Owner{Unit: "x.service"}, config.Owner{Process: "nginx"}),
		held("no mapping matches", by(nginx), InUse, config.Owner{Unit: "x.service"}, config.Owner{Process: "y"}),
		held("every process must match", by(nginx, worker), Owned, config.Owner{Process: "nginx"}),
		held("one process is foreign", by(nginx, python), InUse, config.Owner{Process: "nginx"}),
		held("one process is unproven", by(nginx, hidden), Unknown, config.Owner{Process: "nginx"}),
		held("foreign outweighs unproven", by(hidden, python), InUse, config.Owner{Process: "nginx"}),
		held("every socket must match", []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.Listen, "127.0.0.2:8080", python)}, InUse, config.Owner{Process: "nginx"}),
		held("a socket without a process", []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.Listen, "127.0.0.2:8080")}, Unknown, config.Owner{Process: "nginx"}),
		held("TIME_WAIT beside the owner", []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.TimeWait, "127.0.0.1:8080")}, Owned, config.Owner{Process: "nginx"}),
		held("connections of the owner", []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.Connected, "127.0.0.1:8080", nginx)}, Owned, config.Owner{Process: "nginx"}),
	}
	shadow := held("shadowed by the owner", by(nginx), Owned, config.Owner{Process: "nginx"})
	shadow.attempts = []string{"ok"}
	foreign := held("shadowed by another", by(python), Shadowed, config.Owner{Process: "nginx"})
	foreign.attempts, foreign.want.message = []string{"ok"}, "would share or steal"
	free := verdictCase{name: "owner: and free", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"ok"}, want: verdictWant{status: Free, message: "is free"}}
	unseen := verdictCase{
		name: "owner: no process visible", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"in-use"},
		want: verdictWant{status: Unknown, message: "no process can be seen there", notices: []config.NoticeCode{config.Degraded}, notice: "EADDRINUSE"},
	}
	others := verdictCase{
		name: "owner: others can't be looked into", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"in-use"},
		sockets: []host.Socket{incomplete(socket(host.Listen, "[::]:8080", nginx))},
		want:    verdictWant{status: Owned, message: "held by its owner, nginx", notices: []config.NoticeCode{config.Degraded}, notice: "were not compared with owner", pids: []int{812}, partly: true},
	}
	partly := others
	partly.name = "owner: others can't be looked into for one of two sockets"
	partly.sockets = []host.Socket{incomplete(socket(host.Listen, "127.0.0.1:8080", nginx)), socket(host.Listen, "127.0.0.2:8080", worker)}
	partly.want.pids = []int{812, 813}
	mixed := verdictCase{
		name: "owner: of half a block", need: both(owner(config.Owner{Process: "nginx"}), ports(8080, 8081)), attempts: []string{"in-use", "ok"}, sockets: by(nginx),
		want: verdictWant{status: Owned, message: "held by its owner", pids: []int{812}},
	}
	orphan := held("an orphan beside the owner", append(by(nginx), incomplete(withoutInode(socket(host.Closing, "127.0.0.1:8080")))), Owned, config.Owner{Process: "nginx"})
	orphan.want.partly = true
	closed := verdictCase{
		name: "owner: a connection of no process", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"in-use"},
		sockets: []host.Socket{socket(host.Connected, "127.0.0.1:8080")},
		want:    verdictWant{status: InUse, message: "local port of a connection", notices: []config.NoticeCode{config.Degraded}, notice: "no process has it open", pids: []int{0}},
	}
	anothers := verdictCase{
		name: "owner: a connection of another process", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"in-use"},
		sockets: append(by(nginx), socket(host.Connected, "127.0.0.1:8080", python)),
		want:    verdictWant{status: InUse, message: "is in use by nginx (pid 812, nginx.service), python3", pids: []int{812, 77}},
	}
	hiddenPeer := verdictCase{
		name: "owner: a connection of a process that can't be seen", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"in-use"},
		sockets: []host.Socket{incomplete(socket(host.Connected, "127.0.0.1:8080"))},
		want:    verdictWant{status: Unknown, message: "whether by its owner could not be determined", notices: []config.NoticeCode{config.Degraded}, notice: "its holder can't be seen", pids: []int{0}, partly: true},
	}
	return append(cases, shadow, foreign, free, unseen, others, partly, mixed, orphan, closed, anothers, hiddenPeer)
}

func TestEveryStatusAndNoticeHasACase(t *testing.T) {
	statuses, notices := map[Status]bool{Leased: true, Undeclared: true}, map[config.NoticeCode]bool{} // these have tests of their own
	note := func(r Result) {
		statuses[r.Status] = true
		for _, n := range r.Notices {
			notices[n.Code] = true
			if n.Message == "" || strings.ContainsAny(n.Message, "\n%!") && strings.Contains(n.Message, "%!") {
				t.Errorf("%s: %q", n.Code, n.Message)
			}
		}
	}
	for _, c := range verdictCases() {
		note(c.judge(t))
	}
	for _, c := range lintCases() {
		for _, r := range linted(t, c.needs).Results {
			note(r)
		}
	}
	for _, s := range Statuses {
		if !statuses[s] {
			t.Errorf("status %s has no case", s)
		}
	}
	for _, n := range config.NoticeCodes {
		if !notices[n] {
			t.Errorf("notice %s has no case", n)
		}
	}
}

func TestOutcomesBecomeEndpoints(t *testing.T) {
	c := verdictCase{need: on("127.0.0.1", "fe80::1%eth0"), attempts: []string{"ok", "in-use"}, sockets: []host.Socket{socket(host.Listen, "[fe80::1%eth0]:8080", nginx)}}
	got := c.judge(t)
	want := []Endpoint{{"127.0.0.1", 8080, "ok", "", ""}, {"fe80::1%eth0", 8080, "in-use", "bind", "EADDRINUSE"}}
	if diff := cmp.Diff(want, got.Endpoints); diff != "" {
		t.Error(diff)
	}
	if h := got.Holders[0]; h.Address != "fe80::1%eth0" || h.State != "listen" || *h.UID != 33 || h.Executable != "/usr/sbin/nginx" {
		t.Errorf("%+v", h)
	}
}

func TestHolderWithoutProcessKeepsTheSocketsUser(t *testing.T) {
	got := verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080")}}.judge(t)
	if h := got.Holders[0]; h.UID == nil || *h.UID != 0 || h.PID != 0 || h.Process != "" || h.Started != nil {
		t.Errorf("want uid 0, and no unknown fields: %+v", h)
	}
}

func TestHostileHolderNamesAreCut(t *testing.T) {
	h := process(1, "/tmp/"+strings.Repeat("x", 4096))
	got := verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", h)}}.judge(t)
	if len(got.Message) > 200 {
		t.Errorf("%d bytes: %s", len(got.Message), got.Message)
	}
}

// A process with sockets on two addresses is a holder of each. The message names it
// once.
func TestAHolderOfTwoAddresses(t *testing.T) {
	got := verdictCase{
		need: on(port.Loopback), attempts: []string{"in-use", "in-use"},
		sockets: []host.Socket{socket(host.Listen, "127.0.0.1:8080", nginx), socket(host.Listen, "[::1]:8080", nginx)},
	}.judge(t)
	if want := "tcp 8080 on loopback is in use by nginx (pid 812, nginx.service)"; got.Message != want {
		t.Errorf("%s\nwant %s", got.Message, want)
	}
	var addresses []string
	for _, h := range got.Holders {
		addresses = append(addresses, fmt.Sprint(h.Address, " ", h.PID))
	}
	if diff := cmp.Diff([]string{"127.0.0.1 812", "::1 812"}, addresses); diff != "" {
		t.Error(diff)
	}
}

func TestHoldersInMessages(t *testing.T) {
	many := func(n int) []host.Holder {
		var all []host.Holder
		for i := range n {
			all = append(all, process(i+1, fmt.Sprintf("/bin/p%d", i+1)))
		}
		return all
	}
	long := strings.Repeat("x", 64)
	for want, holders := range map[string][]host.Holder{
		"p1 (pid 1, user www-data), p2 (pid 2, user www-data), p3 (pid 3, user www-data)":          many(3),
		"p1 (pid 1, user www-data), p2 (pid 2, user www-data), p3 (pid 3, user www-data), 1 more":  many(4),
		"p1 (pid 1, user www-data), p2 (pid 2, user www-data), p3 (pid 3, user www-data), 17 more": many(20),
		"root (pid 5, user root)":                     {{PID: 5, Executable: "/bin/root"}},
		"ghost (pid 5)":                               {{PID: 5, Process: "ghost", UID: -1}},
		"a process (pid 5)":                           {{PID: 5, UID: -1}},
		`app.exe (pid 5)`:                             {{PID: 5, Executable: `C:\Program Files\app.exe`, UID: -1}},
		"db (pid 5, this job's service pg)":           {{PID: 5, Executable: "/bin/db", Container: "0123456789abcdef", ContainerInfo: &host.ContainerInfo{Name: "pg_1", Service: "pg"}}},
		"db (pid 5, this job's service " + long + ")": {{PID: 5, Executable: "/bin/db", Container: "0", ContainerInfo: &host.ContainerInfo{Service: long + "y"}}},
		"db (pid 5, container " + long + ")":          {{PID: 5, Executable: "/bin/db", Container: "0", ContainerInfo: &host.ContainerInfo{Name: long + "y"}}},
		"db (pid 5, " + long + ")":                    {{PID: 5, Executable: "/bin/db", Unit: long + "y"}},
		"db (pid 5, user " + long[:32] + ")":          {{PID: 5, Executable: "/bin/db", User: long}},
		long + " (pid 7)":                             {{PID: 7, Process: long + "y", UID: -1}},
		long + " (pid 5)":                             {{PID: 5, Executable: "/bin/" + long, UID: -1}},
		long + " (pid 6)":                             {{PID: 6, Executable: "/bin/" + long + "y", UID: -1}},
	} {
		got := verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", holders...)}}.judge(t)
		if want = "tcp 8080 is in use by " + want; got.Message != want {
			t.Errorf("%s\nwant %s", got.Message, want)
		}
	}
}

// The message on a block names the first ports that are taken.
func TestEndpointsInMessages(t *testing.T) {
	const even = -1
	for taken, want := range map[int]string{
		1:    "tcp 8080 of 8080-8091 is in use by nginx (pid 812, nginx.service)",
		5:    "tcp 8080-8084 of 8080-8091 are in use by nginx (pid 812, nginx.service)",
		even: "tcp 8080,8082,8084,8086,8088 and 1 other range of 8080-8091 are in use by nginx (pid 812, nginx.service)",
		12:   "tcp 8080-8091 is in use by nginx (pid 812, nginx.service)",
	} {
		c := verdictCase{need: ports(8080, 8091)}
		for i := range 12 {
			if taken == even && i%2 == 1 || taken != even && i >= taken {
				c.attempts = append(c.attempts, "ok")
				continue
			}
			c.attempts = append(c.attempts, "in-use")
			c.sockets = append(c.sockets, socket(host.Listen, fmt.Sprintf("[::]:%d", 8080+i), nginx))
		}
		if got := c.judge(t); got.Message != want {
			t.Errorf("%s\nwant %s", got.Message, want)
		}
	}
}

func TestSubjects(t *testing.T) {
	for want, c := range map[string]struct {
		change func(*Need)
		last   uint16
	}{
		"tcp 8080 is free":                               {func(*Need) {}, 0},
		"tcp 8080-8081 is free":                          {ports(8080, 8081), 8081},
		"tcp 127.0.0.1:8080 is free":                     {on("127.0.0.1"), 0},
		"tcp 8080-8081 on 127.0.0.1 is free":             {both(ports(8080, 8081), on("127.0.0.1")), 8081},
		"tcp 0.0.0.0:8080 is free":                       {on(port.Any4), 0},
		"tcp 8080 on 127.0.0.1 and 127.0.0.2 is free":    {on("127.0.0.1", "127.0.0.2"), 0},
		"tcp 8080 on loopback is free":                   {on(port.Loopback), 0},
		"tcp 8080-8081 on loopback and 10.0.0.1 is free": {both(ports(8080, 8081), on(port.Loopback, "10.0.0.1")), 8081},
	} {
		r := run(t, []Need{needOf("a.yml", "x", c.change)}, Options{}, targetOf("local", &sim{})).Results[0]
		if r.Message != want || r.PortLast != c.last {
			t.Errorf("%s, to %d; want %s, to %d", r.Message, r.PortLast, want, c.last)
		}
	}
	for app, want := range map[string]string{"": "x@local/udp", "shop": "shop/x@local/udp"} {
		n := needOf("a.yml", "x", udp)
		n.App = app
		if got := linted(t, []Need{n}).Results[0].ID; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// The endpoint of a connect has the address that was tried, or the host name if
// none was tried.
func TestAddressOfAConnect(t *testing.T) {
	for want, addr := range map[string]netip.Addr{"db.internal": {}, "192.0.2.7": netip.MustParseAddr("192.0.2.7")} {
		f := machine()
		f.Tried, f.Dialed = []host.Tried{}, []host.Attempt{dialed(5432, "ok")}
		f.Dialed[0].Addr = addr
		r := run(t, []Need{needOf("a.yml", "x", reachable)}, Options{}, targetOf("local", canned(f))).Results[0]
		if len(r.Endpoints) != 1 || r.Endpoints[0].Address != want {
			t.Errorf("%+v, want %s", r.Endpoints, want)
		}
	}
}

func TestHolderFields(t *testing.T) {
	full := named
	full.Unit, full.Command, full.Started, full.User = "web.service", []string{"node", "app.js"}, time.Unix(1e9, 0), "ann"
	info := *named.ContainerInfo
	info.Service = "web"
	full.ContainerInfo = &info
	got := verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "127.0.0.1:8080", full)}}.judge(t).Holders
	uid, started := 1000, time.Unix(1e9, 0)
	want := []Holder{{
		Address: "127.0.0.1", Port: 8080, State: "listen", UID: &uid, User: "ann", PID: 904, Process: "node", Executable: "/usr/bin/node",
		Unit: "web.service", Container: &Container{ID: boxed.Container, Name: "shop-web-1", Image: "node:24", Compose: "shop/web", Service: "web"},
		Started: &started, Command: []string{"node", "app.js"}, OwnFile: true,
	}}
	if got[0].Minutes < int32(time.Since(started)/time.Minute)-1 {
		t.Errorf("runs for %d minutes", got[0].Minutes)
	}
	got[0].Minutes = 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{ofUID(socket(host.Listen, "[::]:8080", host.Holder{PID: 1, User: "root"}), 7)}}.judge(t).Holders
	if len(got) != 1 || got[0].UID == nil || *got[0].UID != 0 || got[0].User != "root" {
		t.Errorf("%+v", got)
	}
	// A process with an unknown user has the user of its socket.
	got = verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{ofUID(socket(host.Listen, "[::]:8080", gone), 7)}}.judge(t).Holders
	if len(got) != 1 || got[0].UID == nil || *got[0].UID != 7 {
		t.Errorf("%+v", got)
	}
}

func TestNoticesAreSilencedByAllow(t *testing.T) {
	for _, c := range verdictCases() {
		for _, code := range c.want.notices {
			silent := c
			silent.need = func(n *Need) {
				if c.need != nil {
					c.need(n)
				}
				n.Allow = []config.NoticeCode{code}
			}
			got := silent.judge(t)
			if got.Status != c.want.status || slices.ContainsFunc(got.Notices, func(n Notice) bool { return n.Code == code }) {
				t.Errorf("%s, allow: [%s]: %s, %+v", c.name, code, got.Status, got.Notices)
			}
		}
	}
}

func TestReportCounts(t *testing.T) {
	report := Report{}
	for i, s := range []struct {
		status   Status
		severity config.Severity
	}{{Free, config.SeverityError}, {InUse, config.SeverityError}, {InUse, config.SeverityWarning}, {Unknown, config.SeverityError}, {Unknown, config.SeverityWarning}} {
		report.Results = append(report.Results, Result{ID: fmt.Sprint(i), Status: s.status, Severity: s.severity, OK: s.status.OK()})
	}
	report.Finish()
	if want := (Summary{Checked: 5, OK: 1, Errors: 1, Warnings: 1, Unknown: 2}); report.Summary != want || report.OK {
		t.Errorf("%+v", report.Summary)
	}
}

// The reason why a socket table could not be read decides what helps, so the
// report has to know it.
func TestUnreadTable(t *testing.T) {
	gaps := []host.Gap{{What: "a default is assumed", Errno: "ENOENT"}, {What: "the table can't be read", Op: "socket", Errno: "EMFILE", Kind: host.GapSockets}}
	for _, expect := range []config.Expect{config.Free, config.Listening} {
		n := needOf("a.yml", "a")
		n.Expect = expect
		outcome := "ok"
		judge := judgeFree
		if expect == config.Listening {
			outcome, judge = "not-tried", judgeListening
		}
		r := judge(n, port.TCP, host.Tried{Attempts: attempts(t, n, []string{outcome})}, host.Facts{Gaps: gaps})
		if r.Status != Unknown || r.TableErrno != "EMFILE" || !strings.Contains(r.Message, "EMFILE") {
			t.Errorf("%s: %s, %q, %s", expect, r.Status, r.TableErrno, r.Message)
		}
	}
}

// A holder has most likely ended if no process has its socket, and the kernel does not have
// it either.
func TestEnded(t *testing.T) {
	kernels := socket(host.Listen, "[::]:8080")
	kernels.Kernel = true
	for name, c := range map[string]struct {
		socket host.Socket
		want   bool
	}{
		"a listener without a holder":   {socket(host.Listen, "[::]:8080"), true},
		"a listener with one":           {socket(host.Listen, "[::]:8080", nginx), false},
		"not all processes were seen":   {incomplete(socket(host.Listen, "[::]:8080")), false},
		"no process can have it":        {withoutInode(socket(host.Listen, "[::]:8080")), false},
		"the kernel has it":             {kernels, false},
		"a connection without a holder": {socket(host.Connected, "[::]:8080"), false},
	} {
		var r Result
		Need{}.noteUnseen(&r, []host.Socket{c.socket}, nil)
		if r.Ended != c.want {
			t.Errorf("%s: %v", name, r.Ended)
		}
	}
}
