package testbed

import (
	"testing"
	"time"
)

// Linear fails the test if work on 8 times the input takes over 30 times as long. Linear
// work takes 8 times as long, work on pairs 64 times, on any machine. The function
// prepares the input of a size, at most n, and returns the work on it.
func Linear(t *testing.T, n int, prepare func(size int) (work func())) {
	t.Helper()
	took := func(work func()) time.Duration {
		start := time.Now()
		work()
		return time.Since(start)
	}
	small, large := prepare(n/8), prepare(n)
	var atSmall, atLarge time.Duration
	for range 5 { // a busy machine can spoil a round, not all of them
		atSmall, atLarge = took(small), took(large)
		if atLarge <= 30*max(atSmall, time.Millisecond) {
			return
		}
	}
	t.Errorf("8 times the input takes %.0f times as long: %s, %s for the eighth", float64(atLarge)/float64(atSmall), atLarge, atSmall)
}
