package check

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/port"
)

func bitsOf(t *testing.T, text string) *port.Bits {
	t.Helper()
	b := new(port.Bits)
	b.AddSet(set(t, text))
	return b
}

// allocate makes choices on a machine where a bind of a port in failing fails. It
// returns the ports that each choice has chosen.
func allocate(failing port.Set, choices ...*choice) (chosen [][]uint16) {
	for a := newAllocation(choices); a.draw(context.Background()); a.keep() {
		for _, c := range choices {
			for _, first := range c.trying {
				if failing.Contains(first) {
					c.fail(first)
				}
			}
		}
	}
	for _, c := range choices {
		chosen = append(chosen, append([]uint16{}, c.chosen...))
	}
	return chosen
}

func TestAllocateOne(t *testing.T) {
	for _, c := range []struct {
		name      string
		starts    string
		length    int // default: 1
		open      []string
		claimed   []string
		ephemeral []string
		unsafe    string
		failing   string
		want      []uint16 // the first three
	}{
		{name: "the author's order", starts: "9002-9003,9000-9001", want: []uint16{9002, 9003, 9000}},
		{name: "each once", starts: "9000,9000-9001", want: []uint16{9000, 9001}},
		{name: "nowhere to start", want: []uint16{}},
		{name: "open in every set", starts: "9000-9009", open: []string{"9000-9003", "9002-9009"}, want: []uint16{9002, 9003}},
		{name: "claimed in no set", starts: "9000-9009", claimed: []string{"9000-9003", "9005"}, want: []uint16{9004, 9006, 9007}},
		{name: "a block is open as a whole", starts: "9000-9009", length: 3, open: []string{"9000-9001,9003-9009"}, want: []uint16{9003, 9006}},
		{name: "no port of a block is claimed", starts: "9000-9004", length: 3, claimed: []string{"9002"}, want: []uint16{9003}},
		{name: "the last block", starts: "65533-65535", length: 2, want: []uint16{65533}},
		{name: "the last port", starts: "65535", want: []uint16{65535}},
		{name: "what fails is left out", starts: "9000-9009", failing: "9000-9001,9003-9005", want: []uint16{9002, 9006, 9007}},
		{name: "all fail", starts: "9000-9009", failing: "9000-9009", want: []uint16{}},
		{name: "no ephemeral one beside others", starts: "9000-9003", ephemeral: []string{"9000", "9002"}, want: []uint16{9001, 9003}},
		{name: "ephemeral ones alone", starts: "9000-9001", ephemeral: []string{"9000", "9001"}, want: []uint16{9000, 9001}},
		{name: "ephemeral ones if the others fail", starts: "9000-9003", ephemeral: []string{"9000-9001"}, failing: "9002-9003", want: []uint16{9000, 9001}},
		{name: "one port makes a block ephemeral", starts: "9000-9009", length: 2, ephemeral: []string{"9001-9003"}, want: []uint16{9004, 9006, 9008}},
		{name: "refused ones after others", starts: "9000-9003", unsafe: "9000,9002", want: []uint16{9001, 9003, 9000}},
		{name: "refused ones before ephemeral ones", starts: "9000-9003", unsafe: "9001-9002", ephemeral: []string{"9000", "9002-9003"}, want: []uint16{9001}},
		{name: "refused ones if the others fail", starts: "9000-9003", unsafe: "9000-9001", failing: "9000,9002-9003", want: []uint16{9001}},
		{name: "one port makes a block refused", starts: "9000-9005", length: 2, unsafe: "9001", want: []uint16{9002, 9004, 9000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pool{starts: set(t, c.starts), length: max(c.length, 1)}
			for _, text := range c.open {
				p.open = append(p.open, bitsOf(t, text))
			}
			for _, text := range c.claimed {
				p.claimed = append(p.claimed, bitsOf(t, text))
			}
			for _, text := range c.ephemeral {
				p.ephemeral = append(p.ephemeral, bitsOf(t, text))
			}
			if c.unsafe != "" {
				p.unsafe = bitsOf(t, c.unsafe)
			}
			got := allocate(set(t, c.failing), newChoice(p, 3))
			if diff := cmp.Diff([][]uint16{c.want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllocateSeveral(t *testing.T) {
	p := func(starts string, length int) pool { return pool{starts: set(t, starts), length: length} }
	ephemeral := p("9000-9003", 1)
	ephemeral.ephemeral = []*port.Bits{bitsOf(t, "9000-9001")}
	for name, c := range map[string]struct {
		choices []*choice
		failing string
		want    [][]uint16
	}{
		"in turns":                                {[]*choice{newChoice(p("9000-9005", 1), 3), newChoice(p("9000-9005", 1), 3)}, "", [][]uint16{{9000, 9002, 9004}, {9001, 9003, 9005}}},
		"one each before a second":                {[]*choice{newChoice(p("9000-9002", 1), 2), newChoice(p("9000-9002", 1), 2)}, "", [][]uint16{{9000, 9002}, {9001}}},
		"blocks don't overlap":                    {[]*choice{newChoice(p("9000-9005", 3), 2), newChoice(p("9000-9005", 1), 2)}, "", [][]uint16{{9000, 9004}, {9003}}},
		"what fails for one is left to the other": {[]*choice{newChoice(p("9000-9001", 1), 1), newChoice(p("9001,9000", 1), 2)}, "9000", [][]uint16{{}, {9001}}},
		"offers share":                            {[]*choice{newOffer(p("9000-9002", 1), 2), newOffer(p("9000-9002", 2), 2), newChoice(p("9000-9002", 1), 2)}, "", [][]uint16{{9000, 9001}, {9000, 9001}, {9000, 9001}}},
		"offers have ephemeral ones last":         {[]*choice{newOffer(ephemeral, 4), newChoice(ephemeral, 4)}, "", [][]uint16{{9002, 9003, 9000, 9001}, {9002, 9003}}},
	} {
		got := allocate(set(t, c.failing), c.choices...)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// If no port of a range can be bound, it is tried in few draws, and no draw is
// larger than one request may be.
func TestAllocateTriesMoreEachRound(t *testing.T) {
	all := port.Set{{First: 1, Last: 65535}}
	rounds := 0
	c := newChoice(pool{starts: all, length: 1}, 1)
	var sizes []int
	for a := newAllocation([]*choice{c}); a.draw(context.Background()); a.keep() {
		rounds++
		sizes = append(sizes, len(c.trying))
		for _, first := range c.trying {
			c.fail(first)
		}
	}
	if want := []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096}; !slices.Equal(sizes[:len(want)], want) {
		t.Errorf("sizes of rounds: %v", sizes)
	}
	if rounds != 12+15 || slices.Max(sizes) != 4096 || len(c.chosen) > 0 {
		t.Errorf("%d rounds of the sizes %v", rounds, sizes)
	}
}
