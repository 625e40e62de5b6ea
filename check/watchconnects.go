package check

import (
	"context"
	"slices"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
)

// How long a round waits for the connects that it has started. They go on beside the
// next rounds, so that a remote that is silent hides no listener that comes and goes.
const (
	firstConnects = time.Second
	someConnects  = 500 * time.Millisecond
	lastConnects  = 4 * time.Second // before the end of a watch
)

// connecting judges needs that connect, beside the rounds of a watch. It has a host of
// its own, because a host answers one request at a time.
type connecting struct {
	results chan judged // nil unless a judgement is under way
	host    host.Host
}

// judged is the outcome of a judgement.
type judged struct {
	results []Result
	panic   *panics.Panic
}

// start begins to judge needs, unless that is under way.
func (c *connecting) start(ctx context.Context, t Target, needs []Need, o Options) {
	if len(needs) == 0 || c.results != nil {
		return
	}
	c.results = make(chan judged, 1)
	go func(to chan<- judged) {
		var j judged
		j.panic = panics.Catch(func() { j.results = c.judge(ctx, t, needs, o) })
		to <- j
	}(c.results)
}

// judge makes a judgement.
func (c *connecting) judge(ctx context.Context, t Target, needs []Need, o Options) []Result {
	open := t.Open
	t.Open = func(ctx context.Context) (host.Host, error) {
		if c.host == nil {
			var err error
			if c.host, err = open(ctx); err != nil {
				return nil, err
			}
		}
		return borrowed{c.host}, nil
	}
	report, err := Run(ctx, needs, []Target{t}, o)
	if err != nil || slices.ContainsFunc(report.Results, func(r Result) bool { return r.Status == Unknown }) {
		c.forget() // it may not answer any more: the next judgement opens it again
	}
	return report.Results
}

// take returns the results of a judgement if it ends within some time.
func (c *connecting) take(ctx context.Context, within time.Duration) []Result {
	if c.results == nil {
		return nil
	}
	select {
	case j := <-c.results:
		c.results = nil
		j.panic.Repanic()
		return j.results
	case <-ctx.Done():
	case <-time.After(within):
	}
	return nil
}

// close waits for the end of a judgement, of which the context has ended, and closes
// the host.
func (c *connecting) close() {
	if c.results != nil {
		(<-c.results).panic.Repanic()
	}
	c.forget()
}

func (c *connecting) forget() {
	if c.host != nil {
		_ = c.host.Close() // as that of a round
		c.host = nil
	}
}
