package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/panics"
)

func found(s check.Status, severity config.Severity) check.Result {
	return check.Result{Name: "web", Status: s, Severity: severity, OK: s.OK()}
}

func TestExitCodes(t *testing.T) {
	type run struct {
		report  check.Report
		options verdictOptions
		err     error
		want    int
	}
	of := func(want int, o verdictOptions, results ...check.Result) run {
		return run{check.Report{Results: results}, o, nil, want}
	}
	free, taken, unknown := found(check.Free, config.SeverityError), found(check.InUse, config.SeverityError), found(check.Unknown, config.SeverityError)
	warning, unknownWarning := found(check.InUse, config.SeverityWarning), found(check.Unknown, config.SeverityWarning)
	noticed := func(want int, o verdictOptions, results ...check.Result) run {
		targets := []check.TargetReport{{Notices: []check.Notice{{Severity: config.SeverityWarning}, {}}}}
		return run{check.Report{Results: results, Targets: targets}, o, nil, want}
	}
	failed := func(want int, err error, o verdictOptions, results ...check.Result) run {
		return run{check.Report{Results: results}, o, err, want}
	}
	problem := check.Report{Problems: []config.Problem{{Message: "x"}}, Results: []check.Result{taken}}
	x := errors.New("x")
	lost, few := unknownError(x), failure{x, exitUnmet, ""}
	usage := usageError(x, "")

	codes := []int{panicExit(t)}
	for name, c := range map[string]run{
		"nothing":                     {want: exitOK},
		"met":                         of(exitOK, verdictOptions{}, free),
		"unmet":                       of(exitUnmet, verdictOptions{}, free, taken),
		"unknown":                     of(exitUnknown, verdictOptions{}, free, unknown),
		"unmet and unknown":           of(exitUnmet, verdictOptions{}, unknown, taken, unknown),
		"unknown allowed":             of(exitOK, verdictOptions{allowUnknown: true}, unknown),
		"unknown allowed, unmet":      of(exitUnmet, verdictOptions{allowUnknown: true}, unknown, taken),
		"unknown warning":             of(exitOK, verdictOptions{failOn: "error"}, unknownWarning),
		"unknown warning, own code":   of(exitOK, verdictOptions{failOn: "error", warningsExit: 7}, unknownWarning),
		"unknown warning counts":      of(exitUnknown, verdictOptions{failOn: "warning"}, unknownWarning),
		"warning":                     of(exitOK, verdictOptions{failOn: "error"}, warning),
		"warning counts":              of(exitUnmet, verdictOptions{failOn: "warning"}, warning),
		"warning counts, own code":    of(exitUnmet, verdictOptions{failOn: "warning", warningsExit: 7}, warning),
		"own code":                    of(7, verdictOptions{failOn: "error", warningsExit: 7}, free, warning),
		"own code, all met":           of(exitOK, verdictOptions{failOn: "error", warningsExit: 7}, free),
		"own code, unmet":             of(exitUnmet, verdictOptions{failOn: "error", warningsExit: 7}, warning, taken),
		"own code, unknown":           of(exitUnknown, verdictOptions{failOn: "error", warningsExit: 7}, warning, unknown),
		"notice":                      noticed(exitOK, verdictOptions{failOn: "error"}, free),
		"notice, own code":            noticed(7, verdictOptions{failOn: "error", warningsExit: 7}, free),
		"notice counts":               noticed(exitUnmet, verdictOptions{failOn: "warning"}, free),
		"notice counts, unknown":      noticed(exitUnmet, verdictOptions{failOn: "warning"}, unknown),
		"never":                       of(exitOK, verdictOptions{failOn: "never"}, taken, warning),
		"never, own code":             of(exitOK, verdictOptions{failOn: "never", warningsExit: 7}, warning, taken),
		"never, own code, warnings":   of(7, verdictOptions{failOn: "never", warningsExit: 7}, warning),
		"never, unknown":              of(exitUnknown, verdictOptions{failOn: "never"}, taken, unknown),
		"new status":                  of(exitUnmet, verdictOptions{}, found("haunted", config.SeverityError)),
		"manifest":                    {problem, verdictOptions{failOn: "never"}, nil, exitUsage},
		"manifest, not written":       {problem, verdictOptions{}, joinFailures(lost), exitUsage},
		"usage":                       {err: usage, want: exitUsage},
		"an error of cobra":           {err: errors.New("unknown command"), want: exitUsage},
		"fewer":                       {err: few, want: exitUnmet},
		"no answer":                   {err: lost, want: exitUnknown},
		"not written":                 failed(exitUnknown, joinFailures(nil, lost), verdictOptions{}, free),
		"not written, unmet":          failed(exitUnmet, joinFailures(lost), verdictOptions{}, taken),
		"not written, own code":       failed(7, joinFailures(lost), verdictOptions{warningsExit: 7}, warning),
		"not written, fewer":          {err: joinFailures(lost, few), want: exitUnmet},
		"not written, fewer, usage":   {err: joinFailures(lost, few, usage), want: exitUsage},
		"all written":                 failed(exitOK, joinFailures(nil, nil), verdictOptions{}, free),
		"interrupt":                   {err: signalError{os.Interrupt}, want: exitInterrupt},
		"quit":                        {err: signalError{syscall.SIGQUIT}, want: exitQuit},
		"terminated":                  {err: signalError{syscall.SIGTERM}, want: exitTerminated},
		"terminated, unmet":           failed(exitTerminated, signalError{syscall.SIGTERM}, verdictOptions{}, taken),
		"cancelled by a caller":       {err: context.Canceled, want: exitInterrupt},
		"a cancelled request, failed": {err: unknownError(fmt.Errorf("probe: %w", context.Canceled)), want: exitInterrupt},
	} {
		if got := exitCode(c.report, c.options, c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		codes = append(codes, c.want)
	}
	for _, code := range exitCodes {
		if !slices.Contains(codes, code) {
			t.Errorf("exit code %d has no case", code)
		}
	}
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("boom\n::error::x") }

func panicExit(t *testing.T) int {
	t.Helper()
	var stderr bytes.Buffer
	code := Run(context.Background(), []string{"version"}, nil, nil, panicking{}, &stderr)
	for _, want := range []string{"this is a bug in portcheck", `boom\n::error::x`, "https://github.com/org/portcheck/issues", "exit_test.go"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in:\n%s", want, stderr.String())
		}
	}
	return code
}

func TestPanicOfATargetShowsItsStack(t *testing.T) {
	var stderr bytes.Buffer
	if code := printPanic(&stderr, panics.Panic{Value: "boom", Stack: []byte("goroutine 7\n\thost.go:1")}, []byte("goroutine 7\n\thost.go:1")); code != exitBug {
		t.Error(code)
	}
	if !strings.Contains(stderr.String(), "boom\n") || !strings.Contains(stderr.String(), "      host.go:1\n") {
		t.Error(stderr.String())
	}
}

func TestEveryCommandHasExamplesAndAShortText(t *testing.T) {
	root := (&app{env: ci.Env{}}).allCommands()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s: Example and Short", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.Contains(line, "portcheck") {
				t.Errorf("%s: %q", cmd.CommandPath(), line)
			}
		}
		if cmd != root && cmd.HasParent() && cmd.Parent() == root && !cmd.Hidden && !slices.Contains(commandNames, cmd.Name()) {
			t.Errorf("%s is not among the names that a mistyped command is compared with", cmd.Name())
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
}

func TestRunUsesOnlyItsStreams(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Run(context.Background(), []string{"lint", "-", "-f", "json"}, nil, strings.NewReader("version: 1\nports: [{name: web, port: 8080}]\n"), &stdout, &stderr); code != exitOK || stderr.Len() > 0 {
		t.Errorf("%d: %s", code, stderr.String())
	}
	if code := Run(context.Background(), []string{"lint", "-"}, nil, nil, &stdout, &stderr); code != exitUsage {
		t.Errorf("no stdin: %d", code)
	}
	for arg, want := range map[string]*bytes.Buffer{"--help": &stdout, "__complete": &stderr} { // both are printed by cobra
		stdout.Reset()
		stderr.Reset()
		if code := Run(context.Background(), []string{arg, ""}, nil, nil, &stdout, &stderr); code != exitOK || want.Len() == 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", arg, code, stdout.String(), stderr.String())
		}
	}
}

func TestCancelledContextIsNotAUsageError(t *testing.T) {
	for _, args := range [][]string{{"-p", "8080"}, {"lint", "-p", "8080"}, {"list"}, {"free", "--range", "8000-8009"}, {"probe"}, {"-"}} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(signalError{syscall.SIGTERM})
		var stdout, stderr bytes.Buffer
		if code := Run(ctx, args, nil, strings.NewReader(""), &stdout, &stderr); code != exitTerminated {
			t.Errorf("%q: %d\n%s%s", args, code, stdout.String(), stderr.String())
		}
	}
}

func TestWriteFileReplacesAtomically(t *testing.T) {
	dir := t.TempDir()
	name := dir + "/a/b/report.json"
	for _, text := range []string{"long text", "short"} {
		if err := writeFile(t.Context(), name, page{[]byte(text)}, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	mode := os.FileMode(0o644)
	if runtime.GOOS == "windows" { // of the bits it has only whether a file may be written
		mode = 0o666
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
		t.Errorf("%v, %v", info, err)
	}
	if err := writeFile(t.Context(), dir+"/a", page{[]byte("x")}, nil); err == nil {
		t.Error("a directory was replaced")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// cancelling is a writer that cancels a run with its first write, as a signal
// would that arrives while the report is written.
type cancelling struct{ cancel func() }

func (c cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return len(p), nil
}

func TestCancelledWhileTheReportIsWritten(t *testing.T) {
	for manifest, want := range map[string]struct {
		code   int
		stderr string
	}{
		"version: 1\nports: [{name: web, port: 8080}]\n":                          {exitOK, ""},
		"version: 1\nports: [{name: web, port: 8080}, {name: api, port: 8080}]\n": {exitTerminated, "portcheck: cancelled by signal: terminated\n"},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		var stderr bytes.Buffer
		stdout := cancelling{func() { cancel(signalError{syscall.SIGTERM}) }}
		if code := Run(ctx, []string{"lint", "-"}, nil, strings.NewReader(manifest), stdout, &stderr); code != want.code || stderr.String() != want.stderr {
			t.Errorf("%s: exit code %d, want %d: %s", manifest, code, want.code, stderr.String())
		}
	}
}

func TestReportsNameTheVersion(t *testing.T) {
	defer func(old string) { version = old }(version)
	for set, want := range map[string]string{"v0.1.0": "portcheck v0.1.0", "": "portcheck devel"} {
		version = set
		if got := tool(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
