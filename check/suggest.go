package check

import (
	"context"
	"errors"
	"fmt"
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
	silent     string // why a target can't tell, so that nothing can be said; "" if all can
	shares     bool   // whatever it finds, others may find as well
}

// entry is one entry of a manifest's ports, whatever its target.
type entry struct {
	at        config.Position
	app, name string
}

func entryOf(n Need) entry { return entry{n.At, n.App, n.Name} }

// onlyEphemeral is the notice on alternatives of which some are ephemeral.
const onlyEphemeral = "the range has no other free ports than ephemeral ones: an outgoing connection may take the alternatives before your app does"

// suggest fills the alternatives of every unmet need that another port would
// help, and the candidates of every need that could move. An app moves as a
// whole: its port is free for all of its protocols, and on all of its targets.
func suggest(ctx context.Context, needs []Need, rounds []*round, results map[rivalKey]*Result, o Options) error {
	claims := claim(needs)
	searches := map[entry]*search{}
	offers := make([]*search, len(needs))
	var order []*search
	for i, n := range needs {
		helps := slices.ContainsFunc(n.Protocols, func(proto port.Protocol) bool {
			return movable(results[rivalKey{i, proto}])
		})
		if key := entryOf(n); o.Alternatives > 0 && helps && searches[key] == nil {
			searches[key] = newSearch(n, roundsOf(n, needs, rounds), claims, o.Alternatives)
			order = append(order, searches[key])
		}
		if o.Candidates > 0 && n.Expect == config.Free && len(n.Range) > 0 {
			offers[i] = newOffer(n, rounds, claims, o.Candidates)
			order = append(order, offers[i])
		}
	}
	err := verify(order, func() error { return try(ctx, order) })
	if err != nil {
		return err
	}
	for i, n := range needs {
		for _, proto := range n.Protocols {
			r := results[rivalKey{i, proto}]
			if s := searches[entryOf(n)]; s != nil && movable(r) {
				r.Asked, r.From, r.Silent = o.Alternatives, n.Range, s.silent
				s.give(r)
			}
			if offers[i] != nil {
				r.Candidates = setOf(offers[i].good).String()
			}
		}
	}
	return nil
}

// give makes what was found the alternatives of an unmet need.
func (s *search) give(r *Result) {
	r.Alternatives = append([]uint16{}, s.good...)
	if slices.ContainsFunc(s.good, s.isEphemeral) {
		s.need.notify(r, config.Ephemeral, onlyEphemeral)
	}
}

// setOf is ports in their order, neighbours as one range.
func setOf(ports []uint16) port.Set {
	var all port.Set
	for _, p := range ports {
		all = append(all, port.One(p))
	}
	return all.Without(func(uint16) bool { return false })
}

// movable says whether another port would help an unmet need.
func movable(r *Result) bool {
	if r.Expect != config.Free || r.OK {
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

// roundsOf are those of all targets that an entry is needed on.
func roundsOf(n Need, needs []Need, rounds []*round) []*round {
	var all []*round
	for _, other := range needs {
		if entryOf(other) == entryOf(n) {
			all = append(all, roundsOn(other.Target, rounds)...)
		}
	}
	return all
}

func roundsOn(target string, rounds []*round) []*round {
	var all []*round
	for _, r := range rounds {
		if r.Name == target {
			all = append(all, r)
		}
	}
	return all
}

// newOffer looks for the ports that a need can have on its own target, whatever
// is so on its others. Ephemeral ones come last.
func newOffer(n Need, rounds []*round, claims map[place]*port.Bits, wanted int) *search {
	s := newSearch(n, roundsOn(n.Target, rounds), claims, wanted)
	s.candidates, s.fallback = append(s.candidates, s.fallback...), nil
	s.shares = true
	return s
}

func newSearch(n Need, rounds []*round, claims map[place]*port.Bits, wanted int) *search {
	s := &search{need: n, wanted: wanted, rounds: rounds, failed: map[uint16]bool{}}
	var excluded port.Bits
	excluded.AddSet(n.Exclude)
	var open, claimed []*port.Bits
	for _, r := range s.rounds {
		for _, proto := range n.Protocols {
			bits := r.open[scanKey(n, proto)]
			switch {
			case len(n.Range) == 0:
				return s
			case bits == nil:
				s.silent = fmt.Sprintf("they have to be free on every target, and %s could not be asked", r.Name)
				return s
			case r.tableOnly:
				s.silent = fmt.Sprintf("nothing can be bound on %s for a try", r.Name)
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
		if ok {
			s.add(first)
		}
	}
	return s
}

// add makes a port a candidate, an ephemeral one if there are no others.
func (s *search) add(first uint16) {
	if s.isEphemeral(first) {
		s.fallback = append(s.fallback, first)
	} else {
		s.candidates = append(s.candidates, first)
	}
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
		block := s.block(first)
		if s.shares || !used.HasAny(block) {
			s.trying = append(s.trying, first)
			s.use(used, block)
			return true
		}
		s.skipped = append(s.skipped, first)
	}
	return false
}

// use keeps a block from the other searches.
func (s *search) use(used *port.Bits, block port.Range) {
	if !s.shares {
		used.AddSet(port.Set{block})
	}
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

// verify has candidates bound, those of all searches together, until each search
// has what it wants or nothing more to try. Searches draw in turns, so that each
// gets one before any gets a second; what one has, no other gets. bind says of
// what they are trying what failed.
func verify(searches []*search, bind func() error) error {
	for factor := 1; ; factor *= 2 {
		var used port.Bits
		for _, s := range searches {
			for _, first := range s.good {
				s.use(&used, s.block(first))
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
			if err := bind(); err != nil {
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
	type batch struct {
		host.Request
		askers []asked // of each try
		facts  host.Facts
		err    error
	}
	batches := map[*round]*batch{}
	var order []*round
	for _, s := range searches {
		if len(s.trying) == 0 {
			continue
		}
		for _, r := range s.rounds {
			if batches[r] == nil {
				batches[r] = &batch{}
				order = append(order, r)
			}
			b := batches[r]
			for _, first := range s.trying {
				for _, proto := range s.need.Protocols {
					b.Tries = append(b.Tries, host.Try{
						Binding: s.need.Binding(proto), Ports: s.block(first), RunAs: s.need.RunAs,
					})
					b.askers = append(b.askers, asked{s, first})
				}
			}
		}
	}
	each(order, func(r *round) { batches[r].facts, batches[r].err = r.ask(ctx, batches[r].Request) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, r := range order {
		b := batches[r]
		if b.err != nil {
			r.err = b.err
		}
		for k, a := range b.askers {
			if b.err != nil {
				a.s.candidates, a.s.skipped, a.s.fallback = nil, nil, nil // it would not answer the next question either
			}
			if b.err != nil || !usableNow(a.s.need, b.facts.Tried[k], b.facts.Sockets) {
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
	r := newRound(t, newPlan([]Need{n}, o))
	defer r.close()
	if err := r.reach(ctx); err != nil {
		return nil, err
	}
	req := host.Request{}
	for _, proto := range n.Protocols {
		req.Tries = append(req.Tries, lookAt(n.Binding(proto)))
		req.Scans = append(req.Scans, host.Scan{Binding: n.Binding(proto), Ports: n.Range})
	}
	facts, err := r.ask(ctx, req)
	if err == nil {
		err = wholeTable(facts)
	}
	if err == nil && facts.Tried[0].NoBindReason != "" {
		err = errors.New("no port can be bound there for a try: " + facts.Tried[0].NoBindReason)
	}
	if err != nil {
		return nil, err
	}
	r.facts = facts
	for k, proto := range n.Protocols {
		r.open[scanKey(n, proto)] = new(port.Bits)
		r.open[scanKey(n, proto)].AddSet(facts.Open[k])
	}
	s := newSearch(n, []*round{r}, map[place]*port.Bits{}, o.Alternatives)
	searches := []*search{s}
	if err := verify(searches, func() error { return try(ctx, searches) }); err != nil {
		return nil, err
	}
	return s.good, r.err
}
