package check

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// kinds returns the indexes of the target's needs that bind, and of those that connect.
func (r *round) kinds() (binds, dials []int) {
	for _, i := range r.own {
		if r.needs[i].Expect.Connects() {
			dials = append(dials, i)
		} else {
			binds = append(binds, i)
		}
	}
	return binds, dials
}

// lastConnect is how long before its deadline the last connect of a need starts.
const lastConnect = 100 * time.Millisecond

// waiting is the state of wait.
type waiting struct {
	*round
	start, probed time.Time    // probed is when those that bind were last probed
	last          map[int]bool // the needs whose last connect was made
	holders       map[resultKey]string
	// patience is how long a need's next connect may take beside needs that wait.
	patience map[int]time.Duration
}

// firstPatience is the first patience. It doubles with each connect that it cuts short.
const firstPatience = 250 * time.Millisecond

// wait makes the connects, and probes unmet needs again while they may wait. A probe
// that fails ends it, because the next one would fail too. While wait sleeps, another
// target has the slot.
//
// Nobody's deadline passes because of the connects of another need, and nobody waits for
// those of a remote that is silent: they are shorter then, or come later.
func (r *round) wait(ctx context.Context, binds, dials []int) {
	now := time.Now()
	w := &waiting{r, now, now, map[int]bool{}, map[resultKey]string{}, map[int]time.Duration{}}
	steps := newSteps()
	for first := true; r.err == nil && ctx.Err() == nil; first = false {
		next := time.Duration(math.MaxInt64) // time left until something has to be done
		binds = slices.DeleteFunc(binds, func(i int) bool {
			if r.waitOver(i) || r.needs[i].Wait <= w.probed.Sub(w.start) {
				return true
			}
			next = min(next, w.left(i))
			return false
		})
		dials = slices.DeleteFunc(dials, func(i int) bool {
			tried := r.results[resultKey{i, r.needs[i].Protocols[0]}] != nil
			if tried && (r.waitOver(i) || w.last[i] || w.left(i) <= 0) {
				return true
			}
			if r.needs[i].Wait > 0 {
				next = min(next, w.left(i)-lastConnect)
			}
			return false
		})
		if len(binds)+len(dials) == 0 {
			return
		}
		for _, i := range slices.Concat(binds, dials) {
			r.emitWaiting(i, w.left(i), w.holders)
		}
		if !first {
			r.slots.lend(func() {
				select {
				case <-ctx.Done():
				case <-time.After(max(min(steps.NextBackOff(), next), 0)):
				}
			})
			if ctx.Err() != nil {
				return
			}
			r.spent = 0 // the timeout does not limit waiting
			w.probed = time.Now()
			r.probe(ctx, binds, nil, false)
		}
		if r.err == nil {
			w.connect(ctx, binds, dials)
		}
	}
	if r.err != nil && ctx.Err() == nil {
		r.fail(slices.DeleteFunc(dials, func(i int) bool { return r.results[resultKey{i, r.needs[i].Protocols[0]}] != nil }), r.err)
	}
}

// newSteps returns the times between the probes of what waits.
func newSteps() backoff.BackOff {
	steps := backoff.NewExponentialBackOff()
	steps.InitialInterval, steps.MaxInterval = 100*time.Millisecond, 2*time.Second
	return steps
}

// left returns how long a need may still wait.
func (w *waiting) left(i int) time.Duration { return w.needs[i].Wait - time.Since(w.start) }

// connect makes the connects of some needs, except for those that have to be made later.
func (w *waiting) connect(ctx context.Context, binds, dials []int) {
	limit := time.Duration(math.MaxInt64) // until the first deadline of a need that binds
	for _, i := range binds {
		if !w.waitOver(i) {
			limit = min(limit, max(w.left(i), 0))
		}
	}
	ports := 0
	for _, i := range dials {
		ports += w.needs[i].Ports.Len()
	}
	turns := time.Duration((ports + host.DialsAtOnce - 1) / host.DialsAtOnce)
	var asked []connect
	for _, i := range dials {
		n := w.needs[i]
		c := connect{need: i, timeout: cmp.Or(n.ConnectTimeout, config.DefaultConnectTimeout)}
		left := w.left(i)
		if left > 0 {
			c.timeout = min(c.timeout, max(left/turns, time.Millisecond))
			w.last[i] = left <= 2*lastConnect
		}
		most := limit
		if w.othersWait(i, binds, dials) {
			w.patience[i] = max(w.patience[i], firstPatience)
			most = min(most, w.patience[i])
		}
		if most/turns < c.timeout {
			c.timeout = max(most/turns, time.Millisecond)
			// A connect that is cut short shows nothing, unless it is made again.
			c.cut = n.Wait == 0 || n.Expect == config.Unreachable
			if limit == 0 {
				continue
			}
			w.last[i] = w.last[i] && !c.cut
			w.patience[i] *= 2
		}
		asked = append(asked, c)
	}
	w.probe(ctx, nil, asked, false)
}

// othersWait reports whether a need other than i waits.
func (w *waiting) othersWait(i int, binds, dials []int) bool {
	return slices.ContainsFunc(slices.Concat(binds, dials), func(j int) bool {
		return j != i && w.needs[j].Wait > 0 && w.left(j) > 0 && !w.waitOver(j)
	})
}

// connect is a need that connects, and how long each connect may take.
type connect struct {
	need    int
	timeout time.Duration
	cut     bool // a timeout shows nothing
}

// connects returns the connects of needs that don't wait.
func (r *round) connects(needs []int) []connect {
	var all []connect
	for _, i := range needs {
		all = append(all, connect{need: i, timeout: cmp.Or(r.needs[i].ConnectTimeout, config.DefaultConnectTimeout)})
	}
	return all
}

// askConnect asks whether a need's remote accepts connections at every port.
func (r *round) askConnect(b *batch, c connect) {
	n := r.needs[c.need]
	for _, proto := range n.Protocols {
		b.dial(n.Remote, n.Ports, c.timeout, func(dialed []host.Attempt) {
			if c.cut && slices.ContainsFunc(dialed, timedOut) {
				return
			}
			result := judgeReachable(n, dialed)
			r.results[resultKey{c.need, proto}] = &result
		})
	}
}

// waitOver reports whether a need has nothing to wait for: it is met, or what is
// in its way does not change with time.
func (r *round) waitOver(i int) bool {
	for _, proto := range r.needs[i].Protocols {
		switch result := r.results[resultKey{i, proto}]; {
		case result == nil:
			return false
		case result.Met(), result.Status == Denied, result.Status == OSReserved:
		default:
			return false
		}
	}
	return true
}
