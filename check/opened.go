package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/org/portcheck/host"
)

// Opened is a target that was opened once, for several uses of it.
type Opened struct {
	Target
	Err     error // why it could not be opened
	host    host.Host
	timeout time.Duration    // of one operation on leases
	making  []host.LeasePort // the ports of a lease that is being made
	asked
}

// jobOf returns the name of the job on the target.
func (t Target) jobOf(o Options) string { return cmp.Or(t.Job, o.Job) }

// asked is how long the keepers of a machine were waited for, in all. One that is silent
// is so again.
type asked struct {
	mu     sync.Mutex
	waited time.Duration
}

// budget returns how long they may take for the next answer.
func (s *asked) budget() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(leaseTime-s.waited, leastLeaseTime)
}

func (s *asked) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waited += max(d, 0)
}

// forget makes the next answer wait for all of them again.
func (s *asked) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waited = 0
}

// OpenAll opens targets, several at a time. The caller closes them with CloseAll.
func OpenAll(ctx context.Context, targets []Target, o Options) []*Opened {
	all := make([]*Opened, len(targets))
	for i, t := range targets {
		all[i] = &Opened{Target: t, timeout: o.Timeout}
	}
	sideBySide(all, newSlots(o.Parallel), func(t *Opened) {
		r := newRound(t.Target, newPlan(ctx, nil, 1, o))
		t.Err = r.reach(ctx)
		t.host = r.host
	})
	return all
}

// CloseAll closes the targets that were opened.
func CloseAll(all []*Opened) {
	sideBySide(all, newSlots(len(all)), func(t *Opened) {
		if t.host != nil {
			_ = t.host.Close() // what can't be closed ends by itself
		}
	})
}

// borrowed is a host that somebody else closes.
type borrowed struct{ host.Host }

// Close does nothing.
func (borrowed) Close() error { return nil }

// limited is a host of which the keepers have a limited time in all.
type limited struct {
	host.Host
	asked *asked
	held  []host.LeasePort // by the job that asks
}

// Probe implements host.Host.
func (l limited) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	req.LeaseBudget, req.Held = min(req.LeaseBudget, l.asked.budget()), l.held
	facts, err := l.Host.Probe(ctx, req)
	l.asked.add(facts.LeaseTime)
	return facts, err
}

// Shared returns the target for a run, which does not close it. The keeper of a lease that
// is being made is not asked there: on a busy machine it may be late.
func (t *Opened) Shared() Target {
	shared := t.Target
	shared.Open = func(context.Context) (host.Host, error) { return borrowed{limited{t.host, &t.asked, t.making}}, t.Err }
	return shared
}

// at adds the target to an error, unless it is the obvious one.
func (t *Opened) at(err error) error {
	if err == nil || t.Name == "local" || errors.As(err, &UnmetError{}) {
		return err
	}
	return fmt.Errorf("%s: %w", t.Name, err)
}

// hold does an operation on leases of the target, which may not be trusted.
func (t *Opened) hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	if t.Err != nil {
		return host.LeaseReply{}, t.Err
	}
	req.Job = t.Job
	req.Budget = t.budget()
	limited := ctx
	if t.timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, t.timeout)
		defer cancel()
	}
	reply, err := host.Hold(limited, t.host, req)
	t.add(reply.Waited)
	switch {
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return reply, fmt.Errorf("no answer within %s (--timeout)", t.timeout)
	case err != nil:
		return reply, err
	}
	if wrong := validateHeld(reply, req); wrong != nil {
		return host.LeaseReply{}, fmt.Errorf("the answer about leases does not match the request: %w", wrong)
	}
	return reply, nil
}

// Leases returns the leased ports of the target: all, or those of its job.
func (t *Opened) Leases(ctx context.Context, which host.LeaseList) ([]host.Lease, error) {
	reply, err := t.hold(ctx, host.LeaseRequest{List: which})
	return reply.Leases, t.at(err)
}

// OwnLeases returns the leases of the target's job, and those of its user of which the
// keepers have not said the job.
func (t *Opened) OwnLeases(ctx context.Context) (own, silent []host.Lease, err error) {
	reply, err := t.hold(ctx, host.LeaseRequest{List: host.OwnLeases})
	return reply.Leases, reply.Silent, t.at(err)
}

// Release ends a lease, and reports whether it has ended.
func (t *Opened) Release(ctx context.Context, l ListedLease) (bool, error) {
	p := l.Ports[0]
	reply, err := t.hold(ctx, host.LeaseRequest{Release: &host.LeasePort{Protocol: p.Protocol, Port: p.Port, ID: l.ID}})
	return reply.Released, t.at(err)
}
