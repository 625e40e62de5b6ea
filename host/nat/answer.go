package nat

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/org/portcheck/port"
)

// answer answers all questions. It makes a rough check of each first, which stands
// for all ways and addresses, because most ports have no rule.
func answer(ctx context.Context, questions []Question, rules ruleset, m machine) ([]Answer, error) {
	answers := make([]Answer, len(questions))
	budget := maxWalks
	for i, q := range questions {
		c := call{family: familyIPv4, protocol: protocolNumber(q.Protocol), port: q.Port, asked: q.Addr}
		if q.Addr.Is6() {
			c.family = familyIPv6
		}
		for _, local := range []bool{false, true} {
			rough := c
			rough.local, rough.spots = local, m.spots(q.Addr)
			o, err := follow(rough, rules, m, &budget)
			if err != nil {
				return nil, err
			}
			if len(o.away) == 0 {
				continue
			}
			all := false
			addrs := append(m.addresses(q.Addr), rough.spots.list()...)
			for _, w := range ways(q, m, addrs, local) {
				if ctx.Err() != nil {
					return nil, &Unreadable{Op: "follow the rules", Err: ctx.Err()}
				}
				if all && len(answers[i]) >= maxRoutes {
					break
				}
				exact := w.call(c, local)
				o, err := follow(exact, rules, m, &budget)
				if err != nil {
					return nil, err
				}
				if r, ok := routeOf(o, exact, m); ok {
					answers[i] = append(answers[i], r)
					all = all || r.All
				}
			}
			// The rough outcome is that of all addresses.
			o.stays, o.reason = true, "routes make many addresses local"
			for _, w := range ways(q, m, rough.spots.rest(), local) {
				if r, ok := routeOf(o, w.call(c, local), m); ok && !all {
					answers[i] = append(answers[i], r)
				}
			}
		}
	}
	return answers, nil
}

// EveryPort is the reason for a route on which all callers are sent away, by a rule
// for every port.
const EveryPort = "it takes every port"

// loopbackDevice is its name on every Linux.
const loopbackDevice = "lo"

// way is how callers reach an address.
type way struct {
	in   *netInterface // nil for local callers
	addr netip.Addr
}

// call returns a call by a way.
func (w way) call(c call, local bool) call {
	c.local, c.in, c.addr = local, w.in, w.addr
	return c
}

func ways(q Question, m machine, addrs []netip.Addr, local bool) []way {
	var all []way
	for _, a := range addrs {
		if local {
			if q.Device == "" || q.Device == loopbackDevice {
				all = append(all, way{nil, a})
			}
			continue
		}
		for i := range m.interfaces {
			if m.interfaces[i].reaches(a) && m.interfaces[i].isOf(q.Device) {
				all = append(all, way{&m.interfaces[i], a})
			}
		}
	}
	return all
}

// routeOf returns the route on which callers are sent away, if there are any.
func routeOf(o outcome, c call, m machine) (Route, bool) {
	if len(o.away) == 0 {
		return Route{}, false
	}
	r := Route{Addr: c.addr, All: !o.stays && !o.every, Rule: o.away[0].rule}
	if c.in != nil {
		r.Interface = c.in.name
	}
	switch {
	case r.All:
	case !o.stays:
		r.Reason = EveryPort
	case o.reason != "":
		r.Reason = o.reason
	default:
		r.Reason = depends
	}
	seen := map[Target]bool{}
	for _, s := range o.away {
		for _, t := range s.targets {
			if !seen[t] && len(r.To) < maxTargets {
				seen[t] = true
				t.Here = t.Here || m.isOwn(t.Addr)
				r.To = append(r.To, t)
			}
		}
	}
	return r, true
}

// validate returns an error for a question that can't be answered. Only TCP and UDP
// have ports here.
func validate(questions []Question) error {
	for _, q := range questions {
		if !q.Addr.IsValid() || q.Addr.Is4In6() || q.Port == 0 || q.Protocol != port.TCP && q.Protocol != port.UDP {
			return fmt.Errorf("NAT rules: not a question: %s %s port %d", q.Protocol, q.Addr, q.Port)
		}
	}
	return nil
}
