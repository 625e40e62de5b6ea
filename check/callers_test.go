package check

import (
	"net/netip"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// away returns a change to facts: callers of port 8080 are sent away.
func away(routes ...host.Route) func(*host.Facts) {
	return func(f *host.Facts) {
		for i := range routes {
			if routes[i].Port == 0 {
				routes[i].Port = 8080
			}
		}
		f.Tried[0].Routes = routes
	}
}

func allocated(addr string, user int) func(*host.Facts) {
	return func(f *host.Facts) {
		f.Allocated = []host.Allocation{{
			Endpoint:  port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr(addr), Port: 8080, V6Only: true},
			Container: webID, ContainerInfo: &host.ContainerInfo{Name: "web", Image: "nginx"}, User: user,
		}}
	}
}

const webID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func changes(all ...func(*host.Facts)) func(*host.Facts) {
	return func(f *host.Facts) {
		for _, change := range all {
			change(f)
		}
	}
}

// toward returns a route of all callers by eth0.
func toward(to ...host.Destination) host.Route {
	return host.Route{
		From: []string{"eth0"}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, All: true, To: to,
		Rule: host.Rule{Family: "ip", Table: "nat", Chain: "PREROUTING", Comment: "old blue", Text: "dnat to 10.0.0.5:80"},
	}
}

func destination(addr string, here bool) host.Destination {
	a := netip.MustParseAddrPort(addr)
	return host.Destination{Addr: a.Addr(), Port: a.Port(), Here: here}
}

func inWeb(addr string) host.Destination {
	d := destination(addr, false)
	d.Container, d.ContainerInfo = webID, &host.ContainerInfo{Name: "web", Image: "nginx"}
	return d
}

func callerCases() []verdictCase {
	there := destination("10.0.0.5:80", false)
	old := destination("192.0.2.1:9090", true)
	some := toward(there)
	some.All, some.Reason = false, "it depends on the caller"
	local := toward(there)
	local.From = []string{""}
	every := toward(there)
	every.From, every.Addrs = []string{"eth0", "eth1", ""}, append(every.Addrs, netip.MustParseAddr("192.0.2.2"))
	more := every
	more.More = true
	other := toward(there)
	other.Rule.Text = "another"
	legacy := toward(there)
	legacy.Rule.Legacy = true
	second := toward(there)
	second.Port = 8081
	own := config.Owner{Process: "python3"}
	web := config.Owner{Container: "web"}
	one := []config.NoticeCode{config.NAT}
	redirected := func(message string, pids ...int) verdictWant {
		return verdictWant{status: Redirected, message: message, pids: pids}
	}
	table := func(w verdictWant) verdictWant { w.method = Table; return w }
	return []verdictCase{
		{name: "callers: sent to another machine", attempts: []string{"ok"}, facts: away(toward(there)), want: redirected("tcp 8080 can be bound, but callers of 192.0.2.1 by eth0 are sent to 10.0.0.5:80 by a NAT rule in chain PREROUTING of table ip nat (old blue)")},
		{name: "callers: on this machine", attempts: []string{"ok"}, facts: away(local), want: redirected("but callers of 192.0.2.1 on this machine are sent")},
		{name: "callers: from everywhere", attempts: []string{"ok"}, facts: away(every), want: redirected("but callers by eth0, eth1 and on this machine are sent")},
		{name: "callers: of many interfaces", attempts: []string{"ok"}, facts: away(more), want: redirected("but callers by eth0, eth1, others and on this machine are sent")},
		{name: "callers: by two rules", attempts: []string{"ok"}, facts: away(toward(there), other), want: redirected("(old blue), and by 1 more")},
		{name: "callers: by iptables-legacy", attempts: []string{"ok"}, facts: away(legacy), want: redirected("of table ip nat of iptables-legacy")},
		{name: "callers: by IPVS", attempts: []string{"ok"}, facts: away(func() host.Route {
			r := toward(there)
			r.Rule = host.Rule{Family: "ip", Table: "ipvs", Text: "virtual service tcp 192.0.2.1:8080"}
			return r
		}()), want: redirected("are sent to 10.0.0.5:80 by the virtual service tcp 192.0.2.1:8080 of IPVS")},
		{name: "callers: of too many routes", attempts: []string{"ok"}, facts: away(host.Route{All: true}), want: redirected("but callers are sent to another place by NAT rules")},
		{name: "callers: of one of two ports", need: ports(8080, 8081), attempts: []string{"ok", "ok"}, facts: away(second), want: redirected("tcp 8080-8081: 8081 can be bound, but")},
		{name: "callers: to a process here", attempts: []string{"ok"}, sockets: listenOn(9090, python), facts: away(toward(old)), want: redirected("sent to 192.0.2.1:9090 of python3 (pid 77, user www-data) by", 77)},
		{name: "callers: to a range of ports of a process here", attempts: []string{"ok"}, sockets: func() []host.Socket {
			return append(listenOn(9090, python), listenOn(9091, python)...)
		}(), facts: away(toward(host.Destination{Addr: netip.MustParseAddr("192.0.2.1"), Here: true, Ports: [2]uint16{9090, 9091}})), want: redirected("sent to 192.0.2.1:9090-9091 of python3 (pid 77, user www-data) by", 77, 77)},
		{name: "callers: to a range of ports of which one is a process's", attempts: []string{"ok"}, sockets: listenOn(9090, python), facts: away(toward(host.Destination{Addr: netip.MustParseAddr("192.0.2.1"), Here: true, Ports: [2]uint16{9090, 9091}})), want: redirected("sent to 192.0.2.1:9090-9091 by")},
		{name: "callers: of every port", attempts: []string{"ok"}, facts: away(func() host.Route {
			r := some
			r.Reason = host.EveryPort
			return r
		}()), want: verdictWant{status: Free, message: "tcp 8080 is free", notices: one, notice: "callers of 192.0.2.1 by eth0 are sent to 10.0.0.5:80 by a NAT rule in chain PREROUTING of table ip nat (old blue): it takes every port"}},
		{name: "callers: to nobody here", attempts: []string{"ok"}, facts: away(toward(old)), want: redirected("sent to 192.0.2.1:9090 of no process that can be seen by")},
		{name: "callers: to a container", attempts: []string{"ok"}, facts: away(toward(inWeb("10.0.0.5:80"))), want: redirected("sent to 10.0.0.5:80 of container web", 0)},
		{name: "callers: some", attempts: []string{"ok"}, facts: away(some), want: verdictWant{status: Free, message: "tcp 8080 is free", notices: one, notice: "some of the callers of 192.0.2.1 by eth0 may be sent to 10.0.0.5:80 by a NAT rule in chain PREROUTING of table ip nat (old blue): it depends on the caller"}},
		{name: "callers: some, perhaps elsewhere", attempts: []string{"ok"}, facts: away(func() host.Route {
			r := some
			r.To = []host.Destination{old, {}}
			return r
		}()), want: verdictWant{status: Free, message: "tcp 8080 is free", notices: one, notice: "may be sent to 192.0.2.1:9090 of no process that can be seen or another place by a NAT rule"}},
		{name: "callers: back to the need, without answers", attempts: []string{"ok"}, facts: away(func() host.Route {
			r := some
			r.Reason, r.To = host.Unanswered, []host.Destination{destination("192.0.2.1:8080", true)}
			return r
		}()), want: verdictWant{status: Free, message: "tcp 8080 is free", notices: one, notice: "answers to callers of 192.0.2.1 by eth0 may be lost: packets are changed by a NAT rule in chain PREROUTING of table ip nat (old blue)"}},
		{name: "callers: back to the need", need: on("192.0.2.1", "127.0.0.1"), attempts: []string{"ok", "ok"}, facts: away(func() host.Route {
			r := local
			r.To = []host.Destination{destination("127.0.0.1:8080", true)}
			return r
		}()), want: verdictWant{status: Free, message: "is free"}},
		{name: "callers: back to a loopback address from outside", need: on("192.0.2.1", "127.0.0.1"), attempts: []string{"ok", "ok"}, facts: away(toward(destination("127.0.0.1:8080", true))), want: redirected("are sent to 127.0.0.1:8080")},
		{name: "callers: of a port in use", attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", nginx)}, facts: away(toward(there)), want: verdictWant{status: InUse, message: "is in use by nginx", pids: []int{812}}},
		{name: "callers: to the owner, a process", need: owner(own), attempts: []string{"ok"}, sockets: listenOn(9090, python), facts: away(toward(old)), want: verdictWant{status: Owned, message: "callers of 192.0.2.1 by eth0 are sent to its owner, 192.0.2.1:9090", pids: []int{77}}},
		{name: "callers: to the owner, a container", need: owner(web), attempts: []string{"ok"}, facts: away(toward(inWeb("10.0.0.5:80"))), want: verdictWant{status: Owned, message: "to its owner, 10.0.0.5:80 of container web", pids: []int{0}}},
		{name: "callers: past the owner", need: owner(config.Owner{Process: "nginx"}), attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", nginx)}, facts: away(toward(inWeb("10.0.0.5:80"))), want: redirected("tcp 8080 is held by its owner, nginx (pid 812, nginx.service), but callers", 0)},
		{name: "callers: one way to the owner, one not", need: owner(web), attempts: []string{"ok"}, facts: away(toward(inWeb("10.0.0.5:80")), func() host.Route {
			r := other
			r.To = []host.Destination{destination("192.0.2.1:9090", true)}
			return r
		}()), want: redirected("are sent to", 0)},
		{name: "callers: to a machine that is not known", need: owner(web), attempts: []string{"ok"}, facts: away(toward(there)), want: verdictWant{status: Redirected, message: "are sent to 10.0.0.5:80", notices: []config.NoticeCode{config.Degraded}, notice: "whether callers end at its owner could not be determined"}},
		{name: "callers: of the container of the proxy", need: listening, attempts: []string{"not-tried"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", ofWeb(proxy))}, facts: away(toward(inWeb("10.0.0.5:80"))), want: table(verdictWant{status: Listening, message: "served by docker-proxy (pid 905, container web)", pids: []int{905}})},
		{name: "callers: of a proxy without a name", need: listening, attempts: []string{"not-tried"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", proxy)}, facts: away(toward(there)), want: table(verdictWant{status: Listening, message: "served by docker-proxy", notices: []config.NoticeCode{config.Degraded}, pids: []int{905}})},
		{name: "callers: past a listener", need: listening, attempts: []string{"not-tried"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", nginx)}, facts: away(toward(there)), want: table(redirected("tcp 8080 is served by nginx (pid 812, nginx.service), but callers"))},
		{name: "callers: of no listener", need: listening, attempts: []string{"not-tried"}, facts: away(toward(there)), want: table(redirected("nothing listens on tcp 8080, and callers"))},
		{name: "callers: of no listener, to the owner", need: both(listening, owner(web)), attempts: []string{"not-tried"}, facts: away(toward(inWeb("10.0.0.5:80"))), want: table(verdictWant{status: Listening, message: "to its owner", pids: []int{0}})},

		{name: "callers: of one of two ports without a listener, to the owner", need: both(both(listening, owner(web)), ports(8080, 8081)), attempts: []string{"not-tried", "not-tried"}, facts: away(toward(inWeb("10.0.0.5:80"))), want: table(verdictWant{status: NotListening, message: "nothing listens on tcp 8080-8081"})},
		{name: "callers: partly back to the need", need: on("192.0.2.1", "192.0.2.2"), attempts: []string{"ok", "ok"}, facts: away(toward(destination("192.0.2.2:8080", true), there)), want: verdictWant{status: Free, message: "is free", notices: one, notice: "may be sent to 192.0.2.2:8080 of"}},

		{name: "allocated: without a socket", attempts: []string{"ok"}, facts: allocated("0.0.0.0", 0), want: verdictWant{status: InUse, message: "tcp 8080 is in use by container web", pids: []int{0}}},
		{name: "allocated: of another address", need: on("127.0.0.1"), attempts: []string{"ok"}, facts: allocated("192.0.2.1", 0), want: verdictWant{status: Free, message: "is free"}},
		{name: "allocated: the proxy can't be seen", attempts: []string{"in-use"}, sockets: []host.Socket{ofUID(incomplete(socket(host.Listen, "0.0.0.0:8080")), 0)}, facts: allocated("0.0.0.0", 0), want: verdictWant{status: InUse, message: "in use by container web", pids: []int{0}}},
		{name: "allocated: another user's socket", attempts: []string{"in-use"}, sockets: []host.Socket{ofUID(incomplete(socket(host.Listen, "0.0.0.0:8080")), 33)}, facts: allocated("0.0.0.0", 0), want: verdictWant{status: InUse, message: "container web, a process of uid 33 that can't be seen", notices: []config.NoticeCode{config.Degraded}, pids: []int{0, 0}, partly: true}},
		{name: "allocated: the proxy is seen", attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "0.0.0.0:8080", ofWeb(proxy))}, facts: allocated("0.0.0.0", 0), want: verdictWant{status: InUse, message: "in use by docker-proxy (pid 905, container web)", pids: []int{905}}},
		{name: "allocated: to the owner", need: owner(web), attempts: []string{"ok"}, facts: changes(allocated("0.0.0.0", 0), away(toward(inWeb("10.0.0.5:80")))), want: verdictWant{status: Owned, message: "tcp 8080 is held by its owner, container web", pids: []int{0}}},
		{name: "allocated: to another", need: owner(config.Owner{Container: "api"}), attempts: []string{"ok"}, facts: allocated("0.0.0.0", 0), want: verdictWant{status: InUse, message: "container web", pids: []int{0}}},
		{name: "allocated: listening", need: listening, attempts: []string{"not-tried"}, facts: changes(allocated("0.0.0.0", 0), away(toward(inWeb("10.0.0.5:80")))), want: table(verdictWant{status: Listening, message: "served by container web", pids: []int{0}})},
	}
}

func listenOn(p uint16, h host.Holder) []host.Socket {
	s := socket(host.Listen, "0.0.0.0:8080", h)
	s.Port = p
	return []host.Socket{s}
}

func ofWeb(h host.Holder) host.Holder {
	h.Unseen = nil
	h.Container, h.ContainerInfo, h.Vouched = webID, &host.ContainerInfo{Name: "web", Image: "nginx"}, []string{"container"}
	return h
}

// The fields of a result for callers that are sent away.
func TestRedirectFields(t *testing.T) {
	legacy := toward(destination("10.0.0.5:80", false), destination("10.0.0.6:80", false))
	legacy.From, legacy.Rule.Legacy = []string{"eth0", ""}, true
	r := verdictCase{attempts: []string{"ok"}, facts: away(legacy)}.judge(t)
	want := Redirect{From: "eth0, this machine", To: "10.0.0.5:80, 10.0.0.6:80", Rule: "dnat to 10.0.0.5:80", Comment: "old blue", Table: "ip nat", Chain: "PREROUTING", Legacy: true}
	if r.Redirect == nil || *r.Redirect != want {
		t.Errorf("%+v, want %+v", r.Redirect, want)
	}
	partial := toward(destination("10.0.0.5:80", false))
	partial.All = false
	if r := (verdictCase{attempts: []string{"ok"}, facts: away(partial)}).judge(t); r.Redirect != nil {
		t.Errorf("some callers: %+v", r.Redirect)
	}
}
