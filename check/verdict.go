package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// ranks orders the statuses of one need's endpoints: the first one present is
// the need's.
var ranks = []Status{InUse, Shadowed, Leased, Denied, OSReserved, Unavailable, Unknown, Owned, Free}

// judgeFree returns the verdict on a need for a free port. Sockets of f that do
// not overlap the need are ignored.
func judgeFree(n Need, proto port.Protocol, tried host.Tried, f host.Facts) Result {
	r := n.result(proto)
	r.Endpoints = endpoints(tried.Attempts)
	r.Method = method(tried)
	r.TableOnly = tried.NoBindReason != ""
	var verdicts []endpointVerdict
	noIPv6 := "" // why the need is judged on IPv4 alone
	table := byPort(f.Sockets)
	for _, a := range tried.Attempts {
		sockets := table.inTheWay(a)
		if impliesIPv4(n, a) && (a.Outcome == host.NoFamily || a.Outcome == host.NoAddress && a.Errno != noDevice) {
			noIPv6 = "this host has no IPv6"
			if a.Outcome == host.NoAddress && !a.Addr.IsUnspecified() { // IPv6 may be disabled on lo alone
				noIPv6 = "the address " + address(a.Endpoint) + " is not on this host"
			}
			continue
		}
		v := endpointVerdict{Attempt: a, sockets: sockets, status: judgeEndpoint(n, a, tried, sockets, f)}
		if v.status == Free && leasesUnknown(f) {
			v.status, v.mayBeLeased = Unknown, true
		}
		verdicts = append(verdicts, v)
	}
	r.Status = Unavailable
	for _, rank := range ranks {
		if slices.ContainsFunc(verdicts, func(v endpointVerdict) bool { return v.status == rank }) {
			r.Status = rank
			break
		}
	}
	if noIPv6 != "" {
		n.notify(&r, config.NoIPv6, "%s, so the need is judged on IPv4 alone", noIPv6)
	}
	if r.TableOnly {
		n.notify(&r, config.Degraded, "judged by the socket table alone, since nothing could be bound: %s", tried.NoBindReason)
	}
	n.explain(&r, newEvidence(n, proto, r.Status, verdicts, tried, f))
	n.addLease(&r, f.Leases)
	return r
}

// endpointVerdict is the verdict on one endpoint of a need.
type endpointVerdict struct {
	host.Attempt
	sockets     []host.Socket
	status      Status
	mayBeLeased bool // it would be free, and another job may have leased it
}

// impliesIPv4 reports whether an IPv6 endpoint belongs to an address of the need
// that covers IPv4 as well.
func impliesIPv4(n Need, a host.Attempt) bool {
	switch a.Addr {
	case netip.IPv6Unspecified():
		return !a.V6Only
	case netip.IPv6Loopback():
		return slices.Contains(n.Addresses, port.Loopback)
	}
	return false
}

// judgeEndpoint is the table of verdicts: the outcome of the bind against what
// the socket table shows.
func judgeEndpoint(n Need, a host.Attempt, tried host.Tried, sockets []host.Socket, f host.Facts) Status {
	if leasedToOthers(f.Leases, a.Endpoint) != nil {
		return leasedStatus(sockets)
	}
	var status Status
	shares := slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.Shares(a.Endpoint) })
	switch a.Outcome {
	case host.OK:
		switch {
		case !tried.TableOK && !excludes(n.Binding(a.Protocol), f.Machine):
			return Unknown // another process may listen beside us
		case slices.ContainsFunc(sockets, isAllocated):
			status = InUse
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
		case slices.ContainsFunc(sockets, isAllocated):
			status = InUse
		case !shares:
			return Unknown // not bound, because of a listener that has gone since
		default:
			status = besideListener(n.Binding(a.Protocol), tried, sockets, f.Machine)
		}
	case host.InUse:
		status = InUse
	case host.Denied:
		// Linux looks at the right before it looks for others (inet_bind), so run_as could
		// not bind the port without these either. The user of portcheck may not be the app's.
		if n.RunAs != "" || !slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.State == host.Listen }) {
			return Denied
		}
		status = InUse
	case host.Excluded:
		return OSReserved
	case host.NoAddress, host.NoFamily:
		return Unavailable
	case host.Failed:
		if !takenUntried(n.Binding(a.Protocol), a, tried, sockets, f.Machine) {
			return Unknown
		}
		status = InUse
	default:
		return Unknown
	}
	if len(n.Owner) == 0 || status != InUse && status != Shadowed {
		return status
	}
	switch ownership(n.Owner, sockets, f.Machine) {
	case proven:
		return Owned
	case unproven:
		return Unknown
	}
	return status
}

// takenUntried reports whether portcheck could not come to the bind, because of a filter of
// system calls for example, and the table shows what is in the way of the app.
func takenUntried(b port.Binding, a host.Attempt, tried host.Tried, sockets []host.Socket, m host.Machine) bool {
	early := a.Outcome == host.Failed && slices.Contains([]string{"setresuid", "socket", "setsockopt"}, a.Op)
	return early && tried.TableOK && !b.MayTake(m.OS) && slices.ContainsFunc(sockets, func(s host.Socket) bool {
		bindsBeside := s.State == host.Bound && s.Protocol == port.TCP && b.ReuseAddress
		return holdsPort(s) && !bindsBeside
	})
}

// excludes reports whether a bind that worked proves by itself that no other socket
// is there: one of UDP on Linux, without an option to share the port.
func excludes(b port.Binding, m host.Machine) bool {
	return m.OS == "linux" && b.Protocol == port.UDP && !b.ReuseAddress && !b.ReusePort
}

// besideListener returns the verdict on a binding that may share its port. It was
// not tried, because another process listens there.
func besideListener(b port.Binding, tried host.Tried, sockets []host.Socket, m host.Machine) Status {
	if sharesWithinUser(b, tried.UID, m) && slices.ContainsFunc(sockets, func(s host.Socket) bool {
		return s.State == host.Listen && (s.UID == nil || int(*s.UID) != tried.UID)
	}) {
		return InUse
	}
	return Shadowed
}

// sharesWithinUser reports whether the binding of a user can share its port only with
// sockets of the same user. On Linux SO_REUSEPORT has this limit, SO_REUSEADDR of UDP
// does not. On BSD both have it, for everybody but root (port.LikeBSD).
func sharesWithinUser(b port.Binding, uid int, m host.Machine) bool {
	if port.LikeBSD(m.OS) {
		return uid != 0
	}
	return b.ReusePort && !(b.Protocol == port.UDP && b.ReuseAddress)
}

// judgeListening returns the verdict on a need for a listener. Each port needs one
// listener, on any of the need's addresses.
func judgeListening(n Need, proto port.Protocol, tried host.Tried, f host.Facts) Result {
	r := n.result(proto)
	r.Endpoints = endpoints(tried.Attempts)
	r.Method = method(tried)
	subject := n.subject(proto)
	if !tried.TableOK {
		r.Status = Unknown
		r.unreadTable(subject, f.Gaps)
		return r
	}
	var listeners, others, doubtful, apart []host.Socket
	found, maybe := map[uint16]bool{}, map[uint16]bool{}
	table := byPort(f.Sockets)
	for _, a := range tried.Attempts {
		for _, s := range table.overlapping(a.Endpoint) {
			switch {
			case s.State == host.Listen && !s.Reached(a.Addr):
				apart = append(apart, s)
			case s.State == host.Listen && s.MayBeV6Only && a.Addr.Is4():
				doubtful = append(doubtful, s)
				maybe[s.Port] = true
			case s.State == host.Listen, s.State == host.Allocated:
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
		r.Message = "nothing listens on " + subject
		if len(missing) < n.Ports.Len() {
			r.Message = fmt.Sprintf("%s: nothing listens on %s", subject, list(missing))
		}
		apart = distinct(slices.DeleteFunc(apart, func(s host.Socket) bool { return found[s.Port] }))
		if len(apart) > 0 {
			n.listHolders(&r, apart, f.Gaps)
			r.Message += fmt.Sprintf(" for its callers: %s takes only those that come by the device %s", describeAll(apart), strings.Join(devicesOf(apart), " or "))
		}
		if len(others) > 0 {
			n.listHolders(&r, slices.Concat(others, apart), f.Gaps)
			n.notify(&r, config.Claimed, "%s has bound it and does not listen yet", describeAll(others))
		}
		return r
	}
	if len(unclear) > 0 {
		n.listHolders(&r, doubtful, f.Gaps)
		r.Status = Unknown
		r.Message = fmt.Sprintf("%s: the listener of %s is on [::], and the socket table does not show whether it accepts IPv4 as well", subject, list(unclear))
		return r
	}
	n.listHolders(&r, listeners, f.Gaps)
	r.Status = Listening
	r.Message = fmt.Sprintf("%s is served by %s", subject, describeAll(listeners))
	if len(n.Owner) > 0 {
		switch ownership(n.Owner, listeners, f.Machine) {
		case foreign:
			r.Status = WrongOwner
			n.markOwners(&r, f.Machine)
			r.Message = fmt.Sprintf("%s is served by a process that is not its owner: %s%s", subject, describeAll(listeners), n.mismatch(listeners, f.Machine))
		case unproven:
			r.Status = Unknown
			r.Message = fmt.Sprintf("%s is served, but whether by its owner could not be determined: %s", subject, describeAll(listeners))
		}
	}
	n.judgeExposure(&r, proto, listeners, table)
	n.noteUnseen(&r, listeners, f.Gaps)
	return r
}

// devicesOf returns the devices that sockets are bound to, each once.
func devicesOf(sockets []host.Socket) []string {
	var names []string
	for _, s := range sockets {
		if !slices.Contains(names, s.Device) {
			names = append(names, s.Device)
		}
	}
	return names
}

// judgeExposure changes the verdict on a need that only its own addresses may serve, if
// something also listens on another one.
func (n Need) judgeExposure(r *Result, proto port.Protocol, listeners []host.Socket, table socketsByPort) {
	if !n.Only || r.Status == WrongOwner {
		return
	}
	var outside []host.Socket
	var names []string
	seen := map[string]bool{}
	for p := int(n.Ports.First); p <= int(n.Ports.Last); p++ {
		for _, s := range table[uint16(p)] {
			if listens := s.State == host.Listen || s.State == host.Allocated; listens && s.Protocol == proto && !slices.ContainsFunc(n.Addresses, func(a port.Address) bool { return within(s, a) }) {
				outside = append(outside, s)
				if name := s.Endpoint.String(); !seen[name] {
					seen[name] = true
					names = append(names, name)
				}
			}
		}
	}
	if len(outside) == 0 {
		return
	}
	r.Status = Exposed
	r.setHolders(distinct(slices.Concat(listeners, outside)))
	r.Message = fmt.Sprintf("%s is served, but %s also listens outside of it: %s", n.subject(proto), describeAll(outside), list(names))
}

// within reports whether everything that a socket listens on belongs to an address. A
// socket that is bound to the loopback device has the machine's own callers alone.
func within(s host.Socket, a port.Address) bool {
	addr := s.Addr.Unmap()
	switch a {
	case port.Any:
		return true
	case port.Any4:
		return addr.Is4()
	case port.Any6:
		return addr.Is6() && (!addr.IsUnspecified() || s.V6Only)
	case port.Loopback:
		return addr.IsLoopback() || s.OwnCallersOnly()
	}
	own, err := netip.ParseAddr(string(a))
	if err != nil {
		return false
	}
	if own.IsLoopback() && addr.IsUnspecified() && s.OwnCallersOnly() {
		return own.Unmap().Is4() == addr.Is4() && (addr.Is4() || s.V6Only)
	}
	return own.WithZone("").Unmap() == addr && (own.Zone() == "" || own.Zone() == s.Device)
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

// address returns an endpoint's IP, an IPv6 one with the device as its zone.
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

// distinct drops repeated sockets: a socket is found once for each endpoint of the
// need that it overlaps.
func distinct(sockets []host.Socket) []host.Socket {
	type identity struct {
		port.Endpoint
		state   host.State
		inode   uint64
		holders string
	}
	var all []host.Socket
	seen := map[identity]bool{}
	for _, s := range sockets {
		var pids []byte
		for _, h := range s.Holders {
			pids = append(strconv.AppendInt(pids, int64(h.PID), 10), ' ')
		}
		id := identity{s.Endpoint, s.State, s.Inode, string(pids)}
		if !seen[id] {
			seen[id] = true
			all = append(all, s)
		}
	}
	return all
}

// holdsPort reports whether a socket itself holds its port, as a listening or
// bound one does and a connection does not.
func holdsPort(s host.Socket) bool {
	return s.State == host.Listen || s.State == host.Bound || isAllocated(s)
}

func holdingPort(sockets []host.Socket) []host.Socket {
	return slices.DeleteFunc(slices.Clone(sockets), func(s host.Socket) bool { return !holdsPort(s) })
}

func allTimeWait(sockets []host.Socket) bool {
	return !slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.State != host.TimeWait })
}

// listHolders sets the result's holders, and adds a notice if the name of a
// container is missing.
func (n Need) listHolders(r *Result, sockets []host.Socket, gaps []host.Gap) {
	r.setHolders(sockets)
	for _, s := range sockets {
		if slices.ContainsFunc(s.Holders, func(h host.Holder) bool { return slices.Contains(h.Unseen, host.ContainerName) }) {
			n.notify(r, config.Degraded, "the name of the container is not known%s", because(gaps, host.GapContainers))
			return
		}
	}
}

// HeldSocket is a socket with one of its processes, nil if none is known.
type HeldSocket struct {
	Socket *host.Socket
	Holder *host.Holder
	owner  proof // whether it is the need's owner
}

// setHolders sets the sockets with their processes. Connections of a process that also
// holds the port itself are left out.
func (r *Result) setHolders(sockets []host.Socket) {
	r.Held, r.Complete, r.ForksUnseen = nil, nil, false
	holding := map[int]bool{}
	held := holdingPort(sockets)
	for _, s := range held {
		for _, h := range s.Holders {
			holding[h.PID] = true
		}
	}
	complete := true
	for i := range sockets {
		s := &sockets[i]
		holds := holdsPort(*s)
		complete = complete && (s.Complete || s.State == host.TimeWait)
		r.ForksUnseen = r.ForksUnseen || s.ForksUnseen
		if len(s.Holders) == 0 && (holds || len(held) == 0) {
			r.Held = append(r.Held, HeldSocket{Socket: s})
		}
		for k := range s.Holders {
			if h := &s.Holders[k]; holds || !holding[h.PID] {
				r.Held = append(r.Held, HeldSocket{Socket: s, Holder: h})
			}
		}
	}
	if !complete {
		r.Complete = &complete
	}
}

// list makes the result's holders of what was set, at least one and as many as take
// about so many bytes. It returns their bytes, and how many holders are left out.
func (r *Result) list(most int64) (size int64, beyond int) {
	for i, h := range r.Held {
		holder := newHolder(*h.Socket, h.Holder)
		holder.Owner, holder.MayBeOwner = h.owner == proven, h.owner == unproven
		more := bytesOf(&holder)
		if i > 0 && size+more > most {
			beyond = len(r.Held) - i
			break
		}
		size += more
		r.Holders = append(r.Holders, holder)
	}
	r.Held = nil // it keeps all of the answer in memory
	return size, beyond
}

func newHolder(s host.Socket, h *host.Holder) Holder {
	out := Holder{Address: address(s.Endpoint), Port: s.Port, State: string(s.State)}
	if s.UID != nil {
		uid := int(*s.UID)
		out.UID = &uid
	}
	if h == nil {
		out.Kernel = s.Kernel
		var from Origin
		if len(s.KernelDevices) == 1 {
			from.Device = s.KernelDevices[0]
		}
		if s.Peer.IsValid() {
			from.Peer = s.Peer.String()
		}
		if from != (Origin{}) {
			out.Origin = &from
		}
		return out
	}
	out.PID, out.Process, out.Executable, out.Unit, out.Command = h.PID, processName(*h), h.Executable, h.Unit, h.Command
	out.OwnFile = h.File == host.FileOther
	if uid := h.UID; uid >= 0 { // a pointer into the answer would keep all of it in memory
		out.UID = &uid
	}
	out.User = h.User // Windows has names alone
	addRelations(&out, *h, s)
	if h.Container != "" {
		out.Container = &Container{ID: h.Container, Engine: h.Engine, MonitorUnit: h.MonitorUnit}
		if h.ContainerInfo != nil {
			out.Container.Engine, out.Container.Socket = cmp.Or(h.ContainerInfo.Engine, h.Engine), h.ContainerInfo.Socket
			out.Container.Name, out.Container.Image, out.Container.Compose, out.Container.Service = h.ContainerInfo.Name, h.ContainerInfo.Image, h.ContainerInfo.Compose, h.ContainerInfo.Service
			out.Container.Unit, out.Container.NameOnly = h.ContainerInfo.Unit, h.ContainerInfo.NameOnly
		}
	}
	if started := h.Started; !started.IsZero() {
		out.Started = &started
		out.Minutes = int32(max(time.Since(h.Started)/time.Minute, 0))
	}
	return out
}

// noteNoSocket adds the notice that a bind failed and no socket is known there.
func (n Need) noteNoSocket(r *Result, e evidence) {
	failed := "the bind failed with " + inUseErrno(e.tried.Attempts)
	switch {
	case !e.tried.TableOK:
		n.notify(r, config.Degraded, "%s, and the socket table could not be read%s", failed, because(e.facts.Gaps, host.GapSockets))
	case e.tried.BoundHidden:
		r.Unlisted = true
		since := ""
		if e.facts.Machine.OS == "linux" {
			since = " (sock_diag does since Linux 6.8)"
		}
		n.notify(r, config.Degraded, "%s and the socket table shows no socket there: it does not show those that are bound and do not listen%s", failed, since)
	default:
		n.notify(r, config.Degraded, "%s and the socket table shows no socket there%s", failed, because(e.facts.Gaps, host.GapHolders))
	}
}

// inUseErrno returns the errno of the system by which a bind failed.
func inUseErrno(attempts []host.Attempt) string {
	for _, a := range attempts {
		if a.Outcome == host.InUse && a.Errno != "" {
			return a.Errno
		}
	}
	return "EADDRINUSE"
}
