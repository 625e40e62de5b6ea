package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/hashicorp/go-multierror"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
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

// misplaced is a warning about whose ports were probed, already told in the
// report.
type misplaced struct {
	target string
	check.Notice
}

func (m misplaced) Error() string { return m.target + ": " + m.Message }

// warned is the wish for an exit code of its own when only warnings are unmet.
type warned struct{ code int }

func (w warned) Error() string { return "there are only warnings" }

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

// outcome is the one seam where problems, findings and what failed on the way
// become an error.
func outcome(r check.Report, o verdictOptions, failed ...error) error {
	var all *multierror.Error
	for _, p := range r.Problems {
		all = multierror.Append(all, p)
	}
	warnings, errs := false, false
	for _, result := range r.Results {
		counts := result.Severity == config.SeverityError || o.failOn == "warning"
		switch {
		case result.OK:
		case result.Status == check.Unknown:
			if counts && !o.allowUnknown {
				all = multierror.Append(all, finding{result})
			}
		case !counts:
			warnings = true
		case o.failOn == "never":
			errs = true
		default:
			all = multierror.Append(all, finding{result})
		}
	}
	for _, t := range r.Targets {
		for _, n := range t.Notices {
			switch {
			case n.Severity != config.SeverityWarning:
			case o.failOn == "warning":
				all = multierror.Append(all, misplaced{t.Name, n})
			default:
				warnings = true
			}
		}
	}
	if all == nil && warnings && !errs && o.warningsExit != exitOK {
		all = multierror.Append(all, warned{o.warningsExit})
	}
	return multierror.Append(all, failed...).ErrorOrNil()
}

// exitCode weighs all errors of a run: a bad manifest before anything else, an
// unmet need before one that could not be found out.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var cause signalled
	switch {
	case errors.As(err, &cause) && cause.signal == os.Signal(syscall.SIGTERM):
		return exitTerminated
	case errors.As(err, &cause), errors.Is(err, context.Canceled):
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
	case errors.As(err, new(shortfall)), errors.As(err, new(misplaced)):
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
		for _, e := range several.Errors {
			if errors.As(e, new(unanswered)) {
				a.say("%s", sentence(e.Error()))
			}
		}
		return
	}
	a.say("%s", sentence(err.Error()))
	if ci.GitHub(a.env) {
		fmt.Fprint(a.stderr, ci.ErrorAnnotation("portcheck", sentence(err.Error())))
	}
	var usage usageError
	if errors.As(err, &usage) && usage.hint != "" {
		fmt.Fprintln(a.stderr, usage.hint)
	}
}

// sentence makes a message of any length safe, its words one by one: some
// quote long lists of what is allowed.
func sentence(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		words[i] = report.Safe(w)
	}
	return strings.Join(words, " ")
}
