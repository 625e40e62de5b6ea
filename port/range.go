package port

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// MaxPort is the highest port number of TCP and UDP.
const MaxPort = 65535

// Range is a range of ports, both ends included.
type Range struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// One returns the range of n alone.
func One(n uint16) Range { return Range{n, n} }

// Len returns the number of ports in the range.
func (r Range) Len() int { return int(r.Last) - int(r.First) + 1 }

// Contains reports whether n is in the range.
func (r Range) Contains(n uint16) bool { return r.First <= n && n <= r.Last }

// Intersects reports whether the two ranges have a port in common.
func (r Range) Intersects(o Range) bool { return r.First <= o.Last && o.First <= r.Last }

// String returns "8000-8003", or "8080" for a single port.
func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// ParseNumber parses a decimal port number. Other notations that YAML or a shell
// would accept (010, 0x50, 8_080, +80, 8080.0) are errors.
func ParseNumber(s string) (uint16, error) {
	if s == "0" {
		return 0, fmt.Errorf("0 lets the system choose: use port: auto and range to have portcheck choose, or a number from 1 to %d", MaxPort)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s[0] == '0' {
		return 0, fmt.Errorf("%s is not a port: want a decimal number from 1 to %d", strconv.QuoteToASCII(clip(s)), MaxPort)
	}
	return uint16(n), nil
}

// ParseRange parses "8080" or "8000-8003".
func ParseRange(s string) (Range, error) {
	first, last, block := strings.Cut(s, "-")
	switch {
	case block && first == "":
		return Range{}, fmt.Errorf("%s is negative: want a port from 1 to %d, or a range such as 8000-8003", strconv.QuoteToASCII(clip(s)), MaxPort)
	case block && last == "":
		return Range{}, fmt.Errorf("%s is a range without its last port: want a port from 1 to %d, or a range such as 8000-8003", strconv.QuoteToASCII(clip(s)), MaxPort)
	}
	a, err := ParseNumber(first)
	if err != nil {
		return Range{}, err
	}
	if !block {
		return One(a), nil
	}
	b, err := ParseNumber(last)
	if err != nil {
		return Range{}, err
	}
	if b < a {
		return Range{}, fmt.Errorf("%q ends before it starts: want the lower port first, as in %s", s, Range{b, a})
	}
	return Range{a, b}, nil
}

// Set is a list of ranges in their author's order, which is the order of
// preference. Ranges may overlap; All yields each port once.
type Set []Range

// ParseSet parses "8000-8099,9443".
func ParseSet(s string) (Set, error) {
	var set Set
	for part := range strings.SplitSeq(s, ",") {
		r, err := ParseRange(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		set = append(set, r)
	}
	return set, nil
}

// Contains reports whether n is in one of the ranges.
func (s Set) Contains(n uint16) bool {
	return slices.ContainsFunc(s, func(r Range) bool { return r.Contains(n) })
}

// All yields every port of the set once, in the author's order.
func (s Set) All(yield func(uint16) bool) {
	var seen Bits
	for _, r := range s {
		for n := int(r.First); n <= int(r.Last); n++ {
			if seen.Has(uint16(n)) {
				continue
			}
			seen.Add(uint16(n))
			if !yield(uint16(n)) {
				return
			}
		}
	}
}

// Without returns the set without the ports for which taken is true, in the same
// order.
func (s Set) Without(taken func(uint16) bool) Set {
	rest := Set{}
	for n := range s.All {
		if taken(n) {
			continue
		}
		if i := len(rest) - 1; i >= 0 && int(rest[i].Last)+1 == int(n) {
			rest[i].Last = n
		} else {
			rest = append(rest, One(n))
		}
	}
	return rest
}

// String returns the ranges, joined with commas.
func (s Set) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// Bits is an unordered set of ports. It has a bit for each port.
type Bits [(MaxPort + 1) / 64]uint64

// Add adds n to the set.
func (b *Bits) Add(n uint16) { b[n/64] |= 1 << (n % 64) }

// Has reports whether n is in the set.
func (b *Bits) Has(n uint16) bool { return b[n/64]&(1<<(n%64)) != 0 }

// HasAny reports whether a port of r is in the set.
func (b *Bits) HasAny(r Range) bool { return b.next(r, 0) <= int(r.Last) }

// HasAll reports whether every port of r is in the set.
func (b *Bits) HasAll(r Range) bool { return b.next(r, ^uint64(0)) > int(r.Last) }

// Next returns the first port of the set from n on, or MaxPort+1 if there is none.
func (b *Bits) Next(n uint16) int { return b.next(Range{n, MaxPort}, 0) }

// NextMissing returns the first port from n on that is not in the set, or
// MaxPort+1 if there is none.
func (b *Bits) NextMissing(n uint16) int { return b.next(Range{n, MaxPort}, ^uint64(0)) }

// next returns the first port from r.First on whose bit is set once the words of
// the set are flipped. It reads no word beyond r. If it finds none, it returns
// MaxPort+1.
func (b *Bits) next(r Range, flip uint64) int {
	mask := ^uint64(0) << (r.First % 64)
	for i := int(r.First / 64); i <= int(r.Last/64); i++ {
		if word := (b[i] ^ flip) & mask; word != 0 {
			return i*64 + bits.TrailingZeros64(word)
		}
		mask = ^uint64(0)
	}
	return MaxPort + 1
}

// AddSet adds every port of s to the set.
func (b *Bits) AddSet(s Set) {
	for _, r := range s {
		r.words(func(i int, mask uint64) { b[i] |= mask })
	}
}

// Keep removes every port that is not in o.
func (b *Bits) Keep(o *Bits) {
	for i, word := range o {
		b[i] &= word
	}
}

// Join adds every port of o.
func (b *Bits) Join(o *Bits) {
	for i, word := range o {
		b[i] |= word
	}
}

// words calls do for each word of Bits that has a port of r, with the bits of
// these ports.
func (r Range) words(do func(i int, mask uint64)) {
	first, last := int(r.First/64), int(r.Last/64)
	for i := first; i <= last; i++ {
		mask := ^uint64(0)
		if i == first {
			mask &= ^uint64(0) << (r.First % 64)
		}
		if i == last {
			mask &= ^uint64(0) >> (63 - r.Last%64)
		}
		do(i, mask)
	}
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}
