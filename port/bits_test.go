package port

import (
	"math/rand/v2"
	"testing"
)

// The operations on words give what a loop over the ports gives.
func TestBitsAreThoseOfEachPort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	edge := func() uint16 {
		edges := []int{0, 1, 63, 64, 65, 127, 128, 1000, 65471, 65472, 65534, 65535}
		return uint16(edges[random.IntN(len(edges))])
	}
	for range 150 {
		var b, other Bits
		plain, plainOther := map[uint16]bool{}, map[uint16]bool{}
		for _, x := range []struct {
			bits *Bits
			all  map[uint16]bool
		}{{&b, plain}, {&other, plainOther}} {
			for range random.IntN(4) {
				r := Range{edge(), edge()} // one that ends before it starts has no port
				x.bits.AddSet(Set{r})
				for n := int(r.First); n <= int(r.Last); n++ {
					x.all[uint16(n)] = true
				}
			}
		}
		r := Range{edge(), edge()}
		hasAny, hasAll := false, true
		for n := int(r.First); n <= int(r.Last); n++ {
			hasAny, hasAll = hasAny || plain[uint16(n)], hasAll && plain[uint16(n)]
		}
		next := func(want bool) int {
			n := int(r.First)
			for n <= MaxPort && plain[uint16(n)] != want {
				n++
			}
			return n
		}
		if b.HasAny(r) != hasAny || b.HasAll(r) != hasAll || b.Next(r.First) != next(true) || b.NextMissing(r.First) != next(false) {
			t.Fatalf("%s: any %t, all %t, next %d, missing %d", r, b.HasAny(r), b.HasAll(r), b.Next(r.First), b.NextMissing(r.First))
		}
		kept, joined := b, b
		kept.Keep(&other)
		joined.Join(&other)
		for n := 0; n <= MaxPort; n += 1 + random.IntN(50) {
			p := uint16(n)
			if b.Has(p) != plain[p] || kept.Has(p) != (plain[p] && plainOther[p]) || joined.Has(p) != (plain[p] || plainOther[p]) {
				t.Fatalf("port %d", p)
			}
		}
	}
}
