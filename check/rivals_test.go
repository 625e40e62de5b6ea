package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// rivalsByPort finds rivals port by port, as slowly and as simply as possible.
func rivalsByPort(needs []Need) map[resultKey][]string {
	rivals := map[resultKey][]string{}
	for i, n := range needs {
		for _, proto := range n.Protocols {
			found := map[int]bool{}
			for p := int(n.Ports.First); p <= int(n.Ports.Last); p++ {
				for j, o := range needs {
					other := o.At.File != n.At.File && (n.Machine == "" || n.Machine != o.Machine)
					if i == j || found[j] || len(found) > rivalsShown || other || n.Expect != config.Free || o.Expect != config.Free ||
						o.Target != n.Target || !o.Ports.Contains(uint16(p)) || !bothHave(n, o, proto) {
						continue
					}
					if conflict(n.Binding(proto), o.Binding(proto)) {
						found[j] = true
						rivals[resultKey{i, proto}] = append(rivals[resultKey{i, proto}], o.Name)
					}
				}
			}
		}
	}
	return rivals
}

// conflict reports whether two bindings can't both be opened at one port.
func conflict(a, b port.Binding) bool {
	if a.MayShareWith(b) {
		return false
	}
	for _, e := range a.At(1) {
		if slices.ContainsFunc(b.At(1), e.Overlaps) {
			return true
		}
	}
	return false
}

func bothHave(a, b Need, proto port.Protocol) bool {
	has := func(n Need) bool {
		for _, p := range n.Protocols {
			if p == proto {
				return true
			}
		}
		return false
	}
	return has(a) && has(b)
}

func TestRivalsAreThoseOfEachPort(t *testing.T) {
	addresses := []port.Address{port.Any, port.Any4, port.Any6, port.Loopback, "127.0.0.1", "127.0.0.2", "::1", "10.0.0.1", "fe80::1%eth0", "fe80::1%eth1", "2001:db8::1"}
	seen := 0
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		one := func(of ...string) string { return of[random.IntN(len(of))] }
		var needs []Need
		for i := range 2 + random.IntN(12) {
			n := needOf(one("a.yml", "a.yml", "b.yml"), fmt.Sprintf("n%d", i), onMachine(one("", "m", "m", "o")), onTarget(one("t", "t", "u")))
			n.Ports.First = uint16(65520 + random.IntN(16))
			n.Ports.Last = n.Ports.First + uint16(random.IntN(65536-int(n.Ports.First)))
			n.Protocols = [][]port.Protocol{{port.TCP}, {port.UDP}, {port.TCP, port.UDP}}[random.IntN(3)]
			n.Addresses = nil
			for range 1 + random.IntN(3) {
				n.Addresses = append(n.Addresses, addresses[random.IntN(len(addresses))])
			}
			n.ReusePort = random.IntN(4) == 0
			if reuse := random.IntN(2) == 0; random.IntN(3) == 0 {
				n.ReuseAddress = &reuse
			}
			if random.IntN(8) == 0 {
				n.Expect = config.Listening
			}
			needs = append(needs, n)
		}
		got := map[resultKey][]string{}
		for key, rivals := range findRivals(t.Context(), needs) {
			for _, r := range rivals {
				got[key] = append(got[key], r.Name)
			}
			seen += len(rivals)
		}
		if diff := cmp.Diff(rivalsByPort(needs), got); diff != "" {
			t.Fatalf("seed %d (-by port +got): %s\n%+v", seed, diff, needs)
		}
	}
	if seen < 1000 {
		t.Errorf("only %d rivals", seen)
	}
}

// The candidates of a choice are the blocks that a loop over all ports finds.
func TestCandidatesAreThoseOfEachPort(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 2))
		some := func(share int) port.Set {
			var all port.Set
			for range 1 + random.IntN(6) {
				first := 65400 + random.IntN(130)
				all = append(all, port.Range{First: uint16(first), Last: uint16(min(first+random.IntN(share), port.MaxPort))})
			}
			return all
		}
		bits := func(share int) []*port.Bits {
			var all []*port.Bits
			for range random.IntN(7) {
				b := new(port.Bits)
				b.AddSet(some(share))
				all = append(all, b)
			}
			return all
		}
		p := pool{starts: some(60), length: 1 + random.IntN(4), claimed: bits(6), ephemeral: bits(10)}
		if random.IntN(2) == 0 {
			p.open = []*port.Bits{new(port.Bits), new(port.Bits)}
			p.open[0].AddSet(port.Set{{First: 65400, Last: 65535}})
			p.open[1].AddSet(some(90))
		}
		if random.IntN(3) == 0 {
			p.only = new(port.Bits)
			p.only.AddSet(some(90))
		}
		var stable, others []uint16
		for first := range p.starts.All {
			if int(first)+p.length-1 > port.MaxPort || p.only != nil && !p.only.Has(first) {
				continue
			}
			isOpen, isClaimed, isEphemeral := true, false, false
			for n := int(first); n < int(first)+p.length; n++ {
				for _, b := range p.open {
					isOpen = isOpen && b.Has(uint16(n))
				}
				for _, b := range p.claimed {
					isClaimed = isClaimed || b.Has(uint16(n))
				}
				for _, b := range p.ephemeral {
					isEphemeral = isEphemeral || b.Has(uint16(n))
				}
			}
			switch {
			case !isOpen || isClaimed:
			case isEphemeral:
				others = append(others, first)
			default:
				stable = append(stable, first)
			}
		}
		want := append(append([]uint16{}, stable...), others...)
		if got := allocate(nil, newOffer(p, 1000))[0]; !cmp.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v of %+v", seed, got, want, p)
		}
	}
}

// A run, a lint and a merge end with their context, and return its cause.
func TestCancelledWork(t *testing.T) {
	cause := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	needs := []Need{needOf("a.yml", "x", inRange("9000-9009")), needOf("a.yml", "y")}
	if _, err := Lint(ctx, needs, ""); !errors.Is(err, cause) {
		t.Errorf("lint: %v", err)
	}
	if _, err := Run(ctx, needs, []Target{targetOf("local", &sim{})}, Options{Alternatives: 3}); !errors.Is(err, cause) {
		t.Errorf("run: %v", err)
	}
	report := asRead(run(t, needs, Options{Alternatives: 3}, targetOf("local", &sim{})))
	if _, problems, err := Merge(ctx, []Part{{"a.json", report}}, "", 3); !errors.Is(err, cause) || problems != nil {
		t.Errorf("merge: %v, %v", err, problems)
	}
}
