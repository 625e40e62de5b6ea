package cli

import "time"

// leastStep is the least step of the clock that is noted. Corrections by NTP are smaller
// between two rounds.
const leastStep = 2 * time.Second

// clock notices steps of the clock. The monotonic clock makes none.
type clock struct {
	started time.Time
	ahead   time.Duration // of the monotonic clock, since started
}

// step returns by how much the clock has jumped since the last call, 0 if it has not.
func (c *clock) step(now time.Time) time.Duration {
	ahead := now.Round(0).Sub(c.started.Round(0)) - now.Sub(c.started)
	step := ahead - c.ahead
	c.ahead = ahead
	if step.Abs() < leastStep {
		return 0
	}
	return step.Round(time.Second)
}

// noteClock says once that the clock has jumped.
func (w *watcher) noteClock() {
	switch step := w.clock.step(time.Now()); {
	case step > 0:
		w.logf("the clock has gone forward by %s: it was set, or the machine has slept; intervals go on as before", step)
	case step < 0:
		w.logf("the clock was set back by %s; intervals go on as before", -step)
	}
}
