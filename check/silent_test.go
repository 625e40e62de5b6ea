package check

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// remotes is a host from which ports are reached after a while, or never.
type remotes struct {
	sim
	answers map[uint16]time.Duration // how long the remote of a port takes, else it is silent
	opens   map[uint16]time.Time     // when it begins to listen
	dials   int
}

func (r *remotes) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	f, err := r.sim.Probe(ctx, req)
	longest := time.Duration(0)
	for i, d := range req.Dials {
		r.dials++
		takes, answers := r.answers[d.Port]
		switch {
		case !answers || takes > d.Timeout:
			takes = d.Timeout
			f.Dialed[i].Outcome, f.Dialed[i].Op, f.Dialed[i].Errno = host.Failed, "connect", "ETIMEDOUT"
		case time.Now().Before(r.opens[d.Port]):
			f.Dialed[i].Outcome, f.Dialed[i].Op, f.Dialed[i].Errno = host.Failed, "connect", "ECONNREFUSED"
		}
		longest = max(longest, takes)
	}
	time.Sleep(longest)
	return f, err
}

// TestSilentRemotesHoldUpNobody checks that a need is met soon after its remote begins
// to listen, whatever the remotes of others do, and that these are judged as if they
// were alone.
func TestSilentRemotesHoldUpNobody(t *testing.T) {
	const later, silent, slow = 9000, 7777, 7003
	type want struct {
		later, other bool
		took         time.Duration // at most
	}
	for name, c := range map[string]struct {
		other  Need
		expect config.Expect
		want   want
	}{
		"silent":                {reaching(silent, 4*time.Second), "", want{true, false, 4100 * time.Millisecond}},
		"silent, without wait":  {reaching(silent, 0), "", want{true, false, 10 * time.Second}},
		"slow, without wait":    {reaching(slow, 0), "", want{true, true, 8 * time.Second}},
		"slow":                  {reaching(slow, 30*time.Second), "", want{true, true, 10 * time.Second}},
		"unreachable":           {reaching(silent, 0), config.Unreachable, want{true, true, 10 * time.Second}},
		"slow, not unreachable": {reaching(slow, 0), config.Unreachable, want{true, false, 8 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				h := &remotes{
					answers: map[uint16]time.Duration{later: time.Millisecond, slow: 3 * time.Second},
					opens:   map[uint16]time.Time{later: start.Add(800 * time.Millisecond)},
				}
				if c.expect != "" {
					c.other.Expect = c.expect
				}
				r := run(t, []Need{reaching(later, 4*time.Second), c.other}, Options{}, targetOf("local", h))
				took := time.Since(start)
				if r.Results[0].OK != c.want.later || r.Results[1].OK != c.want.other || took > c.want.took {
					t.Errorf("%s\n%s\nafter %s, want %+v", r.Results[0].Message, r.Results[1].Message, took, c.want)
				}
				if h.dials > 30 {
					t.Errorf("%d connects", h.dials)
				}
			})
		})
	}
}

// reaching returns a need that connects to a port of another host.
func reaching(n uint16, wait time.Duration) Need {
	return needOf("a.yml", "x"+port.One(n).String(), func(need *Need) {
		need.Expect, need.Remote, need.Ports, need.Wait = config.Reachable, "192.0.2.1", port.One(n), wait
	})
}
