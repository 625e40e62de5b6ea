package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// plan is what the rounds of one run have in common.
type plan struct {
	Options
	needs  []Need // of all targets
	rivals map[rivalKey][]Need
	slots  slots
	told   sync.Mutex // Progress hears of one thing at a time
}

func newPlan(needs []Need, o Options) *plan {
	return &plan{Options: o, needs: needs, rivals: findRivals(needs), slots: make(slots, max(o.Parallel, 1))}
}

// round is the conversation with one target.
type round struct {
	Target
	*plan
	mine    []int      // indexes of the target's needs
	host    host.Host  // nil unless it was opened
	facts   host.Facts // of the last probe that answered: what is true of the machine as a whole
	err     error      // why it was not opened, or why the last probe failed
	results map[rivalKey]*Result
	spent   time.Duration         // of Timeout
	open    map[string]*port.Bits // by scanKey: what the scans found
	shown   map[string]port.Set   // the same, of those that saw the whole table
	// tableOnly: nothing can be bound there.
	tableOnly bool
}

func newRound(t Target, p *plan) *round {
	return &round{Target: t, plan: p, results: map[rivalKey]*Result{}, open: map[string]*port.Bits{}, shown: map[string]port.Set{}}
}

// newRounds are the conversations of a run, in the order of targets.
func newRounds(needs []Need, targets []Target, o Options) []*round {
	p := newPlan(needs, o)
	of := map[string][]int{}
	for i, n := range needs {
		of[n.Target] = append(of[n.Target], i)
	}
	rounds := make([]*round, len(targets))
	for i, t := range targets {
		rounds[i] = newRound(t, p)
		rounds[i].mine = of[t.Name]
	}
	return rounds
}

// run opens the target and asks until every need is met or has waited long
// enough.
func (r *round) run(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	r.tell(func(p Progress) { p.Started(r.Name) })
	if err := r.reach(ctx); err != nil {
		r.fail(r.mine, err)
	} else {
		r.probe(ctx, r.mine, true)
		r.wait(ctx)
	}
	if ctx.Err() == nil {
		r.settle()
	}
}

// wait asks again about unmet needs while they may wait, unless an answer failed
// to come: no other would come then. Meanwhile another target has the slot.
func (r *round) wait(ctx context.Context) {
	start := time.Now()
	pending := slices.Clone(r.mine)
	holders := map[rivalKey]string{}
	steps := backoff.NewExponentialBackOff()
	steps.InitialInterval, steps.MaxInterval = 100*time.Millisecond, 2*time.Second
	for r.err == nil {
		now := time.Now()
		next := time.Duration(-1) // until the first deadline
		pending = slices.DeleteFunc(pending, func(i int) bool {
			left := r.needs[i].Wait - now.Sub(start)
			if r.met(i) || left <= 0 {
				return true
			}
			if next < 0 || left < next {
				next = left
			}
			r.tellWaiting(i, left, holders)
			return false
		})
		if len(pending) == 0 {
			return
		}
		r.slots.lend(func() {
			select {
			case <-ctx.Done():
			case <-time.After(min(steps.NextBackOff(), next)):
			}
		})
		if ctx.Err() != nil {
			return
		}
		r.spent = 0 // waiting has no budget but its own
		r.probe(ctx, pending, false)
	}
}

// met says whether waiting for a need is over: it is met, or nothing that time
// changes is in its way.
func (r *round) met(i int) bool {
	for _, proto := range r.needs[i].Protocols {
		switch s := r.results[rivalKey{i, proto}].Status; {
		case s.OK(), s == Denied, s == OSReserved:
		default:
			return false
		}
	}
	return true
}

// settle says which needs are met, now that nothing about them changes any more.
func (r *round) settle() {
	var s Summary
	for _, i := range r.mine {
		for _, proto := range r.needs[i].Protocols {
			key := rivalKey{i, proto}
			result := r.results[key]
			result.OK = result.Status.OK()
			r.needs[i].noteDuplicates(result, r.rivals[key])
			s.add(*result)
		}
	}
	r.tell(func(p Progress) { p.Done(r.Name, s, r.err) })
}

// reach opens the target, within its budget.
func (r *round) reach(ctx context.Context) error {
	late, err := r.spend(ctx, func(ctx context.Context) (err error) {
		r.host, err = r.Open(ctx)
		return err
	})
	if late {
		return fmt.Errorf("it could not be reached within %s (--timeout): %w", r.Timeout, err)
	}
	return err
}

// close ends the conversation. What can't be closed ends by itself: each kind of
// host sees to that.
func (r *round) close() {
	if r.host != nil {
		_ = r.host.Close()
	}
}

// ask sends one batch, within the target's budget.
func (r *round) ask(ctx context.Context, req host.Request) (facts host.Facts, err error) {
	late, err := r.spend(ctx, func(ctx context.Context) (err error) {
		facts, err = r.host.Probe(ctx, req)
		return err
	})
	if late {
		return facts, fmt.Errorf("no answer within %s (--timeout)", r.Timeout)
	}
	if err == nil {
		if wrong := fits(facts, req); wrong != nil {
			err = fmt.Errorf("the probe's answer does not fit the question: %w", wrong)
		}
	}
	return facts, err
}

// spend runs fn with what is left of the target's budget, and says whether it
// failed because nothing is left.
func (r *round) spend(ctx context.Context, fn func(context.Context) error) (late bool, err error) {
	start := time.Now() // before the deadline is set, or what is spent can fall short of it
	limited := ctx
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, r.Timeout-r.spent)
		defer cancel()
	}
	err = fn(limited)
	r.spent += time.Since(start)
	return errors.Is(err, context.DeadlineExceeded) && r.Timeout > 0 && r.spent >= r.Timeout && ctx.Err() == nil, err
}

// probe asks about some needs and judges them.
func (r *round) probe(ctx context.Context, needs []int, scan bool) {
	req := host.Request{ShowCommand: r.ShowCommand}
	var tries, dials []rivalKey
	var scans []string
	var scanner []int // of each scan, a try of the same protocol
	for _, i := range needs {
		n := r.needs[i]
		for _, proto := range n.Protocols {
			if n.Expect == config.Reachable {
				req.Dials = append(req.Dials, host.Dial{Host: n.Remote, Port: n.Ports.First})
				dials = append(dials, rivalKey{i, proto})
				continue
			}
			try := host.Try{Binding: n.Binding(proto), Ports: n.Ports, Look: n.Expect == config.Listening, Owners: len(n.Owner) > 0}
			if !try.Look {
				try.RunAs = n.RunAs
			}
			req.Tries = append(req.Tries, try)
			tries = append(tries, rivalKey{i, proto})
			key := scanKey(n, proto)
			if scan && r.Alternatives+r.Candidates > 0 && !try.Look && len(n.Range) > 0 && !slices.Contains(scans, key) {
				scans = append(scans, key)
				scanner = append(scanner, len(req.Tries)-1)
				req.Scans = append(req.Scans, host.Scan{Binding: n.Binding(proto), Ports: n.Range})
			}
		}
	}
	if len(req.Tries)+len(req.Dials) == 0 {
		return
	}
	facts, err := r.ask(ctx, req)
	if err != nil {
		r.fail(needs, err)
		return
	}
	r.err = nil
	r.facts = host.Facts{Machine: facts.Machine, Limits: facts.Limits, Gaps: facts.Gaps}
	byPort := map[uint16][]host.Socket{}
	for _, s := range facts.Sockets {
		byPort[s.Port] = append(byPort[s.Port], s)
	}
	for k, key := range tries {
		n := r.needs[key.need]
		facts := facts
		facts.Sockets = nil
		for p := range (port.Set{n.Ports}).All {
			facts.Sockets = append(facts.Sockets, byPort[p]...)
		}
		judge := judgeFree
		if n.Expect == config.Listening {
			judge = judgeListening
		}
		r.tableOnly = r.tableOnly || facts.Tried[k].NoBindReason != ""
		result := judge(n, key.proto, facts.Tried[k], facts)
		n.notePorts(&result, facts.Machine.OS)
		n.noteEphemeral(&result, facts.Limits.Ephemeral, facts.Limits.Reserved, "on this host")
		r.results[key] = &result
	}
	for k, key := range dials {
		result := judgeReachable(r.needs[key.need], facts.Dialed[k])
		r.results[key] = &result
	}
	for k, key := range scans {
		r.open[key] = new(port.Bits)
		r.open[key].AddSet(facts.Open[k])
		if facts.Tried[scanner[k]].TableOK {
			r.shown[key] = facts.Open[k]
		}
	}
}

// fail makes needs unknown.
func (r *round) fail(needs []int, err error) {
	r.err = err
	for _, i := range needs {
		n := r.needs[i]
		for _, proto := range n.Protocols {
			result := n.result(proto)
			result.Status, result.Method, result.Endpoints = Unknown, None, []Endpoint{}
			result.Message = fmt.Sprintf("%s could not be checked: %s", n.subject(proto), err)
			r.results[rivalKey{i, proto}] = &result
		}
	}
}
