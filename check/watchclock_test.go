package check

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSinceKeepsTheMonotonicClock checks that the time since when a need is met can be
// told after the clock was set. `.ci/kernels 6.12:clock` really sets one.
func TestSinceKeepsTheMonotonicClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanging()
		var since []time.Time
		stop := watchFor(t, time.Hour, c, []Need{webNeed(80)}, c.target("local"), func(o Observation) { since = o.Since })
		defer stop()
		c.rest(1500 * time.Millisecond)
		at := []time.Time{since[0]}
		c.start(80, "nginx") // known by a survey
		c.rest(time.Second)
		for _, s := range append(at, since[0]) {
			if !strings.Contains(s.String(), " m=") { // of time.Time.String
				t.Errorf("%s has no reading of the monotonic clock", s)
			}
		}
	})
}
