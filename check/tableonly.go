package check

import (
	"fmt"
	"slices"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// judgeByTable is the verdict on an endpoint of a machine on which nothing can
// be bound: its socket table has the last word.
func judgeByTable(n Need, a host.Attempt, tried host.Tried, sockets []host.Socket, f host.Facts) Status {
	b := n.Binding(a.Protocol)
	switch {
	case len(sockets) == 0:
		return rightToBind(n, a, f)
	case onlyBindTells(b, sockets):
		return Unknown
	case slices.ContainsFunc(sockets, holdsPort) && (b.ReusePort || b.Protocol == port.UDP && b.ReuseAddress):
		return besideListener(b, tried, sockets)
	}
	return InUse
}

// onlyBindTells says whether connections alone are in the way, of a binding that
// asks to share its port: it depends on their own options, which no table shows,
// whether they keep it.
func onlyBindTells(b port.Binding, sockets []host.Socket) bool {
	return (b.ReuseAddress || b.ReusePort) && !slices.ContainsFunc(sockets, holdsPort)
}

// rightToBind is the verdict on a port where nobody is: free for who may bind it.
func rightToBind(n Need, a host.Attempt, f host.Facts) Status {
	switch {
	case int(a.Port) >= f.Limits.UnprivilegedFrom, n.RunAs == "root", n.RunAs == "0":
		return Free
	case n.RunAs != "": // its capabilities can't be seen
		return Unknown
	case f.Machine.Elevated:
		return Free
	case f.Machine.UID < 0:
		return Unknown
	}
	return Denied
}

// mayLeaveIPv4 says whether a listener that overlaps an IPv4 endpoint does so
// only if its socket is dual-stack, of which /proc/net tells nothing.
func mayLeaveIPv4(s host.Socket, e port.Endpoint) bool { return e.Addr.Is4() && s.Addr.Is6() }

// explainDoubt says why the table alone leaves open whether the port is free.
func (n Need) explainDoubt(r *Result, e evidence) {
	if len(e.blamed[0].sockets) == 0 {
		who := n.RunAs
		if who == "" {
			who = "this user"
		}
		r.Message = fmt.Sprintf("%s: nobody is there, but ports below %d (net.ipv4.ip_unprivileged_port_start) need root or CAP_NET_BIND_SERVICE, and without a bind it can't be told whether %s has that right", e.where, e.facts.Limits.UnprivilegedFrom, who)
		return
	}
	n.show(r, e.sockets, e.facts.Gaps)
	r.Message = fmt.Sprintf("%s: nobody listens there, but it is the local port of connections, and only a bind can tell whether they keep it", e.where)
	if allTimeWait(e.sockets) {
		n.notify(r, config.TimeWait, "its connections are in TIME_WAIT: they are gone within 60 s, so `wait: 60s` is enough")
	}
	n.noteUnseen(r, e.sockets, e.facts.Gaps)
}
