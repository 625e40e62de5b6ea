package check

import (
	"fmt"
	"slices"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// Anybody can give a socket to a thousand processes, and a manifest can ask about it a
// thousand times. The results of a run list a limited number of them, at least one
// each, and say so; targets that are asked at the same time share what may be in
// their answers.
func TestHoldersOfARun(t *testing.T) {
	const most = 2048 // of each of 16 answers
	var needs []Need
	var targets []Target
	for i := range 64 {
		name := fmt.Sprint("t", i)
		needs = append(needs, needOf("a.yml", "web", onTarget(name)))
		crowd := altered{&sim{taken: set(t, "8080")}, func(f *host.Facts) {
			f.Sockets[0].Holders = slices.Repeat(f.Sockets[0].Holders, most)
		}}
		targets = append(targets, targetOf(name, crowd))
	}
	r := run(t, needs, Options{Parallel: 16}, targets...)
	listed, size := 0, int64(0)
	for _, result := range r.Results {
		n := len(result.Holders)
		listed, size = listed+n, size+bytesOf(result.Holders)
		noted := slices.ContainsFunc(result.Notices, func(n Notice) bool { return n.Code == config.Degraded })
		if n == 0 || result.Status != InUse || (n < most) != noted || noted != (result.Complete != nil && !*result.Complete) {
			t.Errorf("%s: %s with %d holders, noted %t, complete %v", result.Target, result.Status, n, noted, result.Complete)
		}
	}
	if size > bytesOfHolders+1024*int64(len(r.Results)) || listed < 4*most {
		t.Errorf("%d holders of %d bytes in all", listed, size)
	}
	if r := run(t, needs[:1], Options{Parallel: 16}, targets[0]); len(r.Results[0].Holders) != most || r.Results[0].Complete != nil {
		t.Errorf("alone: %d holders, complete %v", len(r.Results[0].Holders), r.Results[0].Complete)
	}
	for parallel, want := range map[int]int{1: host.MostHolders, 2: host.MostHolders, 16: most, 64: 512, 256: 512} {
		asked := &sim{}
		targets[0] = targetOf("t0", asked)
		run(t, needs, Options{Parallel: parallel}, targets...)
		if got := asked.asked[0].MostHolders(); got != want {
			t.Errorf("%d targets at a time: each is asked for %d holders, want %d", parallel, got, want)
		}
	}
}
