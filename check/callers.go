package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// followCallers changes a result of a need whose callers NAT rules send elsewhere.
// A status that is not about callers, such as in-use, stays.
func (n Need) followCallers(r *Result, proto port.Protocol, tried host.Tried, f host.Facts, table socketsByPort) {
	switch r.Status {
	case Free, Owned, Listening, NotListening, Shadowed:
	default:
		return
	}
	own := byPort(f.Sockets)
	routes := n.away(proto, tried, own)
	var all, some []host.Route
	for _, x := range routes {
		if x.All {
			all = append(all, x)
		} else {
			some = append(some, x)
		}
	}
	switch {
	case len(all) == 0 && len(some) == 0:
	case len(all) == 0 || r.Status == Shadowed:
		n.noteCallers(r, proto, routes, table)
	default:
		n.judgeCallers(r, proto, tried, all, f, own, table)
	}
}

// away returns the routes on which callers end at no endpoint of the need, and not
// with a forwarder's container, if the forwarder itself holds the port. Of several
// destinations some may be such ends.
func (n Need) away(proto port.Protocol, tried host.Tried, own socketsByPort) []host.Route {
	if len(tried.Routes) == 0 {
		return nil
	}
	attempts := map[uint16][]host.Attempt{}
	for _, a := range tried.Attempts {
		attempts[a.Port] = append(attempts[a.Port], a)
	}
	var all []host.Route
	for _, r := range tried.Routes {
		ends := 0
		for _, to := range r.To {
			if leadsBack(r, to, proto, attempts[r.Port]) || forwards(own[r.Port], to) {
				ends++
			}
		}
		if ends > 0 && ends == len(r.To) && r.Reason != host.Unanswered {
			continue
		}
		if ends > 0 {
			r.All = false
			if r.Reason == host.EveryPort {
				r.Reason = ""
			}
		}
		all = append(all, r)
	}
	return all
}

// leadsBack reports whether a destination is an endpoint of the need, which has these
// attempts at the port.
func leadsBack(r host.Route, to host.Destination, proto port.Protocol, attempts []host.Attempt) bool {
	if !to.Here || to.Port != r.Port || !to.Addr.IsValid() {
		return false
	}
	if to.Addr.IsLoopback() && slices.ContainsFunc(r.From, func(from string) bool { return from != "" }) {
		return false // the kernel drops these, unless route_localnet is set
	}
	there := port.Endpoint{Protocol: proto, Addr: to.Addr, Port: to.Port}
	return slices.ContainsFunc(attempts, func(a host.Attempt) bool {
		return a.Outcome != host.NoAddress && a.Outcome != host.NoFamily && a.Overlaps(there)
	})
}

// forwards reports whether a destination is the container for which a forwarder
// holds one of the sockets of a port.
func forwards(sockets []host.Socket, to host.Destination) bool {
	if to.Here {
		return false
	}
	for _, s := range sockets {
		if !holdsPort(s) {
			continue
		}
		for _, h := range s.Holders {
			switch {
			case h.Container != "" && to.Container != "":
				if h.Container == to.Container {
					return true
				}
			default:
				if f, proven := host.ForwarderOf(h); proven && f.For == host.ForContainers {
					return true
				}
			}
		}
	}
	return false
}

// judgeCallers sets the status of a need for which there are ways on which all
// callers are sent away.
func (n Need) judgeCallers(r *Result, proto port.Protocol, tried host.Tried, routes []host.Route, f host.Facts, own, table socketsByPort) {
	var behind []host.Socket
	result := proven
	left := mostBehind
	for _, x := range routes {
		if left -= countBehind(x, table); left < 0 {
			result = min(result, unproven)
			break
		}
		there := behindRoute(x, proto, table)
		if len(n.Owner) == 0 || len(x.To) == 0 || len(there) == 0 {
			result = foreign
		} else {
			result = min(result, ownership(n.Owner, there, f.Machine))
		}
		behind = append(behind, there...)
	}
	if r.Status == NotListening && result == proven && n.unserved(tried, own, routes) {
		return
	}
	behind = distinct(behind)
	named := slices.DeleteFunc(slices.Clone(behind), func(s host.Socket) bool { return len(s.Holders) == 0 && s.State == host.Allocated })
	x := routes[0]
	r.Redirect = newRedirect(x)
	if result == proven {
		r.Status = Owned
		if n.Expect == config.Listening {
			r.Status = Listening
		}
		r.Message = fmt.Sprintf("%s: %s are sent to its owner, %s, %s", n.subject(proto), callersOf(x), destinations(x, proto, table), byRule(x, routes))
	} else {
		r.Message = n.beforeCallers(r, proto, routes) + fmt.Sprintf(" %s are sent to %s %s", callersOf(x), destinations(x, proto, table), byRule(x, routes))
		r.Status = Redirected
	}
	n.listHolders(r, named, f.Gaps)
	if result == unproven {
		n.notify(r, config.Degraded, "whether callers end at its owner could not be determined%s", cmp.Or(because(f.Gaps, host.GapHolders), because(f.Gaps, host.GapContainers)))
	}
}

// mostBehind is how many sockets behind rules are looked at for a need. A target that
// can't be trusted may send every route to ports of many sockets.
const mostBehind = 1 << 17

// countBehind returns how many sockets the ports have to which a route leads.
func countBehind(x host.Route, table socketsByPort) int {
	count := 0
	for _, to := range x.To {
		if ports, ok := to.Behind(); ok {
			for p := range (port.Set{ports}).All {
				count += len(table[p])
			}
		}
	}
	return count
}

// unserved reports whether a port of the need has neither a listener nor a route.
func (n Need) unserved(tried host.Tried, own socketsByPort, routes []host.Route) bool {
	served := new(port.Bits)
	for _, x := range routes {
		served.Add(x.Port)
	}
	for _, a := range tried.Attempts {
		if slices.ContainsFunc(own[a.Port], func(s host.Socket) bool {
			return (s.State == host.Listen || isAllocated(s)) && s.Overlaps(a.Endpoint) && s.Reached(a.Addr)
		}) {
			served.Add(a.Port)
		}
	}
	return !served.HasAll(n.Ports)
}

// beforeCallers returns the start of a message about callers: what is known of the
// port itself.
func (n Need) beforeCallers(r *Result, proto port.Protocol, routes []host.Route) string {
	where := n.subject(proto)
	if ports := portsOf(routes); n.Ports.Len() > len(ports) {
		where += ": " + list(ports)
	}
	switch r.Status {
	case Free:
		return where + " can be bound, but"
	case NotListening:
		return r.Message + ", and"
	}
	return r.Message + ", but"
}

func portsOf(routes []host.Route) []string {
	var all []string
	var seen port.Bits
	for _, x := range routes {
		if !seen.Has(x.Port) {
			seen.Add(x.Port)
			all = append(all, strconv.Itoa(int(x.Port)))
		}
	}
	return all
}

// noteCallers adds the notice that some callers may be sent away.
func (n Need) noteCallers(r *Result, proto port.Protocol, routes []host.Route, table socketsByPort) {
	x := routes[0]
	reason := ""
	if x.Reason != "" {
		reason = ": " + clip(x.Reason, 128)
	}
	who := "some of the " + callersOf(x) + " may be"
	switch {
	case x.All || x.Reason == host.EveryPort:
		who = callersOf(x) + " are"
	case x.Reason == host.Unanswered:
		n.notify(r, config.NAT, "answers to %s may be lost: packets are changed %s", callersOf(x), byRule(x, routes))
		return
	}
	n.notify(r, config.NAT, "%s sent to %s %s%s", who, destinations(x, proto, table), byRule(x, routes), reason)
}

const thisMachine = "this machine"

// from returns the interfaces where callers come from.
func from(x host.Route) []string {
	var all []string
	for _, name := range x.From {
		all = append(all, cmp.Or(clip(name, 32), thisMachine))
	}
	if x.More {
		all = append(all, "others")
	}
	return all
}

// callersOf describes the callers of a route: "callers by eth0", "callers on this
// machine".
func callersOf(x host.Route) string {
	var by []string
	local := slices.Contains(x.From, "")
	for _, name := range from(x) {
		if name != thisMachine {
			by = append(by, name)
		}
	}
	s := "callers"
	if len(x.Addrs) == 1 {
		s += " of " + x.Addrs[0].String()
	}
	switch {
	case len(by) > 0 && local:
		return s + " by " + strings.Join(by, ", ") + " and on this machine"
	case len(by) > 0:
		return s + " by " + strings.Join(by, ", ")
	case local:
		return s + " on this machine"
	}
	return s
}

// destinations describes where callers end: "10.0.0.5:80 of container web".
func destinations(x host.Route, proto port.Protocol, table socketsByPort) string {
	const elsewhere = "another place"
	var all []string
	more := ""
	for _, to := range x.To {
		if to.Unknown() {
			more = " or " + elsewhere
			continue
		}
		name := to.String()
		switch {
		case to.ContainerInfo != nil && to.ContainerInfo.Name != "":
			name += " of container " + clip(to.ContainerInfo.Name, 64)
		case to.Container != "":
			name += " of container " + clip(to.Container, 12)
		case to.Here && to.Port != 0:
			name += " of " + cmp.Or(describeAll(to.Overlapping(proto, to.Port, table[to.Port])), "no process that can be seen")
		case to.Here:
			if there := behindRange(to, proto, table); len(there) > 0 {
				name += " of " + describeAll(there)
			}
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return elsewhere
	}
	return list(all) + more
}

// behindRange returns the sockets at a destination. A range has one at each port, or
// it is not known where callers end.
func behindRange(to host.Destination, proto port.Protocol, table socketsByPort) []host.Socket {
	ports, ok := to.Behind()
	if !ok {
		return nil
	}
	var all []host.Socket
	for n := range ports.Last - ports.First + 1 {
		p := ports.First + n
		there := to.Overlapping(proto, p, table[p])
		if len(there) == 0 {
			return nil
		}
		all = append(all, there...)
	}
	return all
}

// byRule names the rule that sends callers away.
func byRule(x host.Route, routes []host.Route) string {
	if x.Rule.Table == "" {
		return "by NAT rules"
	}
	s := fmt.Sprintf("by a NAT rule in chain %s of table %s", clip(x.Rule.Chain, 64), tableOf(x.Rule))
	if x.Rule.Chain == "" {
		s = fmt.Sprintf("by the %s of IPVS", clip(x.Rule.Text, 128))
	}
	if x.Rule.Legacy {
		s += " of iptables-legacy"
	}
	if x.Rule.Comment != "" {
		s += fmt.Sprintf(" (%s)", clip(x.Rule.Comment, 128))
	}
	rules := map[host.Rule]bool{x.Rule: true}
	for _, o := range routes {
		rules[o.Rule] = true
	}
	if others := len(rules) - 1; others > 0 {
		s += fmt.Sprintf(", and by %d more", others)
	}
	return s
}

func tableOf(x host.Rule) string {
	return strings.TrimSpace(clip(x.Family, 8) + " " + clip(x.Table, 64))
}

func newRedirect(x host.Route) *Redirect {
	var to []string
	for _, d := range x.To {
		to = append(to, d.String())
	}
	const most = 256
	return &Redirect{
		From: strings.Join(from(x), ", "), To: list(to), Rule: clip(x.Rule.Text, most), Comment: clip(x.Rule.Comment, most),
		Table: tableOf(x.Rule), Chain: clip(x.Rule.Chain, most), Legacy: x.Rule.Legacy,
	}
}

// behindRoute returns what callers of a route end at. A container and another
// machine have no socket in the table, and stand for one.
func behindRoute(x host.Route, proto port.Protocol, table socketsByPort) []host.Socket {
	var all []host.Socket
	for _, to := range x.To {
		s := host.Socket{Endpoint: port.Endpoint{Protocol: proto, Addr: to.Addr, Port: to.Port}, State: host.Allocated, Complete: true}
		switch {
		case to.Container != "":
			s.Holders = []host.Holder{{UID: -1, Container: to.Container, ContainerInfo: to.ContainerInfo, Vouched: []string{host.FactContainer}}}
			all = append(all, s)
		case to.Here:
			all = append(all, behindRange(to, proto, table)...)
		default:
			all = append(all, s)
		}
	}
	return all
}
