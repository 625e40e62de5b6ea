package host

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/host/nat"
	"github.com/org/portcheck/port"
)

const (
	// callersTimeout bounds the time for reading NAT rules. It is also at most half of
	// the time that the request has left.
	callersTimeout = 3 * time.Second

	mostOfRoute = 4   // interfaces, and addresses
	mostOfRule  = 256 // bytes of a text
)

// Bounds on the routes of an answer. What is beyond MostRoutes is listed by its port
// alone.
const (
	MostRoutes       = 2048 // in all
	MostRoutesOfPort = 8    // in a try, with different rules or destinations
)

// followCallers follows the callers of tries through NAT rules, as far as a verdict
// may depend on it, and finds the sockets behind the rules.
func (p *probe) followCallers() {
	questions := make([]nat.Question, 0, len(p.req.Tries))
	tries := make([]int, 0, len(p.req.Tries)) // of each question
	for i, t := range p.req.Tries {
		if !t.Callers || p.ctx.Err() != nil {
			continue
		}
		questions = addQuestions(questions, t, p.facts.Tried[i].Attempts)
		for len(tries) < len(questions) {
			tries = append(tries, i)
		}
	}
	// Other systems have rules of other kinds, which are not read.
	if len(questions) == 0 || runtime.GOOS != "linux" {
		return
	}
	ctx, cancel := p.untilCallersTimeout()
	defer cancel()
	answers, err := p.rules.Answer(ctx, questions)
	if err != nil {
		p.addGaps(ruleGaps(err))
		return
	}
	p.routes(questions, answers, tries)
	p.findBehind()
}

func (p *probe) untilCallersTimeout() (context.Context, context.CancelFunc) {
	timeout := callersTimeout
	if deadline, ok := p.ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)/2)
	}
	return context.WithTimeout(p.ctx, timeout)
}

// beginRules begins to read the NAT rules if a verdict may depend on them, unless they
// are known.
func (p *probe) beginRules() {
	if r, ok := p.rules.(*nat.Reading); ok && slices.ContainsFunc(p.req.Tries, func(t Try) bool { return t.Callers }) {
		ctx, cancel := p.untilCallersTimeout()
		defer cancel()
		*r = *nat.Begin(ctx)
	}
}

// ruleSource answers questions about NAT rules.
type ruleSource interface {
	Answer(context.Context, []nat.Question) ([]nat.Answer, error)
}

// EveryPort is the reason for a route on which all callers are sent away, by a rule
// for every port, as service meshes have it.
const EveryPort = nat.EveryPort

// Unanswered is the reason for a route on which calls arrive, but answers may not
// come back, because a rule changes headers without NAT.
const Unanswered = nat.Unanswered

// RulesUnread is the start of what a gap of GapRules says.
const RulesUnread = "NAT rules can't be read, so it is not known whether one sends callers elsewhere"

// ruleGaps returns the gap for rules that can't be read, if there may be any.
func ruleGaps(err error) []Gap {
	g := Gap{Kind: GapRules, What: RulesUnread}
	var unreadable *nat.Unreadable
	if errors.As(err, &unreadable) {
		if !unreadable.Possible {
			return nil
		}
		g.Op, g.Errno = unreadable.Op, ErrnoName(unreadable.Err)
		if errors.Is(err, context.DeadlineExceeded) {
			g.Errno = "timeout"
		}
		if g.Errno == "EPERM" || g.Errno == "EACCES" {
			g.What += ": that needs root or CAP_NET_ADMIN"
		}
		return []Gap{g}
	}
	g.Op, g.Errno = "read", err.Error()
	return []Gap{g}
}

// addQuestions adds the questions about a try. A port at which a bind failed has none,
// unless the holder may be the owner: no caller matters there.
func addQuestions(all []nat.Question, t Try, attempts []Attempt) []nat.Question {
	taken := map[uint16]bool{}
	for _, a := range attempts {
		switch a.Outcome {
		case OK, NotTried, NoFamily, NoAddress:
		case InUse:
			taken[a.Port] = taken[a.Port] || !t.Owners
		default:
			taken[a.Port] = true
		}
	}
	for _, a := range attempts {
		if taken[a.Port] || a.Outcome == NoFamily || a.Outcome == NoAddress {
			continue
		}
		for _, addr := range addressesOf(a.Endpoint) {
			all = append(all, nat.Question{Protocol: t.Protocol, Addr: addr, Port: a.Port, Device: a.Device})
		}
	}
	return all
}

// addressesOf returns the addresses that callers of an endpoint use. One of
// [::] is for both families, unless its socket is for IPv6 alone.
func addressesOf(e port.Endpoint) []netip.Addr {
	addr := e.Addr.WithZone("").Unmap()
	if addr == netip.IPv6Unspecified() && !e.V6Only {
		return []netip.Addr{netip.IPv4Unspecified(), addr}
	}
	return []netip.Addr{addr}
}

// routes sets the routes of each try. Those of one rule to one destination are
// joined.
func (p *probe) routes(questions []nat.Question, answers []nat.Answer, tries []int) {
	for i, q := range questions {
		t := &p.facts.Tried[tries[i]]
		if len(answers[i]) == 0 {
			continue
		}
		first := len(t.Routes)
		for first > 0 && t.Routes[first-1].Port == q.Port {
			first-- // the other family's
		}
		t.Routes = append(t.Routes[:first], joinRoutes(t.Routes[first:], q, answers[i])...)
	}
	left := MostRoutes
	for i := range p.facts.Tried {
		all := p.facts.Tried[i].Routes
		kept := all[:0]
		for k, r := range all {
			if left--; left >= 0 {
				kept = append(kept, r)
			} else if k == 0 || all[k-1].Port != r.Port {
				kept = append(kept, Route{Port: r.Port, All: r.All})
			}
		}
		p.facts.Tried[i].Routes = kept
	}
}

// joinRoutes adds an answer to the routes of a port, those of all callers first.
func joinRoutes(routes []Route, q nat.Question, answer nat.Answer) []Route {
	for _, a := range answer {
		n := newRoute(q, a)
		i := slices.IndexFunc(routes, n.same)
		if i < 0 {
			routes = append(routes, n)
			continue
		}
		r := &routes[i]
		if !slices.Contains(r.From, a.Interface) {
			if len(r.From) < mostOfRoute {
				r.From = append(r.From, a.Interface)
			} else {
				r.More = true
			}
		}
		if !slices.Contains(r.Addrs, a.Addr) && len(r.Addrs) < mostOfRoute {
			r.Addrs = append(r.Addrs, a.Addr)
		}
	}
	slices.SortStableFunc(routes, func(a, b Route) int {
		switch {
		case a.All == b.All:
			return 0
		case a.All:
			return -1
		}
		return 1
	})
	return routes[:min(len(routes), MostRoutesOfPort)]
}

func newRoute(q nat.Question, a nat.Route) Route {
	r := Route{
		Port: q.Port, From: []string{a.Interface}, Addrs: []netip.Addr{a.Addr}, All: a.All, Reason: clip(a.Reason),
		Rule: Rule{a.Rule.Family, clip(a.Rule.Table), clip(a.Rule.Chain), clip(a.Rule.Comment), clip(a.Rule.Text), a.Rule.Legacy},
	}
	for _, t := range a.To {
		r.To = append(r.To, Destination{Addr: t.Addr, Port: t.Port, Here: t.Here, Addrs: t.Addrs, Ports: t.Ports})
	}
	return r
}

// same reports whether two routes differ in nothing but the callers.
func (r Route) same(o Route) bool {
	return r.All == o.All && r.Reason == o.Reason && r.Rule == o.Rule &&
		slices.EqualFunc(r.To, o.To, func(a, b Destination) bool { return a.target() == b.target() })
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), mostOfRule)], "\ufffd") }

// findBehind finds the sockets on this machine to which rules send callers.
func (p *probe) findBehind() {
	wanted := wantedPorts{}
	var places []port.Endpoint
	for i, t := range p.facts.Tried {
		for _, r := range t.Routes {
			for _, to := range r.To {
				ports, ok := to.Behind()
				if !ok {
					continue
				}
				e := to.endpoint(p.req.Tries[i].Protocol)
				wanted.add(e.Protocol, port.Set{ports})
				for n := range ports.Last - ports.First + 1 {
					if e.Port = ports.First + n; !slices.Contains(places, e) {
						places = append(places, e)
					}
				}
			}
		}
	}
	if len(places) == 0 {
		return
	}
	var queries []query
	for _, proto := range port.Protocols {
		if wanted[proto] != nil {
			queries = append(queries, query{protocol: proto, ports: wanted[proto]})
		}
	}
	got := readTable(p.ctx, queries)
	p.addGaps(got.gaps)
	for _, s := range got.sockets {
		if s.State == Listen && slices.ContainsFunc(places, s.Overlaps) {
			p.behind = append(p.behind, s)
		}
	}
}

// String returns the destination as "192.0.2.1:80".
func (d Destination) String() string { return d.target().String() }

// Unknown reports whether nothing is known of the place.
func (d Destination) Unknown() bool { return d.target() == nat.Target{} }

func (d Destination) target() nat.Target {
	return nat.Target{Addr: d.Addr, Port: d.Port, Here: d.Here, Addrs: d.Addrs, Ports: d.Ports}
}

// mostBehind is the largest range of ports behind a rule in which sockets are looked
// for.
const mostBehind = 256

// Behind returns the ports on this machine to which callers are sent, if they are
// known and not too many.
func (d Destination) Behind() (ports port.Range, ok bool) {
	ports = port.Range{First: d.Ports[0], Last: d.Ports[1]}
	if d.Port != 0 {
		ports = port.One(d.Port)
	}
	return ports, d.Here && ports.First > 0 && ports.First <= ports.Last && ports.Last-ports.First < mostBehind
}

func (d Destination) endpoint(proto port.Protocol) port.Endpoint {
	return port.Endpoint{Protocol: proto, Addr: cmp.Or(d.Addr.Unmap(), netip.IPv6Unspecified()), Port: d.Port}
}

// Overlapping returns those of the sockets of a port to which callers are sent.
func (d Destination) Overlapping(proto port.Protocol, p uint16, sockets []Socket) []Socket {
	ports, ok := d.Behind()
	if !ok || !ports.Contains(p) {
		return nil
	}
	e := d.endpoint(proto)
	e.Port = p
	var all []Socket
	for _, s := range sockets {
		if s.State == Listen && s.Overlaps(e) {
			all = append(all, s)
		}
	}
	return all
}
