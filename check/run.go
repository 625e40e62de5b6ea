package check

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Target is a host under the name that reports give it.
type Target struct {
	Name string
	// Open reaches the host, once. An error says why it can't be reached;
	// then the target's needs are unknown. Who opens it closes it.
	Open func(context.Context) (host.Host, error)
}

// Options steer a run.
type Options struct {
	Tool         string
	Alternatives int           // how many to look for, for each unmet need
	Candidates   int           // how many to list of where a need could move, for each need and target
	Timeout      time.Duration // of a target: of opening it and all probes but those that wait; 0: none
	Parallel     int           // how many targets are opened or probed at the same time, at least one
	ShowCommand  bool          // name command lines of holders
	Progress     Progress      // nil: nobody wants to know
}

// Run makes the rounds: every target is opened and asked about all of its needs
// at once, again about the unmet ones that may wait, then for alternatives. All
// are closed when Run comes back. Results are in the order of needs. The error
// is the context's.
func Run(ctx context.Context, needs []Need, targets []Target, o Options) (Report, error) {
	report := Report{Version: 1, Tool: o.Tool}
	rounds := newRounds(needs, targets, o)
	defer each(rounds, (*round).close) // not before: any target may be asked for alternatives
	each(rounds, func(r *round) { r.run(ctx) })
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}

	results := map[resultKey]*Result{}
	for _, r := range rounds {
		for key, result := range r.results {
			results[key] = result
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
			report.Results = append(report.Results, *results[resultKey{i, proto}])
		}
	}
	report.Spans = spans(needs, rounds)
	report.Finish()
	return report, nil
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
		n := Notice{Code: config.Degraded, Message: gapText(g)}
		switch g.Kind {
		case host.GapHolders, host.GapContainers:
			continue // said where a holder is missing
		case host.GapNamespace:
			n.Severity = config.SeverityWarning
		}
		t.Notices = append(t.Notices, n)
	}
	return t
}

func scanKey(n Need, proto port.Protocol) string {
	return fmt.Sprint(n.Binding(proto), n.Range)
}

// Finish counts the results, and says whether all is well.
func (r *Report) Finish() {
	r.Summary = Summary{}
	r.OK = len(r.Problems) == 0
	for _, result := range r.Results {
		r.Summary.add(result)
		r.OK = r.OK && result.OK
	}
}

// add counts one more result.
func (s *Summary) add(r Result) {
	s.Checked++
	switch {
	case r.OK:
		s.OK++
	case r.Status == Unknown:
		s.Unknown++
	case r.Severity == config.SeverityWarning:
		s.Warnings++
	default:
		s.Errors++
	}
}
