package cli

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/hashicorp/go-multierror"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// The exit codes are a contract with pipelines.
const (
	exitOK         = 0
	exitUnmet      = 1
	exitUsage      = 2
	exitUnknown    = 3
	exitBug        = 70
	exitInterrupt  = 130
	exitTerminated = 143
)

// exitCodes lists every code that portcheck itself chooses.
var exitCodes = []int{exitOK, exitUnmet, exitUsage, exitUnknown, exitBug, exitInterrupt, exitTerminated}

// usageError is a command line that can't be run; Hint says where to look.
type usageError struct {
	error
	hint string
}

func (e usageError) Unwrap() error { return e.error }

// finding is an unmet need, already told in the report.
type finding struct{ check.Result }

func (f finding) Error() string { return f.Name + ": " + f.Message }

// warned is the wish for an exit code of its own when only warnings are unmet.
type warned struct{ code int }

func (w warned) Error() string { return "only needs of severity warning are unmet" }

// shortfall is an answer that was told and does not suffice, as of `free`.
type shortfall struct{ error }

// unanswered is a question about ports that could not be found out.
type unanswered struct{ error }

// verdictOptions are the flags that weigh findings.
type verdictOptions struct {
	failOn       string // error | warning | never
	warningsExit int
	allowUnknown bool
}

// outcome is the one seam where problems and findings become an error.
func outcome(r check.Report, o verdictOptions) error {
	var all *multierror.Error
	for _, p := range r.Problems {
		all = multierror.Append(all, p)
	}
	warnings := false
	for _, result := range r.Results {
		counts := result.Severity == config.Error || o.failOn == "warning"
		switch {
		case result.OK:
		case result.Status == check.Unknown:
			if counts && !o.allowUnknown {
				all = multierror.Append(all, finding{result})
			}
		case !counts:
			warnings = true
		case o.failOn != "never":
			all = multierror.Append(all, finding{result})
		}
	}
	if all == nil && warnings && o.warningsExit != exitOK {
		all = multierror.Append(all, warned{o.warningsExit})
	}
	return all.ErrorOrNil()
}

// exitCode weighs all errors of a run: a bad manifest before anything else, an
// unmet need before one that could not be found out.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var cause signalled
	if errors.As(err, &cause) {
		if cause.signal == os.Signal(syscall.SIGTERM) {
			return exitTerminated
		}
		return exitInterrupt
	}
	errs := []error{err}
	var several *multierror.Error
	if errors.As(err, &several) {
		errs = several.Errors
	}
	code := exitOK
	for _, e := range errs {
		switch c := exitCodeOf(e); {
		case c == exitUsage:
			return c
		case code == exitOK, c == exitUnmet:
			code = c
		}
	}
	return code
}

func exitCodeOf(err error) int {
	var f finding
	var w warned
	switch {
	case errors.As(err, &f):
		if f.Status == check.Unknown {
			return exitUnknown
		}
		return exitUnmet
	case errors.As(err, &w):
		return w.code
	case errors.As(err, new(shortfall)):
		return exitUnmet
	case errors.As(err, new(unanswered)):
		return exitUnknown
	}
	return exitUsage
}

// explain prints the errors that no report has told yet.
func (a *app) explain(err error) {
	var several *multierror.Error
	if errors.As(err, &several) {
		return
	}
	a.say("%s", report.Safe(err.Error()))
	var usage usageError
	if errors.As(err, &usage) && usage.hint != "" {
		fmt.Fprintln(a.stderr, usage.hint)
	}
}
