package cli

import (
	"context"
	"errors"
	"os"
	"slices"
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
	exitQuit       = 131
	exitTerminated = 143
)

// exitCodes lists every code that portcheck itself chooses.
var exitCodes = []int{exitOK, exitUnmet, exitUsage, exitUnknown, exitBug, exitInterrupt, exitQuit, exitTerminated}

// verdictOptions are the flags that decide which results fail a run.
type verdictOptions struct {
	failOn       string // error, warning or never
	warningsExit int
	allowUnknown bool
}

// failing returns what fails a run with these flags.
func (o verdictOptions) failing() report.Failing {
	return report.Failing{Warnings: o.failOn == "warning", Never: o.failOn == "never", AllowUnknown: o.allowUnknown}
}

// failure is an error that no report shows, with the exit code for it.
type failure struct {
	error
	code int
	hint string // a line to print below the error, if not empty
}

func (f failure) Unwrap() error { return f.error }

// usageError returns the failure of a command line that can't be run.
func usageError(err error, hint string) error { return failure{err, exitUsage, hint} }

// unknownError returns the failure of a command that could not determine or
// deliver its result.
func unknownError(err error) error { return failure{err, exitUnknown, ""} }

// joinFailures aggregates the errors of a run, nil ones left out. It is the one
// place that does so.
func joinFailures(errs ...error) error {
	return multierror.Append(nil, errs...).ErrorOrNil()
}

// splitFailures returns the errors that joinFailures has aggregated, else the error
// itself.
func splitFailures(err error) []error {
	var several *multierror.Error
	if errors.As(err, &several) {
		return several.Errors
	}
	return []error{err}
}

// exitCode returns the exit code of a run from its report, which is empty if the
// command prints none, and from the error that it ended with. Usage errors count
// first, then unmet needs, then the report, then other failures.
func exitCode(r check.Report, o verdictOptions, err error) int {
	var cause signalError
	switch {
	case errors.As(err, &cause) && (cause.signal == os.Signal(syscall.SIGTERM) || cause.signal == os.Signal(syscall.SIGHUP)):
		return exitTerminated
	case errors.As(err, &cause) && cause.signal == os.Signal(syscall.SIGQUIT):
		return exitQuit
	case errors.As(err, &cause), errors.Is(err, context.Canceled):
		return exitInterrupt
	}
	codes := []int{reportCode(r, o)}
	if err != nil {
		for _, f := range splitFailures(err) {
			codes = append(codes, failureCode(f))
		}
	}
	for _, code := range []int{exitUsage, exitUnmet} {
		if slices.Contains(codes, code) {
			return code
		}
	}
	for _, code := range codes {
		if code != exitOK {
			return code
		}
	}
	return exitOK
}

// reportCode returns the exit code for what a report shows.
func reportCode(r check.Report, o verdictOptions) int {
	if len(r.Problems) > 0 {
		return exitUsage
	}
	var unmet, unknown, warnings, ignored bool
	failing := o.failing()
	for _, result := range r.Results {
		fails := failing.Result(result)
		switch {
		case result.OK:
		case result.Status == check.Unknown:
			unknown = unknown || fails
		case fails:
			unmet = true
		case result.Severity != config.SeverityError:
			warnings = true
		default:
			ignored = true
		}
	}
	for _, t := range r.Targets {
		for _, n := range t.Notices {
			switch {
			case failing.Notice(n):
				unmet = true
			case n.Severity == config.SeverityWarning:
				warnings = true
			}
		}
	}
	switch {
	case unmet:
		return exitUnmet
	case unknown:
		return exitUnknown
	case warnings && !ignored:
		return o.warningsExit
	}
	return exitOK
}

// failureCode returns the exit code for one error. Errors that are not failures
// come from cobra and are about the command line.
func failureCode(err error) int {
	var f failure
	if errors.As(err, &f) {
		return f.code
	}
	return exitUsage
}

// printError prints the error that a run ended with.
func (a *app) printError(err error) {
	failures := splitFailures(err)
	var hints []string
	for _, one := range failures {
		a.logf("%s", safeWords(one.Error()))
		var f failure
		if errors.As(one, &f) && f.hint != "" && !slices.Contains(hints, f.hint) {
			hints = append(hints, f.hint)
		}
	}
	if ci.GitHub(a.env) {
		a.annotateErrors(failures)
	}
	for _, hint := range hints { // several failures may have one in common
		a.say(hint)
	}
}

// annotateErrors writes an annotation for each error, at its place if it has one.
func (a *app) annotateErrors(failures []error) {
	var problems []config.Problem
	for _, f := range failures {
		problems = append(problems, problemOf(f))
	}
	here, err := os.Getwd()
	if err != nil {
		here = "" // the annotations then name files as they were given
	}
	_ = report.Annotate(a.stderr, problems, report.Options{Root: a.workspace(here), Dir: here}) // the errors were printed
}

// problemOf returns an error with its place, if it is about one.
func problemOf(err error) config.Problem {
	var p config.Problem
	var unmet check.UnmetError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &unmet):
		at := unmet.Need.At
		return config.Problem{Position: at, Message: strings.TrimPrefix(err.Error(), at.String()+": ")}
	}
	return config.Problem{Message: err.Error()}
}

// safeWords is report.Safe for a message of any length. It cleans each word by
// itself, because some messages quote long lists of what is allowed.
func safeWords(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		words[i] = report.Safe(w)
	}
	return strings.Join(words, " ")
}
