package check

import (
	"slices"

	"github.com/org/portcheck/port"
)

// mostTried bounds how many blocks one choice draws before they are tried.
const mostTried = 4096

// pool is what the blocks of one choice are taken from.
type pool struct {
	starts    port.Set     // where a block may start, in order of preference
	length    int          // ports of a block
	open      []*port.Bits // each set holds every port of a usable block
	claimed   []*port.Bits // no set holds a port of a usable block
	ephemeral []*port.Bits // blocks with a port in one of the sets come last
}

// blocks returns the first ports of the usable blocks in order of preference,
// those with an ephemeral port apart.
func (p pool) blocks() (stable, ephemeral []uint16) {
	for first := range p.starts.All {
		switch {
		case !p.usable(first):
		case p.isEphemeral(first):
			ephemeral = append(ephemeral, first)
		default:
			stable = append(stable, first)
		}
	}
	return stable, ephemeral
}

// block returns the block that starts at first.
func (p pool) block(first uint16) port.Range {
	return port.Range{First: first, Last: first + uint16(p.length-1)}
}

func (p pool) usable(first uint16) bool {
	if int(first)+p.length-1 > port.MaxPort {
		return false
	}
	block := p.block(first)
	return !slices.ContainsFunc(p.open, func(b *port.Bits) bool { return !b.HasAll(block) }) && !overlapsAny(p.claimed, block)
}

// isEphemeral reports whether the OS of a target may give a port of the block to
// an outgoing connection.
func (p pool) isEphemeral(first uint16) bool { return overlapsAny(p.ephemeral, p.block(first)) }

func overlapsAny(sets []*port.Bits, block port.Range) bool {
	return slices.ContainsFunc(sets, func(b *port.Bits) bool { return b.HasAny(block) })
}

// choice is the blocks that one need can move to, each named by its first port.
type choice struct {
	pool
	wanted     int
	shared     bool     // its blocks may also be those of other choices
	candidates []uint16 // not drawn yet, in order of preference
	skipped    []uint16 // candidates that overlap blocks of other choices since the last keep
	fallback   []uint16 // ephemeral candidates, for when no others are left
	trying     []uint16 // drawn since the last keep
	failed     map[uint16]bool
	chosen     []uint16 // the result, in order of preference
}

// newChoice returns a choice that shares no block with the other choices of its
// allocation. It chooses ephemeral blocks only if no others can be chosen.
func newChoice(p pool, wanted int) *choice {
	c := &choice{pool: p, wanted: wanted, failed: map[uint16]bool{}}
	c.candidates, c.fallback = p.blocks()
	return c
}

// newOffer returns a choice that may share its blocks with other choices. It
// prefers blocks that are not ephemeral.
func newOffer(p pool, wanted int) *choice {
	c := newChoice(p, wanted)
	c.candidates, c.fallback = append(c.candidates, c.fallback...), nil
	c.shared = true
	return c
}

// fail excludes a block.
func (c *choice) fail(first uint16) { c.failed[first] = true }

// failDrawn excludes what was drawn, and everything that could be drawn later.
func (c *choice) failDrawn() {
	for _, first := range c.trying {
		c.fail(first)
	}
	c.candidates, c.skipped, c.fallback = nil, nil, nil
}

// hasEphemeral reports whether a chosen block has an ephemeral port.
func (c *choice) hasEphemeral() bool { return slices.ContainsFunc(c.chosen, c.isEphemeral) }

// drawOne moves the next candidate that overlaps no used port to trying.
func (c *choice) drawOne(used *port.Bits) bool {
	for len(c.candidates) > 0 {
		first := c.candidates[0]
		c.candidates = c.candidates[1:]
		if c.shared || !used.HasAny(c.block(first)) {
			c.trying = append(c.trying, first)
			c.use(used, first)
			return true
		}
		c.skipped = append(c.skipped, first)
	}
	return false
}

// use adds a block to the used ports, so that no other choice draws it. The blocks
// of a shared choice are not added.
func (c *choice) use(used *port.Bits, first uint16) {
	if !c.shared {
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
	c.candidates = append(c.skipped, c.candidates...)
	c.trying, c.skipped = nil, nil
}

// useFallback drops the candidates that are left, since each overlaps a block of
// another choice, and reports whether there are ephemeral ones to try instead.
func (c *choice) useFallback() bool {
	c.candidates, c.skipped = nil, nil
	if len(c.chosen) > 0 || len(c.fallback) == 0 {
		return false
	}
	c.candidates, c.fallback = c.fallback, nil
	return true
}

// allocation makes several choices together. It does no I/O: between draw and
// keep the caller tries the blocks in trying, and calls fail for those that turn
// out not to be free.
type allocation struct {
	choices []*choice
	factor  int // how many blocks are tried for each one that is missing
}

func newAllocation(choices []*choice) *allocation { return &allocation{choices, 1} }

// draw fills trying, and reports whether there is anything to try. Choices draw
// in turns, so that each gets one block before any gets a second.
func (a *allocation) draw() bool {
	for again := true; again; {
		drawn := a.drawRound()
		a.factor *= 2
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

func (a *allocation) drawRound() bool {
	var used port.Bits
	for _, c := range a.choices {
		for _, first := range c.chosen {
			c.use(&used, first)
		}
	}
	drawn := false
	for more := true; more; {
		more = false
		for _, c := range a.choices {
			missing := c.wanted - len(c.chosen)
			if len(c.trying) < min(missing*a.factor, mostTried) && c.drawOne(&used) {
				more, drawn = true, true
			}
		}
	}
	return drawn
}

// keep follows each draw: every choice chooses from the blocks that it drew.
func (a *allocation) keep() {
	for _, c := range a.choices {
		c.keep()
	}
}
