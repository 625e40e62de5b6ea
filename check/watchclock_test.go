package check

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestSinceKeepsTheMonotonicClock checks that the time of a round, and that since when a
// need is met or unmet, can be told after the clock was set. `.ci/kernels 6.12:clock` really sets one.
func TestSinceKeepsTheMonotonicClock(t *testing.T) {
	c := newChanging()
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var told []time.Time
	var round time.Time
	Watch(ctx, []Need{webNeed(80)}, []Target{c.target("local")}, WatchOptions{Interval: time.Millisecond, Observe: func(o Observation) {
		round = o.Time
		if len(told) == 0 || o.Since[0] != told[len(told)-1] {
			told = append(told, o.Since[0])
			c.mu.Lock()
			c.start(80, "nginx") // which the next survey shows
			c.mu.Unlock()
		}
		if len(told) == 2 {
			cancel()
		}
	}})
	if len(told) != 2 {
		t.Fatalf("%d changes", len(told))
	}
	for _, s := range append(told, round) {
		if !strings.Contains(s.String(), " m=") { // of time.Time.String
			t.Errorf("%s has no reading of the monotonic clock", s)
		}
	}
}
