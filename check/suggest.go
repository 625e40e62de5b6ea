package check

import (
	"context"
	"slices"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// mostCandidates bounds what one search binds in one round.
const mostCandidates = 4096

// search looks for the ports that one need can move to.
type search struct {
	need       Need
	wanted     int
	rounds     []*round // its targets: an alternative must be free on all
	candidates []uint16 // not tried yet, in order of preference
	skipped    []uint16 // candidates that another search was trying in this round
	fallback   []uint16 // ephemeral ones, for when there are no others
	good       []uint16
	trying     []uint16
	failed     map[uint16]bool
	blind      bool // a target did not answer: nothing can be said
}

// entry is one entry of a manifest's ports, whatever its target.
type entry struct {
	at        config.Position
	app, name string
}

func entryOf(n Need) entry { return entry{n.At, n.App, n.Name} }

// suggest fills the alternatives of every unmet need that another port would
// help. An app moves as a whole: its port is free for all of its protocols, and
// on all of its targets.
func suggest(ctx context.Context, needs []Need, rounds []*round, results map[rivalKey]*Result, o Options) error {
	if o.Alternatives <= 0 {
		return nil
	}
	claims := claim(needs)
	searches := map[entry]*search{}
	var order []*search
	for i, n := range needs {
		helps := slices.ContainsFunc(n.Protocols, func(proto port.Protocol) bool {
			return movable(n, results[rivalKey{i, proto}])
		})
		if !helps {
			continue
		}
		key := entryOf(n)
		if searches[key] == nil {
			searches[key] = newSearch(n, needs, rounds, claims, o.Alternatives)
			order = append(order, searches[key])
		}
	}
	if err := verify(ctx, order); err != nil {
		return err
	}
	for i, n := range needs {
		s := searches[entryOf(n)]
		if s == nil {
			continue
		}
		for _, proto := range n.Protocols {
			r := results[rivalKey{i, proto}]
			if s.blind || !movable(n, r) {
				continue
			}
			r.Alternatives, r.Asked, r.From = append(r.Alternatives, s.good...), o.Alternatives, n.Range
			if slices.ContainsFunc(s.good, s.isEphemeral) {
				n.notify(r, config.Ephemeral, "the range has no other free ports than ephemeral ones: an outgoing connection may take the alternatives before your app does")
			}
		}
	}
	return nil
}

// movable says whether another port would help an unmet need.
func movable(n Need, r *Result) bool {
	if n.Expect != config.Free || r.OK {
		return false
	}
	switch r.Status {
	case InUse, Shadowed, Leased, Denied, OSReserved, Free, Owned: // the last two: excluded by another need
		return true
	}
	return false
}

type place struct {
	target string
	proto  port.Protocol
}

// claim collects the ports that the needs of the run declare on their targets.
func claim(needs []Need) map[place]*port.Bits {
	claims := map[place]*port.Bits{}
	for _, n := range needs {
		if n.Expect == config.Reachable {
			continue // its port is the remote's
		}
		for _, proto := range n.Protocols {
			k := place{n.Target, proto}
			if claims[k] == nil {
				claims[k] = new(port.Bits)
			}
			claims[k].AddSet(port.Set{n.Ports})
		}
	}
	return claims
}

func newSearch(n Need, needs []Need, rounds []*round, claims map[place]*port.Bits, wanted int) *search {
	s := &search{need: n, wanted: wanted, failed: map[uint16]bool{}}
	for _, other := range needs {
		if entryOf(other) != entryOf(n) {
			continue
		}
		for _, r := range rounds {
			if r.Name == other.Target {
				s.rounds = append(s.rounds, r)
			}
		}
	}
	var excluded port.Bits
	excluded.AddSet(n.Exclude)
	var open, claimed []*port.Bits
	for _, r := range s.rounds {
		for _, proto := range n.Protocols {
			bits := r.open[scanKey(n, proto)]
			if bits == nil {
				s.blind = len(n.Range) > 0
				return s
			}
			open = append(open, bits)
			if c := claims[place{r.Name, proto}]; c != nil {
				claimed = append(claimed, c)
			}
		}
	}
	has := func(p uint16) func(*port.Bits) bool { return func(b *port.Bits) bool { return b.Has(p) } }
	usable := func(p uint16) bool {
		return !excluded.Has(p) && !slices.ContainsFunc(claimed, has(p)) &&
			!slices.ContainsFunc(open, func(b *port.Bits) bool { return !b.Has(p) })
	}
	length := n.Ports.Len()
	for first := range n.Range.All {
		if int(first)+length-1 > port.MaxPort {
			continue
		}
		ok := true
		for k := range length {
			p := first + uint16(k)
			ok = ok && n.Range.Contains(p) && usable(p)
		}
		switch {
		case !ok:
		case s.isEphemeral(first):
			s.fallback = append(s.fallback, first)
		default:
			s.candidates = append(s.candidates, first)
		}
	}
	return s
}

// isEphemeral says whether the OS of a target may give away a port of the block.
func (s *search) isEphemeral(first uint16) bool {
	for p := range (port.Set{s.block(first)}).All {
		if slices.ContainsFunc(s.rounds, func(r *round) bool {
			return r.facts.Limits.Ephemeral.Contains(p) && !r.facts.Limits.Reserved.Contains(p)
		}) {
			return true
		}
	}
	return false
}

// block is the run of ports that an alternative stands for.
func (s *search) block(first uint16) port.Range {
	return port.Range{First: first, Last: first + uint16(s.need.Ports.Len()-1)}
}

// draw takes the next candidate of which no port is used.
func (s *search) draw(used *port.Bits) bool {
	for len(s.candidates) > 0 {
		first := s.candidates[0]
		s.candidates = s.candidates[1:]
		if block := s.block(first); !used.HasAny(block) {
			used.AddSet(port.Set{block})
			s.trying = append(s.trying, first)
			return true
		}
		s.skipped = append(s.skipped, first)
	}
	return false
}

// sort keeps what was bound and is wanted, and gives back what others skipped.
func (s *search) sort() {
	for _, first := range s.trying {
		if !s.failed[first] && len(s.good) < s.wanted {
			s.good = append(s.good, first)
		}
	}
	s.candidates = append(s.skipped, s.candidates...)
	s.trying, s.skipped = nil, nil
}

// verify binds candidates, all searches together, until each search has what it
// wants or nothing more to try. Searches draw in turns, so that each gets one
// before any gets a second; what one has, no other gets.
func verify(ctx context.Context, searches []*search) error {
	for factor := 1; ; factor *= 2 {
		var used port.Bits
		for _, s := range searches {
			for _, first := range s.good {
				used.AddSet(port.Set{s.block(first)})
			}
		}
		drawn := false
		for more := true; more; {
			more = false
			for _, s := range searches {
				missing := s.wanted - len(s.good)
				if missing > 0 && len(s.trying) < min(missing*factor, mostCandidates) && s.draw(&used) {
					more, drawn = true, true
				}
			}
		}
		if drawn {
			if err := try(ctx, searches); err != nil {
				return err
			}
		}
		for _, s := range searches {
			s.sort()
			if !drawn {
				s.candidates = nil // all of them are used
				if len(s.good) == 0 && len(s.fallback) > 0 {
					s.candidates, s.fallback, drawn = s.fallback, nil, true
				}
			}
		}
		if !drawn {
			return nil
		}
	}
}

// try binds what the searches are trying, one batch a target.
func try(ctx context.Context, searches []*search) error {
	type asked struct {
		s     *search
		first uint16
	}
	requests := map[*round]*host.Request{}
	askers := map[*round][]asked{}
	var order []*round
	for _, s := range searches {
		for _, r := range s.rounds {
			if requests[r] == nil {
				requests[r] = &host.Request{}
				order = append(order, r)
			}
			for _, first := range s.trying {
				for _, proto := range s.need.Protocols {
					requests[r].Tries = append(requests[r].Tries, host.Try{
						Binding: s.need.Binding(proto), Ports: s.block(first), RunAs: s.need.RunAs,
					})
					askers[r] = append(askers[r], asked{s, first})
				}
			}
		}
	}
	for _, r := range order {
		if len(requests[r].Tries) == 0 {
			continue
		}
		facts, err := r.ask(ctx, *requests[r])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			r.err = err
		}
		for k, a := range askers[r] {
			if err != nil {
				a.s.candidates, a.s.skipped, a.s.fallback = nil, nil, nil // it would not answer the next question either
			}
			if err != nil || !usableNow(a.s.need, facts.Tried[k], facts.Sockets) {
				a.s.failed[a.first] = true
			}
		}
	}
	return nil
}

// usableNow says whether every endpoint was bound, or needs none, and nobody
// is there.
func usableNow(n Need, t host.Tried, sockets []host.Socket) bool {
	for _, a := range t.Attempts {
		missing := a.Outcome == host.NoFamily || a.Outcome == host.NoAddress
		if a.Outcome != host.OK && !(missing && standsForIPv4(n, a)) || len(overlapping(sockets, a.Endpoint)) > 0 {
			return false
		}
	}
	return t.TableOK && len(t.Attempts) > 0
}

// FreePorts lists up to count ports of a need's range that its app can bind now.
func FreePorts(ctx context.Context, n Need, t Target, o Options) ([]uint16, error) {
	r := newRound(t, []Need{n}, o)
	req := host.Request{}
	for _, proto := range n.Protocols {
		req.Tries = append(req.Tries, lookAt(n.Binding(proto)))
		req.Scans = append(req.Scans, host.Scan{Binding: n.Binding(proto), Ports: n.Range})
	}
	facts, err := r.ask(ctx, req)
	if err == nil {
		err = wholeTable(facts)
	}
	if err != nil {
		return nil, err
	}
	r.facts = facts
	for k, proto := range n.Protocols {
		r.open[scanKey(n, proto)] = new(port.Bits)
		r.open[scanKey(n, proto)].AddSet(facts.Open[k])
	}
	s := newSearch(n, []Need{n}, []*round{r}, map[place]*port.Bits{}, o.Alternatives)
	if err := verify(ctx, []*search{s}); err != nil {
		return nil, err
	}
	return s.good, r.err
}
