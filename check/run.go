package check

import (
	"cmp"
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

// Target is a host under the name that reports give it. Err says why it could
// not be opened; then its needs are unknown.
type Target struct {
	Name string
	Host host.Host
	Err  error
}

// Options steer a run.
type Options struct {
	Tool         string
	Alternatives int                                // how many to look for, for each unmet need
	Timeout      time.Duration                      // of all probes of one target but those that wait; 0: none
	ShowCommand  bool                               // name command lines of holders
	Waiting      func(r Result, left time.Duration) // told when an unmet need begins to wait, and when its holder changes
}

// targetsAtOnce bounds how many targets are probed at the same time.
const targetsAtOnce = 16

// Run makes the rounds: every target is asked about all of its needs at once,
// again about the unmet ones that may wait, then for alternatives. Results are
// in the order of needs. The error is the context's.
func Run(ctx context.Context, needs []Need, targets []Target, o Options) (Report, error) {
	report := Report{Version: 1, Tool: o.Tool}
	rivals := findRivals(needs)
	rounds := make([]*round, len(targets))
	var told sync.Mutex
	var wait sync.WaitGroup
	bugs := make([]*host.Bug, len(targets))
	slots := make(chan struct{}, targetsAtOnce)
	for i, t := range targets {
		rounds[i] = newRound(t, needs, o)
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			bugs[i] = host.Guard(func() { rounds[i].run(ctx, &told) })
		})
	}
	wait.Wait()
	for _, bug := range bugs {
		bug.Raise()
	}
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}

	results := map[rivalKey]*Result{}
	for _, r := range rounds {
		for key, result := range r.results {
			results[key] = result
		}
	}
	for i, n := range needs {
		for _, proto := range n.Protocols {
			r := results[rivalKey{i, proto}]
			r.OK = r.Status.OK()
			n.noteDuplicates(r, rivals[rivalKey{i, proto}])
		}
	}
	if err := suggest(ctx, needs, rounds, results, o); err != nil {
		return report, err
	}
	for _, r := range rounds {
		report.Targets = append(report.Targets, reportTarget(r.Name, r.facts, r.err))
	}
	for i, n := range needs {
		for _, proto := range n.Protocols {
			report.Results = append(report.Results, *results[rivalKey{i, proto}])
		}
	}
	report.Spans = spans(needs, rounds)
	report.finish()
	return report, nil
}

// round is the conversation with one target.
type round struct {
	Target
	Options
	needs   []Need // all of the run; mine are this target's
	mine    []int
	facts   host.Facts // of the last probe that answered
	err     error
	results map[rivalKey]*Result
	spent   time.Duration         // of Timeout
	open    map[string]*port.Bits // by scanKey: what the scans found
	shown   map[string]port.Set   // the same, of those that saw the whole table
}

func newRound(t Target, needs []Need, o Options) *round {
	r := &round{Target: t, Options: o, needs: needs, err: t.Err, results: map[rivalKey]*Result{}, open: map[string]*port.Bits{}, shown: map[string]port.Set{}}
	for i, n := range needs {
		if n.Target == t.Name {
			r.mine = append(r.mine, i)
		}
	}
	return r
}

// run probes until every need is met or has waited long enough.
func (r *round) run(ctx context.Context, told *sync.Mutex) {
	start := time.Now()
	r.probe(ctx, r.mine, true)
	pending := slices.Clone(r.mine)
	holders := map[rivalKey]string{}
	steps := backoff.NewExponentialBackOff()
	steps.InitialInterval, steps.MaxInterval = 100*time.Millisecond, 2*time.Second
	for r.Target.Err == nil {
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
			r.tell(i, left, holders, told)
			return false
		})
		if len(pending) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(steps.NextBackOff(), next)):
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

// tell reports an unmet need that waits, once for each holder.
func (r *round) tell(i int, left time.Duration, holders map[rivalKey]string, told *sync.Mutex) {
	for _, proto := range r.needs[i].Protocols {
		key := rivalKey{i, proto}
		result := r.results[key]
		if result.Status.OK() || holders[key] == result.Message {
			continue
		}
		holders[key] = result.Message
		if r.Waiting != nil {
			told.Lock()
			r.Waiting(*result, left)
			told.Unlock()
		}
	}
}

// ask sends one batch, within the target's budget.
func (r *round) ask(ctx context.Context, req host.Request) (host.Facts, error) {
	if r.Target.Err != nil {
		return host.Facts{}, r.Target.Err
	}
	parent := ctx
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout-r.spent)
		defer cancel()
	}
	start := time.Now()
	facts, err := r.Host.Probe(ctx, req)
	r.spent += time.Since(start)
	if err == nil && !fits(facts, req) {
		err = errors.New("the probe's answer does not fit the question")
	}
	if errors.Is(err, context.DeadlineExceeded) && parent.Err() == nil {
		err = fmt.Errorf("no answer within %s (--timeout)", r.Timeout)
	}
	return facts, err
}

// fits says whether an answer has all that was asked for.
func fits(f host.Facts, req host.Request) bool {
	if len(f.Tried) != len(req.Tries) || len(f.Open) != len(req.Scans) || len(f.Dialed) != len(req.Dials) {
		return false
	}
	for i, t := range req.Tries {
		if len(t.Addresses) > 0 && len(f.Tried[i].Attempts) == 0 {
			return false
		}
	}
	return true
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
			if scan && r.Alternatives > 0 && !try.Look && len(n.Range) > 0 && !slices.Contains(scans, key) {
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
	r.err, r.facts = nil, facts
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

// reportTarget says what was probed and what could not be seen there.
func reportTarget(name string, f host.Facts, err error) TargetReport {
	t := TargetReport{
		Name: name, OS: f.Machine.OS, Notices: []Notice{},
		Namespace: Namespace{string(cmp.Or(f.Machine.Namespace.Kind, host.NamespaceUnknown)), f.Machine.Namespace.Inode, f.Machine.Namespace.Reason},
	}
	if f.Limits.Ephemeral.Last > 0 {
		t.Ephemeral = f.Limits.Ephemeral.String()
	}
	if err != nil {
		t.Notices = append(t.Notices, Notice{Code: config.Degraded, Message: err.Error()})
	}
	for _, g := range f.Gaps {
		if !g.Holders { // those are told where a holder is missing
			n := Notice{Code: config.Degraded, Message: gapText(g)}
			if g.Place {
				n.Severity = config.Warning
			}
			t.Notices = append(t.Notices, n)
		}
	}
	return t
}

func scanKey(n Need, proto port.Protocol) string {
	return fmt.Sprint(n.Binding(proto), n.Range)
}

// finish counts.
func (r *Report) finish() {
	r.Summary = Summary{Checked: len(r.Results)}
	r.OK = true
	for _, result := range r.Results {
		switch {
		case result.OK:
			r.Summary.OK++
		case result.Status == Unknown:
			r.Summary.Unknown++
		case result.Severity == config.Warning:
			r.Summary.Warnings++
		default:
			r.Summary.Errors++
		}
		r.OK = r.OK && result.OK
	}
}
