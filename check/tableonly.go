package check

import (
	"fmt"
	"slices"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// judgeByTable returns the verdict on an endpoint of a machine on which nothing
// can be bound: its socket table decides.
func judgeByTable(n Need, a host.Attempt, tried host.Tried, sockets []host.Socket, f host.Facts) Status {
	b := n.Binding(a.Protocol)
	switch {
	case len(sockets) == 0:
		return rightToBind(n, a, f)
	case onlyConnections(b, sockets):
		return Unknown
	case slices.ContainsFunc(sockets, holdsPort) && b.MayTake(f.Machine.OS):
		return besideListener(b, tried, sockets, f.Machine)
	}
	return InUse
}

// onlyConnections reports whether a binding that shares its port has nothing but
// connections in its way. Whether they block the bind depends on their own socket
// options, which no table shows.
func onlyConnections(b port.Binding, sockets []host.Socket) bool {
	return (b.ReuseAddress || b.ReusePort) && !slices.ContainsFunc(sockets, holdsPort)
}

// rightToBind returns the verdict on an endpoint without sockets: free if the app
// may bind the port.
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

// explainWithoutBind explains why the socket table alone does not show whether
// the port is free.
func (n Need) explainWithoutBind(r *Result, e evidence) {
	if len(e.blamed[0].sockets) == 0 {
		r.Message = fmt.Sprintf("%s: no socket is there, but ports below %d (net.ipv4.ip_unprivileged_port_start) need root or CAP_NET_BIND_SERVICE, and without a bind portcheck can't determine whether %s has that right", e.where, e.facts.Limits.UnprivilegedFrom, n.user())
		return
	}
	n.listHolders(r, e.sockets, e.facts.Gaps)
	r.Message = fmt.Sprintf("%s: nothing listens there, but it is the local port of connections, and without a bind portcheck can't determine whether they block it", e.where)
	if allTimeWait(e.sockets) {
		n.notify(r, config.TimeWait, "its connections are in TIME_WAIT: they are gone within 60 s, so %s is enough", n.waitKey("60s"))
	}
	n.noteUnseen(r, e.sockets, e.facts.Gaps)
}
