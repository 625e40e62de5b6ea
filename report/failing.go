package report

import (
	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// Failing decides what fails a run, for its exit code and for the formats whose
// readers have one for each test. By default unmet needs of severity error do.
type Failing struct {
	Warnings     bool // what has severity warning does as well
	Never        bool // no unmet need does; a notice or an unknown result may
	AllowUnknown bool // no unknown result does
}

// Result reports whether a result fails the run.
func (f Failing) Result(x check.Result) bool {
	switch {
	case x.OK, x.Severity != config.SeverityError && !f.Warnings:
		return false
	case x.Status == check.Unknown:
		return !f.AllowUnknown
	}
	return !f.Never
}

// Notice reports whether a notice of a target fails the run.
func (f Failing) Notice(n check.Notice) bool {
	return f.Warnings && n.Severity == config.SeverityWarning
}
