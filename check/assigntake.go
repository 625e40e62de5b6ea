package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// mostRefused limits how often what a keeper holds turns out to be of no use to the
// app, such as a port of which NAT rules send the callers elsewhere.
const mostRefused = 64

// moment is how long the ports of a job may still be held after its end.
const moment = 500 * time.Millisecond

// takeNew has keepers hold a port for every need that has none, and makes sure that its
// app can use that port.
func (a *assignment) takeNew(ctx context.Context) (AssignedLease, error) {
	start := time.Now().Add(-a.waited()) // what has ended since then, has ended
	steps := backoff.NewExponentialBackOff()
	steps.InitialInterval, steps.MaxInterval = 20*time.Millisecond, time.Second
	refused, lastTry := 0, false
	for ctx.Err() == nil {
		unmet, final, err := a.attempt(ctx)
		if err != nil {
			return AssignedLease{}, err
		}
		if unmet < 0 && final {
			return AssignedLease{a.LeaseID, lease.Name(a.at[0].jobOf(a.Options)), a.Expires, a.UntilExit}, a.confirm(ctx)
		}
		a.release(ctx)
		if refused++; !final && refused < mostRefused {
			continue
		}
		if unmet < 0 {
			unmet = slices.Index(a.kept, false)
		}
		// The keeper of a job that has just ended needs a moment.
		left := max(a.needs[unmet].Wait, moment) - time.Since(start)
		if len(a.needs[unmet].Range) == 0 && a.ownLease(unmet) != nil {
			left = 0 // the job would wait for itself
		}
		if left <= 0 {
			why, err := a.whyUnmet(ctx, unmet, lastTry)
			if err != nil {
				return AssignedLease{}, err
			}
			if lastTry || why.Message != "" {
				return AssignedLease{}, why
			}
			lastTry = true // what had the port is gone
		} else if err := a.pause(ctx, unmet, steps, start.Add(max(a.needs[unmet].Wait, moment))); err != nil {
			return AssignedLease{}, err
		}
		for _, g := range a.groups {
			g.unfit, g.list = port.Bits{}, nil
		}
		if had, err := a.again(ctx, time.Since(start) > 2*moment); err != nil || !slices.Contains(a.got, 0) {
			return had, err
		}
		refused = 0
	}
	return AssignedLease{}, context.Cause(ctx)
}

// waited returns how long keepers have been waited for.
func (a *assignment) waited() time.Duration {
	var most time.Duration
	for _, p := range a.sites {
		most = max(most, p.waited)
	}
	return most
}

// pause waits before another attempt, until a time at the latest. As long as a need's
// only port is leased there is none: each attempt may cost a container. Others may choose
// ports for the job in the meantime.
func (a *assignment) pause(ctx context.Context, unmet int, steps *backoff.ExponentialBackOff, until time.Time) error {
	a.unlock(ctx)
	for {
		left := time.Until(until)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(steps.NextBackOff(), left)):
		}
		if len(a.needs[unmet].Range) > 0 || !time.Now().Before(until) {
			return nil
		}
		if other, err := a.leaseOfOther(ctx, unmet); err != nil || other == nil {
			return err
		}
	}
}

// attempt makes one request to each target. It is final if another one at once would be
// of no use: then all needs are met, or one that could not be met is returned.
func (a *assignment) attempt(ctx context.Context) (unmet int, final bool, err error) {
	lists := map[*group]port.Set{}
	for _, g := range a.groups {
		if slices.ContainsFunc(g.needs, func(i int) bool { return !a.kept[i] }) {
			lists[g] = a.candidates(g)
		}
	}
	err = a.each(func(p *site) error { return a.start(ctx, p, lists) })
	if err != nil {
		return -1, true, err
	}
	for _, p := range a.sites {
		if p.unmet >= 0 {
			return p.unmet, !a.forgetHeld(a.of[p.unmet]), nil
		}
	}
	if again := a.agree(lists); again {
		return -1, false, nil
	}
	if err := a.each(func(p *site) (err error) { p.unmet, err = a.judgeGot(ctx, p); return err }); err != nil {
		return -1, true, err
	}
	for _, p := range a.sites {
		if p.unmet >= 0 {
			g := a.of[p.unmet]
			g.unfit.Add(a.got[p.unmet])
			a.forgetHeld(g)
			return p.unmet, false, nil
		}
	}
	return -1, true, nil
}

// forgetHeld makes a group choose a port for all of its targets, if it was to have the
// one that the job holds on some of them. It reports whether it was.
func (a *assignment) forgetHeld(g *group) bool {
	had := g.held != 0
	g.held = 0
	for _, i := range g.needs {
		a.kept[i], a.moved[i] = false, ""
	}
	return had
}

// start has a keeper of a target hold ports for its needs.
func (a *assignment) start(ctx context.Context, p *site, lists map[*group]port.Set) error {
	p.wanting, p.started, p.making, p.unmet = nil, false, nil, -1
	var own []Need
	for i, n := range a.needs {
		if a.at[i] == p {
			own = append(own, n)
			if !a.kept[i] {
				p.wanting = append(p.wanting, i)
			}
		}
	}
	if len(p.wanting) == 0 {
		return nil
	}
	p.request = lease.Request{ID: a.LeaseID, Job: p.jobOf(a.Options), App: appsOf(own), Expires: a.Expires, Lifetime: max(time.Until(a.Expires), 1), UntilExit: a.UntilExit, Orphan: a.Fresh}
	for _, i := range p.wanting {
		n := a.needs[i]
		w := lease.Want{Name: n.title(), Protocols: n.Protocols, Ports: lists[a.of[i]], Length: n.Ports.Len(), Guard: n.guarded() && !a.owned[i], GuardUDP: n.guardedUDP() && !a.owned[i]}
		if n.App == p.request.App {
			w.Name = n.Name
		}
		p.request.Wants = append(p.request.Wants, w)
	}
	reply, err := p.hold(ctx, host.LeaseRequest{Start: &p.request})
	switch {
	case err != nil:
		return err
	case reply.Unmet != nil:
		p.unmet = p.wanting[*reply.Unmet]
		return nil
	}
	p.reply, p.started = reply, true
	for k, i := range p.wanting {
		a.got[i] = reply.First[k]
		for n := range a.needs[i].Ports.Len() {
			for _, proto := range a.needs[i].Protocols {
				p.making = append(p.making, host.LeasePort{Protocol: proto, Port: reply.First[k] + uint16(n)})
			}
		}
	}
	return nil
}

// agree reports whether the targets of a group hold different ports for it. Then the
// next attempt starts at the last of these in the group's order: some target could have
// none of those before.
func (a *assignment) agree(lists map[*group]port.Set) (again bool) {
	for g, list := range lists {
		last, different := a.got[g.needs[0]], false
		for _, i := range g.needs {
			if a.got[i] != last {
				different = true
				if indexOf(list, a.got[i]) > indexOf(list, last) {
					last = a.got[i]
				}
			}
		}
		if different {
			g.list = startingAt(list, last)
			again = true
		}
	}
	return again
}

// release ends what the attempt holds.
func (a *assignment) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	sideBySide(a.sites, newSlots(a.Parallel), func(p *site) {
		if !p.started {
			return
		}
		p.started, p.making = false, nil
		end := host.LeaseRequest{Release: &host.LeasePort{Protocol: p.request.Wants[0].Protocols[0], Port: p.reply.First[0], ID: a.LeaseID}}
		if _, err := p.hold(ctx, end); err == nil || !p.confirming {
			return // elsewhere it ends with the connection at the latest
		}
		if h, err := p.Open(ctx); err == nil {
			_, _ = host.Hold(ctx, h, end) // the error says that it may be left
			_ = h.Close()
		}
	})
	for i := range a.needs {
		if !a.kept[i] {
			a.got[i] = 0
		}
	}
}

// releaseTime limits how long a rollback takes.
const releaseTime = 5 * time.Second

// confirm makes what the targets hold independent of this process.
func (a *assignment) confirm(ctx context.Context) error {
	return a.each(func(p *site) error {
		if !p.started {
			return nil
		}
		p.confirming = true
		_, err := p.hold(ctx, host.LeaseRequest{Confirm: true})
		if err != nil {
			return fmt.Errorf("%w; the lease %s may be left there until %s, or until `portcheck release %s`", err, a.LeaseID, a.Expires.UTC().Format(time.RFC3339), a.LeaseID)
		}
		return a.stillHeld(ctx, p)
	})
}

// stillHeld returns an error if the keeper that was started on a target has ended already.
// One that is slow to answer has not.
func (a *assignment) stillHeld(ctx context.Context, p *site) error {
	first := host.LeasePort{Protocol: p.request.Wants[0].Protocols[0], Port: p.reply.First[0]}
	reply, err := p.hold(ctx, host.LeaseRequest{Look: []host.LeasePort{first}})
	if err == nil && !slices.ContainsFunc(reply.Leases, func(l host.Lease) bool { return l.ID == a.LeaseID || l.ID == "" }) {
		err = errors.New("the process that holds the ports has ended, so they are not leased: look who ends processes of this user, such as a clean-up or the OOM killer, and assign again")
	}
	return err
}

// appsOf returns the apps of needs, one after the other.
func appsOf(needs []Need) string {
	var all []string
	for _, n := range needs {
		if n.App != "" && !slices.Contains(all, n.App) {
			all = append(all, n.App)
		}
	}
	return strings.Join(all, ", ")
}

// judgeGot returns a need of which the app can't have the port that the keeper of a
// target holds, or -1. It also finds out why others have not got their declared ports.
func (a *assignment) judgeGot(ctx context.Context, p *site) (int, error) {
	results, err := a.judge(ctx, p, p.wanting, a.got)
	if err != nil {
		return -1, err
	}
	for _, i := range p.wanting {
		for _, r := range results[i] {
			switch {
			case r.Status.OK():
			case movable(&r):
				return i, nil
			default: // another port would not help
				return -1, UnmetError{Need: a.needs[i], Message: r.Message, Unknown: r.Status == Unknown, Status: r.Status, Denied: r.Status == Denied}
			}
		}
	}
	var moved []int
	for _, i := range p.wanting {
		if n := a.needs[i]; !n.Auto && a.got[i] != n.Ports.First {
			moved = append(moved, i)
		}
	}
	others, err := a.leasesOfOthers(ctx, p, moved)
	if err != nil {
		return -1, err
	}
	moved = slices.DeleteFunc(moved, func(i int) bool { return others[i] != nil })
	for i, other := range others {
		a.moved[i] = portLeasedTo(*other)
	}
	if results, err = a.judge(ctx, p, moved, nil); err != nil {
		return -1, err
	}
	for _, i := range moved {
		a.moved[i] = "it was taken when it was asked for, and is free again"
		if g := a.of[i]; len(g.needs) > 1 {
			a.moved[i] = "it can't be had on another target"
		}
		if j := a.claimant(i); j >= 0 && a.got[j] == a.needs[j].Ports.First {
			a.moved[i] = a.claimText(i, j)
		} else if h := a.ownLease(i); h != nil {
			a.moved[i] = ownText(h)
		}
		for _, r := range results[i] {
			if !r.Status.OK() {
				a.moved[i] = r.Message
			}
		}
	}
	return -1, nil
}

// ownLease returns a lease by which the job has a port that a need declares, and not for that
// need: one of a name that has changed since, for example. It is nil if there is none.
func (a *assignment) ownLease(i int) *host.Lease {
	n, held := a.needs[i], a.at[i].held
	k := slices.IndexFunc(held, func(h host.Lease) bool {
		return !n.Auto && !a.kept[i] && n.Ports.Contains(h.Port) && slices.Contains(n.Protocols, h.Protocol)
	})
	if k < 0 {
		return nil
	}
	return &held[k]
}

// ownText says that the job has a port by a lease of its own.
func ownText(h *host.Lease) string {
	name := h.Name
	if !strings.Contains(name, "/") { // else it has its app
		name = titleOf(h.App, name)
	}
	return fmt.Sprintf("this job holds %s %d for %s (lease %s)", h.Protocol, h.Port, LeaseWord(name), LeaseWord(h.ID))
}

// judge checks some of a target's needs, on other first ports if there are some. It
// returns the results of each by its index.
func (a *assignment) judge(ctx context.Context, p *site, some []int, first []uint16) (map[int][]Result, error) {
	if len(some) == 0 {
		return nil, nil
	}
	needs := make([]Need, len(some))
	for k, i := range some {
		n := a.needs[i]
		if first != nil {
			n.Ports = port.Range{First: first[i], Last: first[i] + uint16(n.Ports.Len()-1)}
		}
		n.Auto, n.Wait, n.Range = false, 0, nil
		needs[k] = n
	}
	o := a.Options
	o.Alternatives, o.Candidates, o.Progress, o.assigning = 0, 0, nil, true
	report, err := Run(ctx, needs, []Target{p.Shared()}, o)
	if err != nil {
		return nil, err
	}
	if first != nil {
		p.notices = report.Targets[0].Notices
	}
	results, at := map[int][]Result{}, 0
	for k, i := range some {
		results[i] = report.Results[at : at+len(needs[k].Protocols)]
		at += len(needs[k].Protocols)
	}
	return results, nil
}
