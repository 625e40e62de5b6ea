package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/org/portcheck/host"
)

const (
	// lockTime limits how long an assignment waits for another one of its job.
	lockTime = 30 * time.Second
	// lockStep is how long it waits in one request.
	lockStep = time.Second
)

// lockAndList makes this the only assignment of its job on all targets, and learns what
// the job has there. So those that start at the same time get the same ports. It waits
// for one target at a time, in one order, so that two can't wait for each other.
func (a *assignment) lockAndList(ctx context.Context) error {
	if err := a.each(func(p *site) error { return p.Err }); err != nil || a.Fresh {
		return err
	}
	deadline := time.Now().Add(lockTime)
	order := slices.Clone(a.sites)
	slices.SortFunc(order, func(x, y *site) int { return cmp.Compare(x.Name, y.Name) })
	if err := a.lock(ctx, order[0], deadline); err != nil {
		return order[0].at(err)
	}
	if err := a.each(func(p *site) error {
		if p.locked {
			return nil
		}
		return a.tryLock(ctx, p, 0)
	}); err != nil {
		return err
	}
	if !slices.ContainsFunc(order, func(p *site) bool { return p.busy }) {
		return nil
	}
	a.unlockAll(ctx, order[1:])
	for _, p := range order[1:] {
		if err := a.lock(ctx, p, deadline); err != nil {
			return p.at(err)
		}
	}
	return nil
}

// lock waits for the job's lock on a target until the deadline.
func (a *assignment) lock(ctx context.Context, p *site, deadline time.Time) error {
	step := lockStep
	if p.timeout > 0 {
		step = min(step, p.timeout/2)
	}
	for {
		if err := a.tryLock(ctx, p, min(step, time.Until(deadline))); err != nil || p.locked {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			who := ""
			if p.chooser > 0 {
				who = fmt.Sprintf(", pid %d,", p.chooser)
			}
			return fmt.Errorf("another portcheck%s has been choosing ports for the same job for %s: end it, or name another job with --job", who, lockTime)
		}
	}
}

// tryLock waits for the job's lock on a target for some time.
func (a *assignment) tryLock(ctx context.Context, p *site, wait time.Duration) error {
	reply, err := p.hold(ctx, host.LeaseRequest{List: host.OwnLeases, Lock: &host.JobLock{Token: a.LeaseID, Wait: max(wait, 0)}})
	p.silent = reply.Silent
	p.held, p.busy, p.chooser, p.locked = reply.Leases, reply.Busy, reply.Chooser, err == nil && !reply.Busy
	return err
}

// unlock lets others choose ports for the job.
func (a *assignment) unlock(ctx context.Context) { a.unlockAll(ctx, a.sites) }

func (a *assignment) unlockAll(ctx context.Context, sites []*site) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	sideBySide(sites, newSlots(a.Parallel), func(p *site) {
		if p.locked {
			p.locked = false
			_, _ = p.hold(ctx, host.LeaseRequest{Unlock: a.LeaseID}) // it ends with the connection, too
		}
	})
}

// again locks the job again after others could choose ports for it, and takes over what
// the job has now. Silent keepers are asked again if that is long ago.
func (a *assignment) again(ctx context.Context, longAgo bool) (AssignedLease, error) {
	if a.Fresh {
		return AssignedLease{}, nil
	}
	if slices.ContainsFunc(a.sites, func(p *site) bool { return !p.locked }) {
		for _, p := range a.sites {
			if longAgo {
				p.forget()
			}
		}
		if err := a.lockAndList(ctx); err != nil {
			return AssignedLease{}, err
		}
	}
	clear(a.got)
	clear(a.kept)
	for _, g := range a.groups {
		g.held = 0
	}
	return a.takeOwn(), nil
}
