package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
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

func exitCases() map[string]struct {
	err  error
	want int
} {
	type c = struct {
		err  error
		want int
	}
	of := func(o verdictOptions, results ...check.Result) error {
		return outcome(check.Report{Results: results}, o)
	}
	free, taken, blind := found(check.Free, config.SeverityError), found(check.InUse, config.SeverityError), found(check.Unknown, config.SeverityError)
	warn := found(check.InUse, config.SeverityWarning)
	lost := errors.New("disk full")
	elsewhere := func(o verdictOptions, results ...check.Result) error {
		return outcome(check.Report{Results: results, Targets: []check.TargetReport{{Notices: []check.Notice{{Severity: config.SeverityWarning}, {}}}}}, o)
	}
	return map[string]c{
		"nothing":               {nil, exitOK},
		"met":                   {of(verdictOptions{}, free), exitOK},
		"unmet":                 {of(verdictOptions{}, free, taken), exitUnmet},
		"unknown":               {of(verdictOptions{}, free, blind), exitUnknown},
		"1 wins over 3":         {of(verdictOptions{}, blind, taken, blind), exitUnmet},
		"allowed":               {of(verdictOptions{allowUnknown: true}, blind), exitOK},
		"allowed, and unmet":    {of(verdictOptions{allowUnknown: true}, blind, taken), exitUnmet},
		"warning":               {of(verdictOptions{failOn: "error"}, warn), exitOK},
		"warning counts":        {of(verdictOptions{failOn: "warning"}, warn), exitUnmet},
		"own code":              {of(verdictOptions{failOn: "error", warningsExit: 7}, warn), 7},
		"own code, and unmet":   {of(verdictOptions{failOn: "error", warningsExit: 7}, warn, taken), exitUnmet},
		"own code, and blind":   {of(verdictOptions{failOn: "error", warningsExit: 7}, warn, blind), exitUnknown},
		"of another place":      {elsewhere(verdictOptions{failOn: "error"}, free), exitOK},
		"of another, own code":  {elsewhere(verdictOptions{failOn: "error", warningsExit: 7}, free), 7},
		"of another, counts":    {elsewhere(verdictOptions{failOn: "warning"}, free), exitUnmet},
		"never":                 {of(verdictOptions{failOn: "never", warningsExit: 7}, warn, taken), exitOK},
		"never, and blind":      {of(verdictOptions{failOn: "never"}, taken, blind), exitUnknown},
		"new status":            {of(verdictOptions{}, found("haunted", config.SeverityError)), exitUnmet},
		"manifest":              {outcome(check.Report{Problems: []config.Problem{{Message: "x"}}}, verdictOptions{failOn: "never"}), exitUsage},
		"usage":                 {usageError{errors.New("x"), ""}, exitUsage},
		"any other error":       {errors.New("unknown command"), exitUsage},
		"fewer":                 {shortfall{errors.New("x")}, exitUnmet},
		"no answer":             {unanswered{errors.New("x")}, exitUnknown},
		"not written":           {outcome(check.Report{}, verdictOptions{}, nil, unanswered{lost}), exitUnknown},
		"not written, unmet":    {outcome(check.Report{Results: []check.Result{taken}}, verdictOptions{}, unanswered{lost}), exitUnmet},
		"interrupt":             {signalled{os.Interrupt}, exitInterrupt},
		"terminated":            {signalled{syscall.SIGTERM}, exitTerminated},
		"cancelled by a caller": {context.Canceled, exitInterrupt},
	}
}

func TestExitCodes(t *testing.T) {
	met := []int{bugExit(t)}
	for name, c := range exitCases() {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		met = append(met, c.want)
	}
	for _, code := range exitCodes {
		if !slices.Contains(met, code) {
			t.Errorf("exit code %d has no case", code)
		}
	}
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("boom\n::error::x") }

func bugExit(t *testing.T) int {
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

func TestBugOfATargetShowsWhereItHappened(t *testing.T) {
	var stderr bytes.Buffer
	if code := explainBug(&stderr, panics.Panic{Value: "boom", Stack: []byte("goroutine 7\n\thost.go:1")}, []byte("goroutine 7\n\thost.go:1")); code != exitBug {
		t.Error(code)
	}
	if !strings.Contains(stderr.String(), "boom\n") || !strings.Contains(stderr.String(), "      host.go:1\n") {
		t.Error(stderr.String())
	}
}

func TestEveryCommandHasExamplesAndOneSentence(t *testing.T) {
	root := (&app{env: ci.Env{}}).root()
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

func TestRunTouchesItsOwnStreamsAlone(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Run(context.Background(), []string{"lint", "-", "-f", "json"}, nil, strings.NewReader("version: 1\nports: [{name: web, port: 8080}]\n"), &stdout, &stderr); code != exitOK || stderr.Len() > 0 {
		t.Errorf("%d: %s", code, stderr.String())
	}
	if code := Run(context.Background(), []string{"lint", "-"}, nil, nil, &stdout, &stderr); code != exitUsage {
		t.Errorf("no stdin: %d", code)
	}
}

func TestACancelledContextIsNoUsageError(t *testing.T) {
	for _, args := range [][]string{{"-p", "8080"}, {"lint", "-p", "8080"}, {"list"}, {"free", "--range", "8000-8009"}, {"probe"}, {"-"}} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(signalled{syscall.SIGTERM})
		var stdout, stderr bytes.Buffer
		if code := Run(ctx, args, nil, strings.NewReader(""), &stdout, &stderr); code != exitTerminated {
			t.Errorf("%q: %d\n%s%s", args, code, stdout.String(), stderr.String())
		}
	}
}

func TestWriteFileReplacesAsAWhole(t *testing.T) {
	dir := t.TempDir()
	name := dir + "/a/b/report.json"
	for _, text := range []string{"long text", "short"} {
		if err := writeFile(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	if err := writeFile(dir+"/a", []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}
