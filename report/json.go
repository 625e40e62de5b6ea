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
	r.Targets = targetsJSON(r.Targets)
	results := listOf(r.Results)
	for i, x := range results {
		results[i] = resultJSON(x, r.Lint)
	}
	r.Results = results
	return writeJSON(w, r)
}

// resultJSON returns r with empty lists instead of nil. A report of lint has no
// endpoints.
func resultJSON(r check.Result, lint bool) check.Result {
	r.Address = listOf(r.Address)
	r.Holders = listOf(r.Holders)
	r.Alternatives = listOf(r.Alternatives)
	r.Notices = listOf(r.Notices)
	r.Endpoints = listOf(r.Endpoints)
	if lint {
		r.Endpoints = nil
	}
	return r
}

// targetsJSON returns a copy of targets with empty lists instead of nil.
func targetsJSON(targets []check.TargetReport) []check.TargetReport {
	targets = listOf(targets)
	for i := range targets {
		targets[i].Notices = listOf(targets[i].Notices)
	}
	return targets
}
