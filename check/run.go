package check

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Target is a host, and its name in reports.
type Target struct {
	Name string
	// Job is the job whose leases are not in the way there, if it is not that of the
	// Options.
	Job string
	// Open connects to the host, and is called once. If it fails, the status of
	// the target's needs is unknown. The caller closes the host.
	Open func(context.Context) (host.Host, error)
}

// Options steer a run.
type Options struct {
	Tool         string
	Alternatives int           // how many to look for, for each unmet need
	Candidates   int           // how many ports to list that a need could move to, for each need and target
	Timeout      time.Duration // of a target, for opening it and all probes but those that wait; 0: none
	Parallel     int           // how many targets are opened or probed at the same time; at least one
	ShowCommand  bool          // list command lines of holders
	Progress     Progress      // may be nil
	Job          string        // its leases of ports are not in its way
	// Claimed are needs that are not checked. Their ports are no alternatives for others.
	Claimed  []Need
	Named    string // the name that the job was given, as leases have it, or ""
	Identity string // the CI job, as leases have it, or ""
	// Undeclared is the severity of listeners that no need declares; empty: they are
	// not looked for. UndeclaredLoopback looks for those on loopback addresses, too.
	Undeclared         config.Severity
	UndeclaredLoopback bool
	// assigning is set where the job's leases are made: they are no news.
	assigning bool
}

// Run checks needs on their targets. It opens every target and probes all of its
// needs at once, then the unmet ones again while they may wait, and then looks
// for alternatives. All targets are closed when Run returns. Results are in the
// order of needs. The error is the context's.
func Run(ctx context.Context, needs []Need, targets []Target, o Options) (Report, error) {
	report := Report{Version: 1, Tool: o.Tool}
	if slices.ContainsFunc(needs, func(n Need) bool { return n.Auto }) {
		needs = slices.Clone(needs) // these get their ports
	}
	rounds := newRounds(ctx, needs, targets, o)
	defer each(rounds, (*round).close) // not earlier: alternatives may be looked for on any target
	each(rounds, func(r *round) { r.run(ctx) })
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}

	if err := chooseAutos(ctx, needs, rounds); err != nil {
		return report, err
	}
	results := map[resultKey]*Result{}
	for _, r := range rounds {
		for key, result := range r.results {
			results[key] = result
		}
	}
	for _, r := range rounds {
		r.wantsOwn = r.mayHold(results)
	}
	if err := suggest(ctx, needs, rounds, results, o); err != nil {
		return report, err
	}
	each(rounds, func(r *round) { r.mentionHeld(ctx, results) })
	for _, r := range rounds {
		report.Targets = append(report.Targets, reportTarget(r.Name, r.facts, r.err))
	}
	report.Results = make([]Result, 0, len(results))
	for i, n := range needs {
		for _, proto := range n.Protocols {
			report.Results = append(report.Results, *results[resultKey{i, proto}])
		}
	}
	if o.Undeclared != "" {
		found := make([][]Result, len(rounds))
		each(rounds, func(r *round) { found[slices.Index(rounds, r)] = r.undeclared(ctx) })
		report.Results = append(report.Results, slices.Concat(found...)...)
	}
	report.Spans = spans(ctx, needs, rounds)
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	report.Finish()
	return report, nil
}

// EphemeralPorts returns the ports that the target's system gives to outgoing connections,
// none if they are not known.
func (t TargetReport) EphemeralPorts() *port.Bits {
	ephemeral, err := port.ParseRange(t.Ephemeral)
	if err != nil {
		return new(port.Bits)
	}
	reserved, _ := port.ParseSet(t.Reserved) // none, as in a report of an older portcheck
	return host.Limits{Ephemeral: ephemeral, Reserved: reserved}.EphemeralPorts()
}

// reportTarget returns a target's part of the report, with what could not be seen.
func reportTarget(name string, f host.Facts, err error) TargetReport {
	t := TargetReport{
		Name: name, Hostname: f.Machine.Hostname, OS: f.Machine.OS, Notices: []Notice{},
		Namespace: Namespace{string(cmp.Or(f.Machine.Namespace.Kind, host.NamespaceUnknown)), f.Machine.Namespace.Inode, f.Machine.Namespace.Reason, f.Machine.Namespace.VM},
	}
	if f.Limits.Ephemeral.Last > 0 {
		t.Ephemeral = f.Limits.Ephemeral.String()
	}
	t.Reserved = f.Limits.Reserved.Without(func(p uint16) bool { return p == 0 }).String() // a host may say 0
	if err != nil {
		t.Notices = append(t.Notices, Notice{Code: config.Degraded, Message: err.Error()})
	}
	for _, g := range f.Gaps {
		n := Notice{Code: config.Degraded, Message: gapText(g)}
		switch g.Kind {
		case host.GapHolders, host.GapContainers:
			continue // a notice on the results where a holder is missing
		case host.GapNamespace:
			n.Severity = config.SeverityWarning
		}
		t.Notices = append(t.Notices, n)
	}
	return t
}

// Finish sets Summary and OK from the problems and results.
func (r *Report) Finish() {
	r.Summary = Summary{}
	r.OK = len(r.Problems) == 0
	for _, result := range r.Results {
		r.Summary.add(result)
		r.OK = r.OK && result.OK
	}
}

// Needs returns the results of each need on each of its targets: those of its protocols,
// which are neighbours in a report.
func Needs(results []Result) iter.Seq[[]Result] {
	need := func(r Result) string { return strings.TrimSuffix(r.ID, "/"+string(r.Protocol)) }
	return func(yield func([]Result) bool) {
		start := 0
		for i := 1; i <= len(results); i++ {
			of := results[start:i]
			if i < len(results) && need(results[i]) == need(of[0]) && !slices.ContainsFunc(of, func(r Result) bool { return r.Protocol == results[i].Protocol }) {
				continue
			}
			if !yield(of) {
				return
			}
			start = i
		}
	}
}

// CountNeeds counts needs as Summary counts results: each once on each of its targets,
// as bad as the worst of its results.
func CountNeeds(results []Result) Summary {
	var s Summary
	for of := range Needs(results) {
		s.add(worst(of))
	}
	return s
}

// worst returns the worst of a need's results.
func worst(results []Result) Result {
	return slices.MaxFunc(results, func(a, b Result) int { return cmp.Compare(a.badness(), b.badness()) })
}

func (s *Summary) add(r Result) {
	s.Checked++
	switch r.badness() {
	case met:
		s.OK++
	case unknown:
		s.Unknown++
	case warned:
		s.Warnings++
	default:
		s.Errors++
	}
}

// badness is how bad a result is for its need. It orders results as exit codes do.
type badness int

const (
	met badness = iota
	warned
	unknown
	unmet
)

func (r Result) badness() badness {
	switch {
	case r.OK:
		return met
	case r.Status == Unknown:
		return unknown
	case r.Severity == config.SeverityWarning:
		return warned
	}
	return unmet
}
