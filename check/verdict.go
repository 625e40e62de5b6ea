package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// ranks orders the statuses of one need's endpoints: the first one present is
// the need's.
var ranks = []Status{InUse, Shadowed, Leased, Denied, OSReserved, Unavailable, Unknown, Owned, Free}

// judgeFree reaches the verdict on a need whose port has to be free.
func judgeFree(n Need, proto port.Protocol, tried host.Tried, f host.Facts) Result {
	r := n.result(proto)
	r.Endpoints = endpoints(tried.Attempts)
	r.Method = method(tried)
	type finding struct {
		host.Attempt
		sockets []host.Socket
		status  Status
	}
	var findings []finding
	noIPv6 := false
	for _, a := range tried.Attempts {
		sockets := overlapping(f.Sockets, a.Endpoint)
		if standsForIPv4(n, a) && (a.Outcome == host.NoFamily || a.Outcome == host.NoAddress) {
			noIPv6 = true
			continue
		}
		findings = append(findings, finding{a, sockets, judgeEndpoint(n, a, tried, sockets)})
	}
	r.Status = Unavailable
	for _, rank := range ranks {
		if slices.ContainsFunc(findings, func(x finding) bool { return x.status == rank }) {
			r.Status = rank
			break
		}
	}
	var blamed []finding
	var sockets []host.Socket
	for _, x := range findings {
		if x.status == r.Status {
			blamed = append(blamed, x)
			sockets = append(sockets, x.sockets...)
		}
	}
	sockets = distinct(sockets)
	if noIPv6 {
		n.notify(&r, config.NoIPv6, "this host has no IPv6, so the need is judged on IPv4 alone")
	}

	subject := n.subject(proto)
	where := func() string { // the part of the need that failed, if not all of it
		var all []string
		for _, x := range blamed {
			all = append(all, x.Endpoint.String())
		}
		if len(findings) == 1 || len(all) == len(findings) {
			return subject
		}
		return subject + ": " + list(all)
	}
	switch r.Status {
	case Free:
		r.Message = subject + " is free"
		held := held(sockets)
		if slices.ContainsFunc(held, func(s host.Socket) bool { return s.State == host.Bound }) {
			r.setHolders(held)
			n.notify(&r, config.Claimed, "%s has bound it and does not listen yet: a bind still works, but once it listens it does not", describeAll(held))
		}
		if int(n.Ports.First) < f.Limits.UnprivilegedFrom && f.Machine.Elevated && n.RunAs == "" {
			n.notify(&r, config.Privileged, "this check may bind ports below %d, your app perhaps not: set run_as to its user to be sure", f.Limits.UnprivilegedFrom)
		}
	case Owned:
		r.setHolders(sockets)
		r.Message = fmt.Sprintf("%s is held by its owner, %s", subject, describeAll(sockets))
		n.noteUnseen(&r, sockets, f.Gaps)
	case Shadowed:
		r.setHolders(sockets)
		r.Message = fmt.Sprintf("%s can be bound, but beside %s, which would share or steal its traffic", where(), describeAll(sockets))
	case InUse:
		r.setHolders(sockets)
		r.Message = inUseMessage(where(), sockets)
		switch {
		case len(sockets) == 0:
			n.noteNobody(&r, f.Gaps)
		case allTimeWait(sockets):
			n.notify(&r, config.TimeWait, "only connections in TIME_WAIT hold it: they are gone within 60 s, so `wait: 60s` is enough (or set SO_REUSEADDR in the app, and `reuse_address: true` here)")
		}
		n.noteUnseen(&r, sockets, f.Gaps)
	case Denied:
		r.Message = fmt.Sprintf("%s may not be bound by this user (%s)", where(), blamed[0].Errno)
		if first := int(blamed[0].Port); first < f.Limits.UnprivilegedFrom {
			who := "this user"
			if n.RunAs != "" {
				who = n.RunAs
			}
			r.Message = fmt.Sprintf("%s may not be bound by %s: ports below %d (net.ipv4.ip_unprivileged_port_start) need root or CAP_NET_BIND_SERVICE", where(), who, f.Limits.UnprivilegedFrom)
			if f.Machine.OS != "linux" {
				r.Message = fmt.Sprintf("%s may not be bound by %s: ports below %d need root", where(), who, f.Limits.UnprivilegedFrom)
			}
		}
	case OSReserved:
		r.Message = where() + " is kept back by the operating system"
	case Unavailable:
		r.Message = fmt.Sprintf("%s can't be bound: the address is not on this host", where())
		if len(blamed) > 0 && blamed[0].Outcome == host.NoFamily {
			r.Message = fmt.Sprintf("%s can't be bound: this host has no IPv6", where())
		}
	case Unknown:
		x := blamed[0]
		switch {
		case x.Outcome == host.Failed && x.Op == "setresuid":
			r.Message = fmt.Sprintf("%s could not be tried as %s: this check has no right to change its user (setresuid: %s)", where(), n.RunAs, x.Errno)
		case x.Outcome == host.Failed && n.RunAs != "" && x.Op == "look up user":
			r.Message = fmt.Sprintf("%s could not be tried as %s: %s", where(), n.RunAs, x.Errno)
		case x.Outcome == host.Failed:
			r.Message = fmt.Sprintf("%s could not be tried (%s: %s)", where(), x.Op, x.Errno)
		case !tried.TableOK:
			r.Message = fmt.Sprintf("%s: it could not be found out whether somebody listens there%s", where(), because(f.Gaps, false))
		case x.Outcome == host.NotTried && len(sockets) == 0:
			r.Message = fmt.Sprintf("%s was not tried, to spare who listened there a moment ago: check again", where())
		default:
			r.setHolders(sockets)
			r.Message = fmt.Sprintf("%s is in use, and it could not be proven whether by its owner: %s", where(), cmp.Or(describeAll(sockets), "nobody can be seen there"))
			if len(sockets) == 0 {
				n.noteNobody(&r, f.Gaps)
			}
			n.noteUnseen(&r, sockets, f.Gaps)
		}
	}
	return r
}

// standsForIPv4 says whether an IPv6 endpoint belongs to an address that also
// means IPv4.
func standsForIPv4(n Need, a host.Attempt) bool {
	switch a.Addr {
	case netip.IPv6Unspecified():
		return !a.V6Only
	case netip.IPv6Loopback():
		return slices.Contains(n.Addresses, port.Loopback)
	}
	return false
}

// judgeEndpoint is the table of verdicts: what the bind said, against what the
// socket table shows.
func judgeEndpoint(n Need, a host.Attempt, tried host.Tried, sockets []host.Socket) Status {
	status := Unknown
	listens := slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.State == host.Listen })
	switch a.Outcome {
	case host.OK:
		switch {
		case !tried.TableOK:
			return Unknown // somebody may listen beside us
		case listens:
			status = Shadowed
		default:
			return Free
		}
	case host.NotTried: // not bound, to spare who listens there
		switch {
		case !tried.TableOK || !listens:
			return Unknown
		case shareByUser(n.Binding(a.Protocol)) && tried.UID >= 0 && slices.ContainsFunc(sockets, func(s host.Socket) bool {
			return s.State == host.Listen && (s.UID == nil || int(*s.UID) != tried.UID)
		}):
			status = InUse
		default:
			status = Shadowed
		}
	case host.InUse:
		status = InUse
	case host.Denied:
		if !listens {
			return Denied
		}
		status = InUse
	case host.Excluded:
		return OSReserved
	case host.NoAddress, host.NoFamily:
		return Unavailable
	default:
		return Unknown
	}
	if len(n.Owner) == 0 {
		return status
	}
	switch ownership(n.Owner, sockets) {
	case proven:
		return Owned
	case unproven:
		return Unknown
	}
	return status
}

// shareByUser says whether sockets of one user alone may share a port: by
// SO_REUSEPORT, unless UDP's SO_REUSEADDR lets anybody in.
func shareByUser(b port.Binding) bool {
	return b.ReusePort && !(b.Protocol == port.UDP && b.ReuseAddress)
}

// judgeListening reaches the verdict on a need that somebody has to listen on.
// One overlapping listener a port is enough.
func judgeListening(n Need, proto port.Protocol, tried host.Tried, f host.Facts) Result {
	r := n.result(proto)
	r.Endpoints = endpoints(tried.Attempts)
	r.Method = method(tried)
	subject := n.subject(proto)
	if !tried.TableOK {
		r.Status = Unknown
		r.Message = fmt.Sprintf("%s: it could not be found out whether somebody listens there%s", subject, because(f.Gaps, false))
		return r
	}
	var listeners, others []host.Socket
	found := map[uint16]bool{}
	for _, a := range tried.Attempts {
		for _, s := range overlapping(f.Sockets, a.Endpoint) {
			switch s.State {
			case host.Listen:
				listeners = append(listeners, s)
				found[s.Port] = true
			case host.Bound:
				others = append(others, s)
			}
		}
	}
	listeners, others = distinct(listeners), distinct(others)
	var missing []string
	for p := int(n.Ports.First); p <= int(n.Ports.Last); p++ {
		if !found[uint16(p)] {
			missing = append(missing, strconv.Itoa(p))
		}
	}
	if len(missing) > 0 {
		r.Status = NotListening
		r.Message = "nobody listens on " + subject
		if len(missing) < n.Ports.Len() {
			r.Message = fmt.Sprintf("%s: nobody listens on %s", subject, list(missing))
		}
		if len(others) > 0 {
			r.setHolders(others)
			n.notify(&r, config.Claimed, "%s has bound it and does not listen yet", describeAll(others))
		}
		return r
	}
	r.setHolders(listeners)
	r.Status = Listening
	r.Message = fmt.Sprintf("%s is served by %s", subject, describeAll(listeners))
	if len(n.Owner) > 0 {
		switch ownership(n.Owner, listeners) {
		case foreign:
			r.Status = WrongOwner
			r.Message = fmt.Sprintf("%s is served by another than its owner: %s", subject, describeAll(listeners))
		case unproven:
			r.Status = Unknown
			r.Message = fmt.Sprintf("%s is served, and it could not be proven whether by its owner: %s", subject, describeAll(listeners))
		}
	}
	n.noteUnseen(&r, listeners, f.Gaps)
	return r
}

// judgeReachable reaches the verdict on a connect.
func judgeReachable(n Need, a host.Attempt) Result {
	r := n.result(port.TCP)
	r.Method = Connect
	e := Endpoint{Address: n.Remote, Port: n.Ports.First, Outcome: string(a.Outcome), Op: a.Op, Errno: a.Errno}
	if a.Addr.IsValid() {
		e.Address = a.Addr.String()
	}
	r.Endpoints = []Endpoint{e}
	subject := fmt.Sprintf("%s port %d", n.Remote, n.Ports.First)
	switch {
	case a.Outcome == host.OK:
		r.Status, r.Message = Reachable, subject+" accepts connections"
	case a.Op == "socket":
		r.Status, r.Message = Unknown, fmt.Sprintf("%s could not be tried (%s: %s)", subject, a.Op, a.Errno)
	case a.Op == "resolve":
		r.Status, r.Message = Unreachable, fmt.Sprintf("%s can't be resolved (%s)", n.Remote, a.Errno)
	case a.Errno == "ECONNREFUSED" || a.Errno == "WSAECONNREFUSED":
		r.Status, r.Message = Unreachable, subject+" refuses connections: nothing listens there"
	case a.Errno == "ETIMEDOUT":
		r.Status, r.Message = Unreachable, subject+" does not answer (timeout): it is down, or a firewall drops the packets"
	default:
		r.Status, r.Message = Unreachable, fmt.Sprintf("%s can't be reached (%s)", subject, a.Errno)
	}
	return r
}

func method(t host.Tried) Method {
	bound := slices.ContainsFunc(t.Attempts, func(a host.Attempt) bool {
		return a.Outcome != host.NotTried && (a.Op == "" || a.Op == "bind")
	})
	switch {
	case bound && t.TableOK:
		return BindTable
	case bound:
		return Bind
	case t.TableOK:
		return Table
	}
	return None
}

func endpoints(attempts []host.Attempt) []Endpoint {
	all := make([]Endpoint, len(attempts))
	for i, a := range attempts {
		all[i] = Endpoint{address(a.Endpoint), a.Port, string(a.Outcome), a.Op, a.Errno}
	}
	return all
}

// address is an endpoint's IP, with the device as its zone.
func address(e port.Endpoint) string {
	if e.Addr.Is6() && e.Device != "" {
		return e.Addr.WithZone(e.Device).String()
	}
	return e.Addr.String()
}

func overlapping(sockets []host.Socket, e port.Endpoint) []host.Socket {
	var all []host.Socket
	for _, s := range sockets {
		if s.Overlaps(e) {
			all = append(all, s)
		}
	}
	return all
}

// distinct drops sockets that overlap several endpoints of a need and were
// therefore met several times.
func distinct(sockets []host.Socket) []host.Socket {
	var all []host.Socket
	for _, s := range sockets {
		if !slices.ContainsFunc(all, func(o host.Socket) bool {
			return o.Endpoint == s.Endpoint && o.State == s.State && o.Inode == s.Inode &&
				slices.EqualFunc(o.Holders, s.Holders, func(x, y host.Holder) bool { return x.PID == y.PID })
		}) {
			all = append(all, s)
		}
	}
	return all
}

// holdsPort says whether a socket holds its port by itself, as a connection
// does not.
func holdsPort(s host.Socket) bool { return s.State == host.Listen || s.State == host.Bound }

func held(sockets []host.Socket) []host.Socket {
	return slices.DeleteFunc(slices.Clone(sockets), func(s host.Socket) bool { return !holdsPort(s) })
}

func allTimeWait(sockets []host.Socket) bool {
	return len(sockets) > 0 && !slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.State != host.TimeWait })
}

// inUseMessage says who is in the way, and how.
func inUseMessage(subject string, sockets []host.Socket) string {
	states := map[host.State]bool{}
	for _, s := range sockets {
		states[s.State] = true
	}
	who := describeAll(sockets)
	switch {
	case len(sockets) == 0:
		return subject + " is in use by somebody who can't be seen"
	case states[host.Listen]:
		return subject + " is in use by " + who
	case states[host.Bound]:
		return fmt.Sprintf("%s is bound by %s, which does not listen yet", subject, who)
	case states[host.Connected]:
		return fmt.Sprintf("%s is the local port of a connection of %s", subject, who)
	case states[host.Closing]:
		return fmt.Sprintf("%s is the local port of a connection that is closing", subject)
	}
	return subject + " is in TIME_WAIT: its last connections are still timing out"
}

// setHolders lists the sockets and their processes. A connection of a process
// that also holds the listener says nothing new.
func (r *Result) setHolders(sockets []host.Socket) {
	served := map[int]bool{}
	for _, s := range held(sockets) {
		for _, h := range s.Holders {
			served[h.PID] = true
		}
	}
	complete := true
	for _, s := range sockets {
		isHeld := holdsPort(s)
		complete = complete && (s.Complete || s.State == host.TimeWait)
		if len(s.Holders) == 0 && (isHeld || len(served) == 0) {
			r.Holders = append(r.Holders, newHolder(s, nil))
		}
		for _, h := range s.Holders {
			if isHeld || !served[h.PID] {
				r.Holders = append(r.Holders, newHolder(s, &h))
			}
		}
	}
	if !complete {
		r.Complete = &complete
	}
}

func newHolder(s host.Socket, h *host.Holder) Holder {
	out := Holder{Address: address(s.Endpoint), Port: s.Port, State: string(s.State)}
	if s.UID != nil {
		uid := int(*s.UID)
		out.UID = &uid
	}
	if h == nil {
		return out
	}
	out.PID, out.Process, out.Executable, out.Unit, out.Command = h.PID, processName(*h), h.Executable, h.Unit, h.Command
	if h.UID >= 0 {
		out.UID, out.User = &h.UID, h.User
	}
	if h.Container != "" {
		out.Container = &Container{ID: h.Container}
	}
	if !h.Started.IsZero() {
		out.Started = &h.Started
	}
	return out
}

// noteNobody says that a bind and the socket table contradict each other.
func (n Need) noteNobody(r *Result, gaps []host.Gap) {
	n.notify(r, config.Degraded, "the bind failed with EADDRINUSE and the socket table shows nobody there%s", because(gaps, true))
}

// noteUnseen says why a holder can't be named, or which processes the word
// "owner" leaves out.
func (n Need) noteUnseen(r *Result, sockets []host.Socket, gaps []host.Gap) {
	complete := true
	for _, s := range sockets {
		canBeHeld := s.Inode != 0 || holdsPort(s)
		complete = complete && (s.Complete || !canBeHeld)
		switch {
		case len(s.Holders) > 0 || !canBeHeld:
		case s.Complete:
			n.notify(r, config.Degraded, "no process that can be seen from here has it open: it belongs to the kernel, or to a process in another PID namespace")
			return
		default:
			n.notify(r, config.Degraded, "who holds it can't be seen%s", because(gaps, true))
			return
		}
	}
	if !complete && len(n.Owner) > 0 {
		n.notify(r, config.Degraded, "every process that could be looked into was compared with owner, but not all could%s", because(gaps, true))
	}
}

// because joins the gaps of one kind to a reason.
func because(gaps []host.Gap, holders bool) string {
	var all []string
	for _, g := range gaps {
		if g.Holders == holders && g.Table == !holders {
			all = append(all, gapText(g))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return ": " + strings.Join(all, "; ")
}

func gapText(g host.Gap) string {
	if g.Op == "" {
		return g.What
	}
	return fmt.Sprintf("%s (%s: %s)", g.What, g.Op, g.Errno)
}

// list joins words, the first few of them.
func list(words []string) string {
	const most = 5
	if more := len(words) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), more)
	}
	return strings.Join(words, ", ")
}
