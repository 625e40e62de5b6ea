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

// evidence is what led to the status of a need: the endpoints to blame for it
// and the sockets there.
type evidence struct {
	subject string // the need
	where   string // the part of it that is to blame
	blamed  []finding
	sockets []host.Socket
	tried   host.Tried
	facts   host.Facts
}

func newEvidence(n Need, proto port.Protocol, status Status, findings []finding, tried host.Tried, f host.Facts) evidence {
	e := evidence{subject: n.subject(proto), tried: tried, facts: f}
	var names []string
	for _, x := range findings {
		if x.status == status {
			e.blamed = append(e.blamed, x)
			e.sockets = append(e.sockets, x.sockets...)
			names = append(names, x.Endpoint.String())
		}
	}
	e.sockets = distinct(e.sockets)
	e.where = e.subject
	if len(names) < len(findings) {
		e.where += ": " + list(names)
	}
	return e
}

// explain says who, how and why, and names the holders.
func (n Need) explain(r *Result, e evidence) {
	switch r.Status {
	case Free:
		r.Message = e.subject + " is free"
		held := held(e.sockets)
		if slices.ContainsFunc(held, func(s host.Socket) bool { return s.State == host.Bound }) {
			n.show(r, held, e.facts.Gaps)
			n.notify(r, config.Claimed, "%s has bound it and does not listen yet: a bind still works, but once it listens it does not", describeAll(held))
		}
		if int(n.Ports.First) < e.facts.Limits.UnprivilegedFrom && e.facts.Machine.Elevated && n.RunAs == "" {
			n.notify(r, config.Privileged, "%s", privilegedText(e))
		}
	case Owned:
		n.show(r, e.sockets, e.facts.Gaps)
		r.Message = fmt.Sprintf("%s is held by its owner, %s", e.subject, describeAll(e.sockets))
		n.noteUnseen(r, e.sockets, e.facts.Gaps)
	case Shadowed:
		n.show(r, e.sockets, e.facts.Gaps)
		r.Message = fmt.Sprintf("%s can be bound, but beside %s, which would share or steal its traffic", e.where, describeAll(e.sockets))
	case InUse:
		n.show(r, e.sockets, e.facts.Gaps)
		r.Message = inUseMessage(e.where, e.sockets)
		switch {
		case len(e.sockets) == 0:
			n.noteNobody(r, e.facts.Gaps)
		case allTimeWait(e.sockets):
			n.notify(r, config.TimeWait, "only connections in TIME_WAIT hold it: they are gone within 60 s, so `wait: 60s` is enough (or set SO_REUSEADDR in the app, and `reuse_address: true` here)")
		}
		n.noteUnseen(r, e.sockets, e.facts.Gaps)
	case Denied:
		r.Message = fmt.Sprintf("%s may not be bound by this user (%s)", e.where, e.blamed[0].Errno)
		if first := int(e.blamed[0].Port); first < e.facts.Limits.UnprivilegedFrom {
			who := "this user"
			if n.RunAs != "" {
				who = n.RunAs
			}
			r.Message = fmt.Sprintf("%s may not be bound by %s: ports below %d (net.ipv4.ip_unprivileged_port_start) need root or CAP_NET_BIND_SERVICE", e.where, who, e.facts.Limits.UnprivilegedFrom)
			if e.facts.Machine.OS != "linux" {
				r.Message = fmt.Sprintf("%s may not be bound by %s: ports below %d need root", e.where, who, e.facts.Limits.UnprivilegedFrom)
			}
		}
	case OSReserved:
		r.Message = e.where + " is kept back by the operating system"
	case Unavailable:
		r.Message = fmt.Sprintf("%s can't be bound: the address is not on this host", e.where)
		if len(e.blamed) > 0 && e.blamed[0].Outcome == host.NoFamily {
			r.Message = fmt.Sprintf("%s can't be bound: this host has no IPv6", e.where)
		}
	case Unknown:
		x := e.blamed[0]
		switch {
		case x.Outcome == host.Failed && x.Op == "setresuid":
			r.Message = fmt.Sprintf("%s could not be tried as %s: this check has no right to change its user (setresuid: %s)", e.where, n.RunAs, x.Errno)
		case x.Outcome == host.Failed && n.RunAs != "" && x.Op == "look up user":
			r.Message = fmt.Sprintf("%s could not be tried as %s: %s", e.where, n.RunAs, x.Errno)
		case x.Outcome == host.Failed:
			r.Message = fmt.Sprintf("%s could not be tried (%s: %s)", e.where, x.Op, x.Errno)
		case !e.tried.TableOK:
			r.Message = fmt.Sprintf("%s: it could not be found out whether somebody listens there%s", e.where, because(e.facts.Gaps, host.GapSockets))
		case e.tried.NoBindReason != "" && (len(x.sockets) == 0 || onlyBindTells(n.Binding(x.Protocol), x.sockets)):
			n.explainDoubt(r, e)
		case x.Outcome == host.NotTried && len(e.sockets) == 0:
			r.Message = fmt.Sprintf("%s was not tried, to spare who listened there a moment ago: check again", e.where)
		default:
			n.show(r, e.sockets, e.facts.Gaps)
			r.Message = fmt.Sprintf("%s is in use, and it could not be proven whether by its owner: %s", e.where, cmp.Or(describeAll(e.sockets), "nobody can be seen there"))
			if len(e.sockets) == 0 {
				n.noteNobody(r, e.facts.Gaps)
			}
			n.noteUnseen(r, e.sockets, e.facts.Gaps)
		}
	}
}

func privilegedText(e evidence) string {
	if e.tried.NoBindReason != "" {
		return fmt.Sprintf("ports below %d need root or CAP_NET_BIND_SERVICE: the login there has that right, your app perhaps not", e.facts.Limits.UnprivilegedFrom)
	}
	return fmt.Sprintf("this check may bind ports below %d, your app perhaps not: set run_as to its user to be sure", e.facts.Limits.UnprivilegedFrom)
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
			n.notify(r, config.Degraded, "who holds it can't be seen%s", because(gaps, host.GapHolders))
			return
		}
	}
	if !complete && len(n.Owner) > 0 {
		n.notify(r, config.Degraded, "every process that could be looked into was compared with owner, but not all could%s", because(gaps, host.GapHolders))
	}
}

// because returns the gaps of one kind as the end of a sentence that lacks the
// facts of that kind: "" or ": " and the reasons.
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

// list joins words, the first few of them.
func list(words []string) string {
	const most = 5
	if more := len(words) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), more)
	}
	return strings.Join(words, ", ")
}
