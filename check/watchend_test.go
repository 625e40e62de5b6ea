package check

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/org/portcheck/host"
)

// slow is a host that takes some time for each answer.
type slow struct {
	host.Host
	c    *changing
	took *time.Duration // of the test
}

func (s slow) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	s.c.mu.Lock()
	took := *s.took
	s.c.mu.Unlock()
	select {
	case <-ctx.Done():
		return host.Facts{}, ctx.Err()
	case <-time.After(took):
		return s.Host.Probe(ctx, req)
	}
}

// TestWatchEnds checks that what is known at the end of a watch is not older than a round,
// also of what shows in no table of listeners, and that a target which is silent does
// not hold up the end.
func TestWatchEnds(t *testing.T) {
	const end = 10 * time.Second
	for name, c := range map[string]struct {
		interval, took, then time.Duration // of each answer, and of those from 9 s on
		silent               bool          // from the start
		known                bool          // at the end
		least, most          time.Duration
	}{
		"quick":               {time.Second, 0, 0, false, true, end, end},
		"a long interval":     {time.Minute, 0, 0, false, true, end, end},
		"slow":                {time.Second, 100 * time.Millisecond, 100 * time.Millisecond, false, true, end, end + 200*time.Millisecond},
		"slow rounds alone":   {100 * time.Millisecond, time.Second, time.Second, false, true, end, end + 2*time.Second},
		"slower than before":  {time.Second, 0, time.Second, false, true, end, end + 2*time.Second},
		"silent at the end":   {time.Second, 0, time.Hour, false, false, end + lastRound, end + lastRound},
		"silent at all times": {time.Second, time.Hour, time.Hour, true, false, end, end},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newChanging()
				start, took := time.Now(), c.took
				target := Target{Name: "local", Open: func(context.Context) (host.Host, error) { return slow{x, x, &took}, nil }}
				var last Observation
				rounds := 0
				done := make(chan struct{})
				go func() {
					defer close(done)
					Watch(t.Context(), []Need{webNeed(80)}, []Target{target}, WatchOptions{
						Options: Options{Timeout: 2 * time.Hour}, Interval: c.interval, End: start.Add(end), Observe: func(o Observation) { last = o; rounds++ },
					})
				}()
				x.rest(9 * time.Second)
				x.start(80, "nginx")
				s := x.listens[80]
				s.State = host.Bound // which no survey shows
				x.listens[80] = s
				took = c.then
				x.mu.Unlock()
				<-done
				ended := time.Since(start)
				if ended < c.least || ended > c.most {
					t.Errorf("ended after %s, want %s to %s", ended, c.least, c.most)
				}
				if r := last.Results[0]; c.known && (last.Err != nil || r.Status != InUse) || !c.known && (last.Err == nil || r.Status != Unknown) {
					t.Errorf("%s, %v", r.Status, last.Err)
				}
				if c.silent && rounds != 1 || rounds > 100 {
					t.Errorf("%d rounds", rounds)
				}
			})
		})
	}
}
