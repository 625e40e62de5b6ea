package check

import (
	"context"
	"slices"
	"time"

	"github.com/org/portcheck/host"
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
	results chan []Result // nil unless a judgement is under way
	host    host.Host
}

// start begins to judge needs, unless that is under way.
func (c *connecting) start(ctx context.Context, t Target, needs []Need, o Options) {
	if len(needs) == 0 || c.results != nil {
		return
	}
	c.results = make(chan []Result, 1)
	open := t.Open
	go func(to chan<- []Result) {
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
		to <- report.Results
	}(c.results)
}

// take returns the results of a judgement if it ends within some time.
func (c *connecting) take(ctx context.Context, within time.Duration) []Result {
	if c.results == nil {
		return nil
	}
	select {
	case results := <-c.results:
		c.results = nil
		return results
	case <-ctx.Done():
	case <-time.After(within):
	}
	return nil
}

// close waits for the end of a judgement, of which the context has ended, and closes
// the host.
func (c *connecting) close() {
	if c.results != nil {
		<-c.results
	}
	c.forget()
}

func (c *connecting) forget() {
	if c.host != nil {
		_ = c.host.Close() // as that of a round
		c.host = nil
	}
}
