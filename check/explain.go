package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// evidence is what led to the status of a need: the endpoints that have this
// status, and the sockets there.
type evidence struct {
	subject string // the need
	where   string // the need and, unless they are all, those endpoints
	be      string // the verb of where: is, or are for several endpoints
	blamed  []endpointVerdict
	sockets []host.Socket
	tried   host.Tried
	facts   host.Facts
}

func newEvidence(n Need, proto port.Protocol, status Status, verdicts []endpointVerdict, tried host.Tried, f host.Facts) evidence {
	e := evidence{subject: n.subject(proto), tried: tried, facts: f}
	var names []string
	var ports port.Set
	for _, v := range verdicts {
		if v.status == status {
			e.blamed = append(e.blamed, v)
			e.sockets = append(e.sockets, v.sockets...)
			names = append(names, v.Endpoint.String())
			ports = append(ports, port.One(v.Port))
		}
	}
	e.sockets = distinct(e.sockets)
	e.where, e.be = e.subject, "is"
	if len(names) == len(verdicts) {
		return e
	}
	if len(names) > 1 {
		e.be = "are"
	}
	block := n.Ports.String()
	if before, after, found := strings.Cut(e.subject, block); found && len(verdicts) == n.Ports.Len() { // one endpoint for each port
		const most = 5
		ports = ports.Without(func(uint16) bool { return false })
		e.where = before + ports[:min(len(ports), most)].String()
		if more := len(ports) - most; more > 0 {
			e.where += fmt.Sprintf(" and %s", Counted(more, "other range"))
		}
		e.where += " of " + block + after
	} else {
		e.where += ": " + list(names)
	}
	return e
}

// explain sets the message of a result from its status and the evidence, lists
// the holders and adds notices.
func (n Need) explain(r *Result, e evidence) {
	switch r.Status {
	case Free:
		n.explainFree(r, e)
	case Owned:
		n.explainOwned(r, e)
	case Shadowed:
		n.explainShadowed(r, e)
	case InUse:
		n.explainInUse(r, e)
	case Denied:
		n.explainDenied(r, e)
	case OSReserved:
		r.Message = e.where + " " + e.be + " reserved by the operating system"
	case Leased:
		r.Message = e.where + " " + e.be + " taken"
	case Unavailable:
		n.explainUnavailable(r, e)
	case Unknown:
		n.explainUnknown(r, e)
	}
}

func (n Need) explainFree(r *Result, e evidence) {
	r.Message = e.subject + " is free"
	holding := holdingPort(e.sockets)
	if slices.ContainsFunc(holding, func(s host.Socket) bool { return s.State == host.Bound }) {
		n.listHolders(r, holding, e.facts.Gaps)
		n.notify(r, config.Claimed, "%s has bound it and does not listen yet: a bind still succeeds, but will fail once it listens", describeAll(holding))
	}
	if int(n.Ports.First) < e.facts.Limits.UnprivilegedFrom && e.facts.Machine.Elevated && n.RunAs == "" {
		n.notify(r, config.Privileged, "%s", n.privilegedText(e))
	}
	n.noteUnreached(r, e.tried.Unreached)
}

// noteUnreached adds notices if callers don't reach the app at addresses that it can bind.
func (n Need) noteUnreached(r *Result, unreached []host.Unreached) {
	for _, u := range unreached {
		family := "ipv4"
		if u.Addr.Is6() {
			family = "ipv6"
		}
		if u.Group {
			n.notify(r, config.NoCallers, "TCP can't connect to a broadcast or multicast address, so no caller reaches the app at %s: use an address of the host", u.Addr)
		} else {
			n.notify(r, config.NoCallers, "this host does not have %s now, and lets the app bind it because net.%s.ip_nonlocal_bind is 1: callers don't reach the app there until the host gets the address", u.Addr, family)
		}
	}
}

func (n Need) privilegedText(e evidence) string {
	if e.tried.NoBindReason != "" {
		return fmt.Sprintf("ports below %d need root or CAP_NET_BIND_SERVICE: the login there has that right, but your app may not", e.facts.Limits.UnprivilegedFrom)
	}
	how := "set run_as to its user to be sure"
	switch {
	case n.At.IsFlag():
		how = "use --run-as with its user to be sure"
	case n.Project != "":
		how = "set run_as in x-portcheck to its user to be sure"
	}
	return fmt.Sprintf("portcheck may bind ports below %d, but your app may not: %s", e.facts.Limits.UnprivilegedFrom, how)
}

func (n Need) explainOwned(r *Result, e evidence) {
	n.listHolders(r, e.sockets, e.facts.Gaps)
	r.Message = fmt.Sprintf("%s is held by its owner, %s", e.subject, describeAll(e.sockets))
	n.noteUnseen(r, e.sockets, e.facts.Gaps)
}

func (n Need) explainShadowed(r *Result, e evidence) {
	n.listHolders(r, e.sockets, e.facts.Gaps)
	n.markOwners(r, e.facts.Machine)
	r.Message = fmt.Sprintf("%s can be bound, but beside %s, which would share or steal its traffic", e.where, describeEach(e.sockets)) + n.mismatch(e.sockets, e.facts.Machine)
}

func (n Need) explainInUse(r *Result, e evidence) {
	n.listHolders(r, e.sockets, e.facts.Gaps)
	n.markOwners(r, e.facts.Machine)
	r.Message = inUseMessage(e.where, e.be, e.sockets) + n.mismatch(e.sockets, e.facts.Machine)
	switch {
	case len(e.sockets) == 0:
		n.noteNoSocket(r, e)
		if r.Unlisted {
			r.Message = e.where + " " + e.be + " in use by a socket that the socket table does not show"
		}
	case allTimeWait(e.sockets):
		gone := "only connections in TIME_WAIT hold it: they are gone within 60 s, so " + n.waitKey("60s") + " is enough"
		if n.Binding(r.Protocol).ReuseAddress {
			n.notify(r, config.TimeWait, "%s", gone+" (SO_REUSEADDR does not help the app: the program that had them did not set it)")
		} else {
			manifest := "the manifest"
			if n.At.IsFlag() {
				manifest = "a manifest in place of --port"
			}
			n.notify(r, config.TimeWait, "%s", gone+" (or set SO_REUSEADDR in the app, and `socket: {reuse_address: true}` in "+manifest+")")
		}
	}
	n.noteUnseen(r, e.sockets, e.facts.Gaps)
}

// inUseMessage names the holders, and what they do with the port.
func inUseMessage(subject, be string, sockets []host.Socket) string {
	connection := be + " the local port of a connection"
	if be == "are" {
		connection = "are local ports of connections"
	}
	states := map[host.State]bool{}
	for _, s := range sockets {
		states[s.State] = true
	}
	holders := describeAll(sockets)
	switch {
	case len(sockets) == 0:
		return fmt.Sprintf("%s %s in use by a process that can't be seen", subject, be)
	case states[host.Listen]:
		return fmt.Sprintf("%s %s in use by %s", subject, be, holders)
	case states[host.Allocated]:
		return fmt.Sprintf("%s %s in use by %s: the container engine has given it the port", subject, be, holders)
	case states[host.Bound]:
		return fmt.Sprintf("%s %s bound by %s, which does not listen yet", subject, be, holders)
	case states[host.Connected]:
		return fmt.Sprintf("%s %s of %s", subject, connection, holders)
	case states[host.Closing]:
		return fmt.Sprintf("%s %s that %s closing", subject, connection, be)
	}
	return fmt.Sprintf("%s %s in TIME_WAIT: its last connections are still timing out", subject, be)
}

func (n Need) explainDenied(r *Result, e evidence) {
	x, from := e.blamed[0], e.facts.Limits.UnprivilegedFrom
	switch {
	case int(x.Port) >= from:
		r.Message = fmt.Sprintf("%s may not be bound by %s (%s)", e.where, n.user(), x.Errno)
	default:
		r.Message = fmt.Sprintf("%s may not be bound by %s: %s", e.where, n.user(), privilegeText(e.facts))
	}
	holding := holdingPort(e.sockets)
	if len(holding) == 0 {
		return
	}
	n.listHolders(r, holding, e.facts.Gaps)
	n.markOwners(r, e.facts.Machine)
	if len(n.Owner) > 0 && ownership(n.Owner, holding, e.facts.Machine) == proven {
		r.Message += fmt.Sprintf("; its owner, %s, has it now", describeAll(holding))
	} else {
		r.Message += fmt.Sprintf("; it is in use by %s", describeAll(holding))
	}
	n.noteUnseen(r, holding, e.facts.Gaps)
}

// privilegeText returns the ports that need a right, and which.
func privilegeText(f host.Facts) string {
	if f.Machine.OS == "linux" {
		return fmt.Sprintf("ports below %d (net.ipv4.ip_unprivileged_port_start) need root or CAP_NET_BIND_SERVICE", f.Limits.UnprivilegedFrom)
	}
	return fmt.Sprintf("ports below %d need root", f.Limits.UnprivilegedFrom)
}

// user names the user that the need's app runs as.
func (n Need) user() string { return cmp.Or(n.RunAs, "this user") }

// noDevice is the error of a bind to a device that does not exist.
const noDevice = "ENODEV"

// unavailableCause says why what an attempt binds to is not there.
func unavailableCause(a host.Attempt) string {
	switch {
	case a.Outcome == host.NoFamily:
		return "this host has no IPv6"
	case a.Errno == noDevice:
		return "this host has no such device"
	}
	return "the address is not on this host"
}

func (n Need) explainUnavailable(r *Result, e evidence) {
	var causes []string
	addresses := map[string][]string{} // by cause
	for _, v := range e.blamed {
		cause, addr := unavailableCause(v.Attempt), v.Addr.String()
		if addresses[cause] == nil {
			causes = append(causes, cause)
		}
		if !slices.Contains(addresses[cause], addr) { // the same for each port of a block
			addresses[cause] = append(addresses[cause], addr)
		}
	}
	if len(causes) == 0 {
		causes = []string{"the address is not on this host"}
	}
	if len(causes) > 1 {
		for i, c := range causes {
			causes[i] = fmt.Sprintf("%s (%s)", c, list(addresses[c]))
		}
	}
	r.Message = fmt.Sprintf("%s can't be bound: %s", e.where, strings.Join(causes, ", and "))
}

// unreadTable sets the message of a result that needs the socket table, which
// could not be read.
func (r *Result) unreadTable(where string, gaps []host.Gap) {
	r.Message = fmt.Sprintf("%s: could not determine whether a process listens there%s", where, because(gaps, host.GapSockets))
	if i := slices.IndexFunc(gaps, func(g host.Gap) bool { return g.Kind == host.GapSockets }); i >= 0 {
		r.TableErrno = gaps[i].Errno
	}
}

func (n Need) explainUnknown(r *Result, e evidence) {
	x := e.blamed[0]
	switch {
	case x.mayBeLeased:
		r.LeasesUnknown = true
		r.Message = fmt.Sprintf("%s: could not determine whether another job has leased it%s", e.where, because(e.facts.Gaps, host.GapLeases))
	case x.Outcome == host.Failed && !takenUntried(n.Binding(x.Protocol), x.Attempt, e.tried, x.sockets, e.facts.Machine):
		r.Message = fmt.Sprintf("%s could not be tried%s", e.where, n.failure(x.Attempt))
		if holding := holdingPort(e.sockets); len(holding) > 0 && e.tried.TableOK {
			n.listHolders(r, holding, e.facts.Gaps)
			n.notify(r, config.Claimed, "%s has bound it", describeAll(holding))
		}
	case !e.tried.TableOK:
		r.unreadTable(e.where, e.facts.Gaps)
	case e.tried.NoBindReason != "" && (len(x.sockets) == 0 || onlyConnections(n.Binding(x.Protocol), x.sockets)):
		n.explainWithoutBind(r, e)
	case x.Outcome == host.NotTried && len(e.sockets) == 0:
		r.Message = fmt.Sprintf("%s was not bound, because a bind would have taken traffic from a listener that has gone since: check again", e.where)
	default:
		n.listHolders(r, e.sockets, e.facts.Gaps)
		r.Message = fmt.Sprintf("%s %s in use, but whether by its owner could not be determined: %s", e.where, e.be, cmp.Or(describeAll(e.sockets), "no process can be seen there"))
		if len(e.sockets) == 0 {
			n.noteNoSocket(r, e)
		}
		n.noteUnseen(r, e.sockets, e.facts.Gaps)
	}
}

// failure describes an operation that failed for another reason than the port:
// the end of a sentence.
func (n Need) failure(a host.Attempt) string {
	switch {
	case a.Op == "setresuid" && a.Errno == "EINVAL": // setresuid(2)
		return fmt.Sprintf(" as %s: portcheck runs in a user namespace that has no such user (setresuid: EINVAL)", n.RunAs)
	case a.Op == "setresuid":
		return fmt.Sprintf(" as %s: portcheck has no right to change its user (setresuid: %s)", n.RunAs, a.Errno)
	case a.Op == "look up user" && n.RunAs != "":
		why := a.Errno
		if strings.HasSuffix(why, "unknown user "+n.RunAs) { // Go's words
			why = "there is no such user"
		}
		return fmt.Sprintf(" as %s: %s", n.RunAs, why)
	}
	return fmt.Sprintf(" (%s: %s)", a.Op, a.Errno)
}

// noteUnseen adds a notice if a holder can't be named, or if processes could not
// be compared with the need's owner.
func (n Need) noteUnseen(r *Result, sockets []host.Socket, gaps []host.Gap) {
	complete := true
	for _, s := range sockets {
		canBeHeld := s.Inode != 0 || holdsPort(s)
		complete = complete && (s.Complete || !canBeHeld)
		switch {
		case len(s.Holders) > 0 || !canBeHeld || s.Kernel:
		case s.Complete && s.Inode == 0: // most systems other than Linux show no inodes
			n.notify(r, config.Degraded, "no process that can be seen has it open: the one that had it has ended, or it runs in another PID namespace")
			return
		case s.Complete:
			r.Ended = holdsPort(s)
			n.notify(r, config.Degraded, "no process has it open: the one that had it has ended, or has sent it through a unix socket from which nobody has taken it yet, or keeps it in an io_uring")
			return
		case mayBeKernels(s):
			n.notify(r, config.Degraded, "its holder can't be seen: no process that can be seen has it open, and the kernel itself may (for WireGuard, NFS and the like)%s", because(gaps, host.GapHolders))
			return
		default:
			n.notify(r, config.Degraded, "its holder can't be seen%s", because(gaps, host.GapHolders))
			return
		}
	}
	n.noteUnproven(r, sockets, gaps)
	if !complete && len(n.Owner) > 0 {
		n.notify(r, config.Degraded, "some processes were not compared with owner%s", because(gaps, host.GapHolders))
	}
}

// mayBeKernels reports whether a socket without a holder is one of those that the
// kernel has for tunnels, or for an NFS server.
func mayBeKernels(s host.Socket) bool {
	const nfs = 2049
	return s.Inode != 0 && holdsPort(s) && (s.Protocol == port.UDP || s.Port == nfs)
}

// noteUnproven adds a notice if it is unknown whether a holder is an owner although
// its facts could be read.
func (n Need) noteUnproven(r *Result, sockets []host.Socket, gaps []host.Gap) {
	if len(n.Owner) == 0 || r.Status != Unknown {
		return
	}
	for _, s := range sockets {
		for _, h := range s.Holders {
			switch {
			case saidByUser(h):
				n.notify(r, config.Degraded, "only a process of %s says that pid %d holds the port for container %s, and no container engine that was asked has it: add `user` to the owner to accept that", UserText(clip(h.User, 32), uidOf(h.UID)), h.PID, clip(cmp.Or(h.ContainerInfo.Name, h.Container), 64))
			case h.Container != "" && !slices.Contains(h.Vouched, host.FactContainer):
				n.notify(r, config.Degraded, "pid %d runs in a cgroup with a container's ID that its user can have chosen, and no container engine confirmed it", h.PID)
			case h.ContainerInfo != nil && h.ContainerInfo.NameOnly && slices.ContainsFunc(n.Owner, func(o config.Owner) bool { return o.Image+o.Compose != "" }):
				n.notify(r, config.Degraded, "of container %s only the name is known%s", clip(h.ContainerInfo.Name, 64), because(gaps, host.GapContainers))
			case h.Executable != "" && (h.File == "" || slices.Contains(h.Unseen, host.NamesUnseen) && slices.ContainsFunc(n.Owner, func(o config.Owner) bool { return o.Process != "" })):
				n.notify(r, config.Degraded, "the executable of pid %d could not be compared with the machine's file of the same path", h.PID)
			case h.User != "" && !madeBy(s, h):
				n.notify(r, config.Degraded, "pid %d holds a socket that another user made (uid %d)", h.PID, *s.UID)
			case slices.Contains(h.Unseen, host.FactUnit) && slices.ContainsFunc(n.Owner, func(o config.Owner) bool { return o.Unit != "" }),
				slices.Contains(h.Unseen, host.FactContainer) && slices.ContainsFunc(n.Owner, namesContainer):
				n.notify(r, config.Degraded, "the cgroup of pid %d, which has its unit and container, can't be read, or portcheck runs in a cgroup namespace of its own (start its container with --cgroupns host)", h.PID)
			default:
				continue
			}
			return
		}
	}
}

// because returns the reasons why facts of one kind are missing, as the end of a
// sentence: "" or ": " and the reasons.
func because(gaps []host.Gap, kind host.GapKind) string {
	var all []string
	for _, g := range gaps {
		if g.Kind == kind {
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

// list joins words with commas, and counts those after the first five.
func list(words []string) string {
	const most = 5
	if more := len(words) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), more)
	}
	return strings.Join(words, ", ")
}

// Counted returns a number with a noun: "1 port", "2 ports".
func Counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
