package report

import (
	"io"

	"github.com/org/portcheck/check"
)

const jsonVersion = 1

// jsonReport writes the report as schema/report.schema.json describes it.
func jsonReport(w io.Writer, r check.Report, _ Options) error {
	r.Version = jsonVersion
	r.Problems = listOf(r.Problems)
	for i := range r.Problems {
		r.Problems[i].Message = noCode(r.Problems[i].Message)
	}
	r.Targets = targetsJSON(r.Targets)
	results := r.Results
	r.Results = []check.Result{}
	return writeJSONList(w, r, "results", len(results), func(i int) check.Result {
		x := resultJSON(results[i], r.Lint)
		if !r.Lint {
			x.Hints = hintsJSON(results[i])
		}
		return x
	})
}

// resultJSON returns r with empty lists instead of nil. A report of lint has no
// endpoints.
func resultJSON(r check.Result, lint bool) check.Result {
	r.Address = orEmpty(r.Address)
	r.Holders = orEmpty(r.Holders)
	r.Alternatives = orEmpty(r.Alternatives)
	r.Message, r.Notices = noCode(r.Message), noticesJSON(r.Notices)
	r.Endpoints, r.Hints = orEmpty(r.Endpoints), nil
	if lint {
		r.Endpoints = nil
	}
	return r
}

// hintsJSON returns the hints of a result as the text shows them.
func hintsJSON(r check.Result) []check.Hint {
	all := listOf(hints(r))
	for i := range all {
		all[i].Text = hintText(all[i])
	}
	return all
}

// targetsJSON returns a copy of targets with empty lists instead of nil.
func targetsJSON(targets []check.TargetReport) []check.TargetReport {
	targets = listOf(targets)
	for i := range targets {
		targets[i].Notices = noticesJSON(targets[i].Notices)
		targets[i].Namespace.Reason = noCode(targets[i].Namespace.Reason)
	}
	return targets
}

// noticesJSON returns notices with messages as the text shows them.
func noticesJSON(notices []check.Notice) []check.Notice {
	notices = listOf(notices)
	for i := range notices {
		notices[i].Message = noCode(notices[i].Message)
	}
	return notices
}
