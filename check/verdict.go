package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// ranks orders the statuses of one need's endpoints: the first one present is
// the need's.
var ranks = []Status{InUse, Shadowed, Leased, Denied, OSReserved, Unavailable, Unknown, Owned, Free}

// judgeFree reaches the verdict on a need whose port has to be free. Of f's
// sockets it looks at those that overlap.
func judgeFree(n Need, proto port.Protocol, tried host.Tried, f host.Facts) Result {
	r := n.result(proto)
	r.Endpoints = endpoints(tried.Attempts)
	r.Method = method(tried)
	r.TableOnly = tried.NoBindReason != ""
	var findings []finding
	noIPv6 := false
	for _, a := range tried.Attempts {
		sockets := overlapping(f.Sockets, a.Endpoint)
		if standsForIPv4(n, a) && (a.Outcome == host.NoFamily || a.Outcome == host.NoAddress) {
			noIPv6 = true
			continue
		}
		findings = append(findings, finding{a, sockets, judgeEndpoint(n, a, tried, sockets, f)})
	}
	r.Status = Unavailable
	for _, rank := range ranks {
		if slices.ContainsFunc(findings, func(x finding) bool { return x.status == rank }) {
			r.Status = rank
			break
		}
	}
	if noIPv6 {
		n.notify(&r, config.NoIPv6, "this host has no IPv6, so the need is judged on IPv4 alone")
	}
	if r.TableOnly {
		n.notify(&r, config.Degraded, "judged by the socket table alone, since nothing could be bound: %s", tried.NoBindReason)
	}
	n.explain(&r, newEvidence(n, proto, r.Status, findings, tried, f))
	return r
}

// finding is what one endpoint of a need answered, and what it amounts to.
type finding struct {
	host.Attempt
	sockets []host.Socket
	status  Status
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
func judgeEndpoint(n Need, a host.Attempt, tried host.Tried, sockets []host.Socket, f host.Facts) Status {
	status := Unknown
	shares := slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.Shares(a.Endpoint) })
	switch a.Outcome {
	case host.OK:
		switch {
		case !tried.TableOK:
			return Unknown // somebody may listen beside us
		case shares:
			status = Shadowed
		default:
			return Free
		}
	case host.NotTried:
		switch {
		case !tried.TableOK:
			return Unknown
		case tried.NoBindReason != "":
			status = judgeByTable(n, a, tried, sockets, f)
		case !shares:
			return Unknown // not bound, to spare who listened there
		default:
			status = besideListener(n.Binding(a.Protocol), tried, sockets)
		}
	case host.InUse:
		status = InUse
	case host.Denied:
		if !slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.State == host.Listen }) {
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
	if len(n.Owner) == 0 || status != InUse && status != Shadowed {
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

// besideListener is the verdict on a binding that asks to share a port, and was
// not made, where somebody listens.
func besideListener(b port.Binding, tried host.Tried, sockets []host.Socket) Status {
	if shareByUser(b) && slices.ContainsFunc(sockets, func(s host.Socket) bool {
		return s.State == host.Listen && (s.UID == nil || int(*s.UID) != tried.UID)
	}) {
		return InUse
	}
	return Shadowed
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
		r.Message = fmt.Sprintf("%s: it could not be found out whether somebody listens there%s", subject, because(f.Gaps, host.GapSockets))
		return r
	}
	var listeners, others, doubtful []host.Socket
	found, maybe := map[uint16]bool{}, map[uint16]bool{}
	for _, a := range tried.Attempts {
		for _, s := range overlapping(f.Sockets, a.Endpoint) {
			switch {
			case s.State == host.Listen && tried.NoBindReason != "" && mayLeaveIPv4(s, a.Endpoint):
				doubtful = append(doubtful, s)
				maybe[s.Port] = true
			case s.State == host.Listen:
				listeners = append(listeners, s)
				found[s.Port] = true
			case s.State == host.Bound:
				others = append(others, s)
			}
		}
	}
	listeners, others, doubtful = distinct(listeners), distinct(others), distinct(doubtful)
	var missing, unclear []string
	for p := int(n.Ports.First); p <= int(n.Ports.Last); p++ {
		switch {
		case found[uint16(p)]:
		case maybe[uint16(p)]:
			unclear = append(unclear, strconv.Itoa(p))
		default:
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
			n.show(&r, others, f.Gaps)
			n.notify(&r, config.Claimed, "%s has bound it and does not listen yet", describeAll(others))
		}
		return r
	}
	if len(unclear) > 0 {
		n.show(&r, doubtful, f.Gaps)
		r.Status = Unknown
		r.Message = fmt.Sprintf("%s: on %s somebody listens on [::], and the socket table does not tell whether on IPv4 as well", subject, list(unclear))
		return r
	}
	n.show(&r, listeners, f.Gaps)
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
	case a.Outcome == host.NotTried:
		r.Status, r.Method = Unknown, None
		r.Message = fmt.Sprintf("%s: a connect can't be tried from there: %s", subject, a.Errno)
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
	type identity struct {
		port.Endpoint
		state   host.State
		inode   uint64
		holders string
	}
	var all []host.Socket
	met := map[identity]bool{}
	for _, s := range sockets {
		var pids []byte
		for _, h := range s.Holders {
			pids = append(strconv.AppendInt(pids, int64(h.PID), 10), ' ')
		}
		id := identity{s.Endpoint, s.State, s.Inode, string(pids)}
		if !met[id] {
			met[id] = true
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

// show lists the holders, and says why of a container only the ID is known.
func (n Need) show(r *Result, sockets []host.Socket, gaps []host.Gap) {
	r.setHolders(sockets)
	for _, s := range sockets {
		if slices.ContainsFunc(s.Holders, func(h host.Holder) bool { return slices.Contains(h.Unseen, host.ContainerName) }) {
			n.notify(r, config.Degraded, "the name of the container is not known%s", because(gaps, host.GapContainers))
			return
		}
	}
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
		if h.ContainerInfo != nil {
			out.Container.Name, out.Container.Image, out.Container.Compose, out.Container.Service = h.ContainerInfo.Name, h.ContainerInfo.Image, h.ContainerInfo.Compose, h.ContainerInfo.Service
		}
	}
	if !h.Started.IsZero() {
		out.Started = &h.Started
	}
	return out
}

// noteNobody says that a bind and the socket table contradict each other.
func (n Need) noteNobody(r *Result, gaps []host.Gap) {
	n.notify(r, config.Degraded, "the bind failed with EADDRINUSE and the socket table shows nobody there%s", because(gaps, host.GapHolders))
}
