package check

import (
	"context"
	"slices"

	"github.com/org/portcheck/port"
)

// mostTried bounds how many blocks one choice draws before they are tried.
const mostTried = 4096

// pool is what the blocks of one choice are taken from.
type pool struct {
	starts    port.Set     // where a block may start, in order of preference
	only      *port.Bits   // where else a block has to be able to start; nil: anywhere
	length    int          // ports of a block
	open      []*port.Bits // each set holds every port of a usable block
	claimed   []*port.Bits // no set holds a port of a usable block
	ephemeral []*port.Bits // blocks with a port in one of the sets come last
	unsafe    *port.Bits   // before them come those with a port in this set, if it is not nil
	late      []*port.Bits // both, once they are combined
}

// combine joins the sets of a pool of many targets, so that a block is compared
// with few.
func (p *pool) combine() {
	const few = 4
	if len(p.open) > few {
		all := *p.open[0]
		for _, b := range p.open[1:] {
			all.Keep(b)
		}
		p.open = []*port.Bits{&all}
	}
	for _, sets := range []*[]*port.Bits{&p.claimed, &p.ephemeral} {
		if len(*sets) > few {
			var all port.Bits
			for _, b := range *sets {
				all.Join(b)
			}
			*sets = []*port.Bits{&all}
		}
	}
	p.late = p.ephemeral
	if p.unsafe != nil {
		p.late = append(slices.Clone(p.ephemeral), p.unsafe)
	}
}

// block returns the block that starts at first.
func (p pool) block(first uint16) port.Range {
	return port.Range{First: first, Last: first + uint16(p.length-1)}
}

// usable returns first if a usable block starts there. If not, it returns a later
// number, and no usable block starts before that.
func (p pool) usable(first uint16) int {
	if int(first)+p.length-1 > port.MaxPort {
		return port.MaxPort + 1
	}
	if p.only != nil && !p.only.Has(first) {
		return p.only.Next(first)
	}
	block := p.block(first)
	for _, b := range p.open {
		if !b.HasAll(block) {
			return b.Next(uint16(b.NextMissing(first)))
		}
	}
	for _, b := range p.claimed {
		if b.HasAny(block) {
			return b.NextMissing(uint16(b.Next(first)))
		}
	}
	return int(first)
}

// isEphemeral reports whether the OS of a target may give a port of the block to
// an outgoing connection.
func (p pool) isEphemeral(first uint16) bool { return overlapsAny(p.ephemeral, p.block(first)) }

// ofPhase returns first if the block there is for a phase. If not, it returns a later
// number, and no block before that is for the phase.
func (p pool) ofPhase(first uint16, ph phase) int {
	var avoided, wanted []*port.Bits
	switch {
	case ph == stable:
		avoided = p.late
	case ph == ephemeral:
		wanted = p.ephemeral
	default:
		avoided = p.ephemeral
		if p.unsafe != nil {
			wanted = []*port.Bits{p.unsafe}
		}
	}
	block, next := p.block(first), port.MaxPort+1
	for _, b := range avoided {
		if b.HasAny(block) {
			return b.NextMissing(uint16(b.Next(first)))
		}
	}
	if ph == stable || overlapsAny(wanted, block) {
		return int(first)
	}
	for _, b := range wanted {
		next = min(next, b.Next(first))
	}
	return next - p.length + 1
}

func overlapsAny(sets []*port.Bits, block port.Range) bool {
	return slices.ContainsFunc(sets, func(b *port.Bits) bool { return b.HasAny(block) })
}

// budget bounds how many endpoints one draw tries.
type budget struct{ limit, left int }

// phase is the part of its candidates that a choice draws from.
type phase int

const (
	stable  phase = iota
	refused       // by browsers
	ephemeral
	exhausted
)

// place is a place in the starts of a pool: a range and a port of it.
type place struct {
	index int
	port  int // 0: the range's first
}

// choice is the blocks that one need can move to, each named by its first port.
type choice struct {
	pool
	wanted  int
	shared  bool         // its blocks may also be those of other choices
	used    []*port.Bits // the ports that it and other choices have, in the draw; nil: those of its allocation
	budgets []*budget    // of its targets
	cost    int          // endpoints of one block
	phase   phase
	fills   bool            // it chooses ephemeral blocks beside others, too
	at      place           // where the next candidate is looked for
	skipped *place          // of the first candidate that overlaps a block of another choice, since the last keep
	trying  []uint16        // drawn since the last keep
	drawn   map[uint16]bool // ever
	failed  map[uint16]bool
	chosen  []uint16 // the result, in order of preference
}

// newChoice returns a choice that shares no block with the other choices of its
// allocation. It chooses blocks that browsers refuse only if there are too few others,
// and ephemeral blocks only if no others can be chosen.
func newChoice(p pool, wanted int) *choice {
	p.combine()
	return &choice{pool: p, wanted: wanted, drawn: map[uint16]bool{}, failed: map[uint16]bool{}}
}

// newOffer returns a choice that may share its blocks with other choices. It
// prefers blocks that are not ephemeral.
func newOffer(p pool, wanted int) *choice {
	c := newChoice(p, wanted)
	c.shared = true
	return c
}

// newFilling returns a choice that is alone, and chooses ephemeral blocks if there are
// too few others.
func newFilling(p pool, wanted int) *choice {
	c := newChoice(p, wanted)
	c.fills = true
	return c
}

// fail excludes a block.
func (c *choice) fail(first uint16) { c.failed[first] = true }

// failDrawn excludes what was drawn, and everything that could be drawn later.
func (c *choice) failDrawn() {
	for _, first := range c.trying {
		c.fail(first)
	}
	c.phase = exhausted
}

// hasEphemeral reports whether a chosen block has an ephemeral port.
func (c *choice) hasEphemeral() bool { return slices.ContainsFunc(c.chosen, c.isEphemeral) }

// drawOne moves the next candidate that overlaps no used port to trying.
func (c *choice) drawOne(ctx context.Context) bool {
	if slices.ContainsFunc(c.budgets, func(b *budget) bool { return b.left < c.cost && b.left < b.limit }) {
		return false
	}
	for c.phase != exhausted {
		if first, found := c.next(ctx); found {
			c.trying = append(c.trying, first)
			c.drawn[first] = true
			c.use(first)
			for _, b := range c.budgets {
				b.left -= c.cost
			}
			return true
		}
		if !c.shared || c.phase == ephemeral || ctx.Err() != nil {
			return false
		}
		c.phase, c.at = c.phase+1, place{}
	}
	return false
}

// next returns the next candidate of the phase that overlaps no used port.
func (c *choice) next(ctx context.Context) (first uint16, found bool) {
	for ; c.at.index < len(c.starts) && ctx.Err() == nil; c.at = (place{c.at.index + 1, 0}) {
		r := c.starts[c.at.index]
		for n := max(int(r.First), c.at.port); n <= int(r.Last); {
			if next := c.candidate(uint16(n)); next > n {
				n = next
				continue
			}
			c.at.port = n + 1
			return uint16(n), true
		}
	}
	return 0, false
}

// candidate returns first if the block there can be drawn. If not, it returns a
// later number, and no block that starts before that can be drawn.
func (c *choice) candidate(first uint16) int {
	next := c.usable(first)
	if next == int(first) {
		next = c.ofPhase(first, c.phase)
	}
	switch {
	case next > int(first):
		return next
	case c.drawn[first]:
		return int(first) + 1
	case c.shared:
		return int(first)
	}
	for _, used := range c.used {
		if used.HasAny(c.block(first)) {
			if c.skipped == nil {
				c.skipped = &place{c.at.index, int(first)}
			}
			return used.NextMissing(uint16(used.Next(first)))
		}
	}
	return int(first)
}

// use adds a block to the used ports, so that no other choice draws it. The blocks
// of a shared choice are not added.
func (c *choice) use(first uint16) {
	if c.shared {
		return
	}
	for _, used := range c.used {
		used.AddSet(port.Set{c.block(first)})
	}
}

// keep chooses from what was tried, and makes what was skipped candidates again.
func (c *choice) keep() {
	for _, first := range c.trying {
		if !c.failed[first] && len(c.chosen) < c.wanted {
			c.chosen = append(c.chosen, first)
		}
	}
	if c.skipped != nil {
		c.at = *c.skipped
	}
	c.trying, c.skipped = nil, nil
}

// useFallback drops the candidates that are left, since each overlaps a block of
// another choice, and reports whether those of the next phase are to be tried instead.
func (c *choice) useFallback() bool {
	last := c.phase >= ephemeral || c.phase == refused && len(c.chosen) > 0 && !c.fills
	if len(c.chosen) >= c.wanted || last || c.shared {
		c.phase = exhausted
		return false
	}
	c.phase, c.at, c.skipped = c.phase+1, place{}, nil
	return true
}

// allocation makes several choices together. It does no I/O: between draw and
// keep the caller tries the blocks in trying, and calls fail for those that turn
// out not to be free.
type allocation struct {
	choices []*choice
	used    map[*port.Bits]bool // those of all choices
	factor  int                 // how many blocks are tried for each one that is missing
}

// newAllocation returns an allocation in which no two choices share a port, except
// those that have no set of used ports in common.
func newAllocation(choices []*choice) *allocation {
	a := &allocation{choices, map[*port.Bits]bool{}, 1}
	common := []*port.Bits{new(port.Bits)}
	for _, c := range choices {
		if c.used == nil {
			c.used = common
		}
		for _, used := range c.used {
			a.used[used] = true
		}
	}
	return a
}

// draw fills trying, and reports whether there is anything to try. Choices draw
// in turns, so that each gets one block before any gets a second. It ends early if
// ctx does.
func (a *allocation) draw(ctx context.Context) bool {
	for again := true; again && ctx.Err() == nil; {
		drawn := a.drawRound(ctx)
		a.factor = min(2*a.factor, mostTried)
		if drawn {
			return true
		}
		again = false
		for _, c := range a.choices {
			again = c.useFallback() || again
		}
	}
	return false
}

func (a *allocation) drawRound(ctx context.Context) bool {
	for used := range a.used {
		*used = port.Bits{}
	}
	for _, c := range a.choices {
		for _, first := range c.chosen {
			c.use(first)
		}
		for _, b := range c.budgets {
			b.left = b.limit
		}
	}
	drawn := false
	for more := true; more; {
		more = false
		for _, c := range a.choices {
			missing := c.wanted - len(c.chosen)
			if len(c.trying) < min(missing*a.factor, mostTried) && c.drawOne(ctx) {
				more, drawn = true, true
			}
		}
	}
	return drawn && ctx.Err() == nil
}

// keep follows each draw: every choice chooses from the blocks that it drew.
func (a *allocation) keep() {
	for _, c := range a.choices {
		c.keep()
	}
}
