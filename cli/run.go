// Package cli is the command line: it turns flags and manifests into a run,
// prints the report, and chooses the exit code.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/report"
)

// app is one invocation of portcheck.
type app struct {
	env            ci.Env
	job            ci.Job
	inAction       bool // started as a container action
	stdin          io.Reader
	stdout, stderr io.Writer

	// here is the job of the working directory. All targets ask for it, and the directory
	// may be on a slow file system.
	here struct {
		sync.Once
		job
		err error
	}

	// early is what a check reads of this machine while it reads its needs.
	early *host.Early

	// claimed are the needs that flags left out. No other need may get their ports.
	claimed []check.Need

	// No output may replace an input.
	inputs  []input
	outputs []output

	// The exit code is computed from these. A command that writes a report sets
	// them.
	report  check.Report
	verdict verdictOptions
}

// Main is Run for a process, whose signals it catches until the end: one that comes late
// would take the place of the exit code.
func Main() int {
	collectLate()
	args, env := os.Args[1:], os.Environ()
	early := readEarly(args) // first, since signals keep two threads busy
	ctx, _ := withSignals(context.Background())
	return run(ctx, args, env, os.Stdin, os.Stdout, os.Stderr, early)
}

// Run executes one command line and returns its exit code. It changes no global
// state and uses no streams but the given ones.
func Run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return run(ctx, args, env, stdin, stdout, stderr, readEarly(args))
}

// readEarly begins to read what a check needs, if the command line is that of one.
func readEarly(args []string) *host.Early {
	if len(args) > 0 && args[0] != "check" && (&app{}).commands()[args[0]] != nil {
		return nil
	}
	return host.ReadEarly()
}

func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer, early *host.Early) (code int) {
	out, errs := &cancellableWriter{ctx: ctx, writer: stdout}, &cancellableWriter{ctx: ctx, writer: stderr}
	defer func() {
		if value := recover(); value != nil {
			stack := debug.Stack()
			if p, ok := value.(panics.Panic); ok {
				stack = p.Stack
			}
			code = printPanic(errs, value, stack)
		}
	}()
	a := &app{env: ci.NewEnv(env), stdin: cancellableReader{ctx, stdin}, stdout: out, stderr: errs, early: early}
	a.job = ci.ReadJob(a.env)
	root := a.root(args)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && (out.stuck.Load() || exitCode(a.report, a.verdict, err) != exitOK) {
		err = context.Cause(ctx) // err is a consequence of it
	}
	if err != nil {
		a.failShell(root, args)
		a.printError(err)
	}
	if errs.stuck.Load() {
		err = context.Cause(ctx)
	}
	return exitCode(a.report, a.verdict, err)
}

// failShell prints a command that fails if the output is for a shell to run: the exit code
// of what is inside of eval "$(...)" is lost.
func (a *app) failShell(root *cobra.Command, args []string) {
	cmd, args, err := root.Find(args)
	if err == nil && cmd.Name() == "assign" && valueIn(args, cmd.Flags(), "format") == "shell" {
		_, _ = fmt.Fprintln(a.stdout, "false") // the error that follows is what counts
	}
}

// valueIn returns the value that arguments give to a flag, empty if they give none. Other
// flags may be unknown, or have values that are wrong.
func valueIn(args []string, flags *pflag.FlagSet, name string) string {
	lenient := pflag.NewFlagSet("", pflag.ContinueOnError)
	lenient.SetOutput(io.Discard)
	lenient.ParseErrorsAllowlist.UnknownFlags = true
	values := map[string]*anyValue{}
	flags.VisitAll(func(f *pflag.Flag) {
		values[f.Name] = new(anyValue)
		lenient.AddFlag(&pflag.Flag{Name: f.Name, Shorthand: f.Shorthand, NoOptDefVal: f.NoOptDefVal, Value: values[f.Name]})
	})
	_ = lenient.Parse(args) // the last flag may lack its value
	return values[name].String()
}

// anyValue is the value of a flag that takes any text.
type anyValue string

func (v *anyValue) String() string        { return string(*v) }
func (v *anyValue) Set(text string) error { *v = anyValue(text); return nil }
func (v *anyValue) Type() string          { return "string" }

// printPanic prints a panic as a bug to report.
func printPanic(w io.Writer, value any, stack []byte) int {
	fmt.Fprintf(w, "portcheck: this is a bug in %s, not in your manifest: %s\n", tool(), report.Safe(fmt.Sprint(value)))
	fmt.Fprintln(w, "The ports were not checked. Please report it at https://github.com/org/portcheck/issues with this:")
	for line := range strings.Lines(string(stack)) {
		fmt.Fprintln(w, "  "+report.Safe(strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    ")))
	}
	return exitBug
}

// logf writes a message for people to stderr.
func (a *app) logf(format string, args ...any) {
	a.say(fmt.Sprintf("portcheck: "+format, args...))
}

// say writes a line to stderr. On a terminal it is broken between words.
func (a *app) say(line string) {
	const indent = "    "
	lines := []string{line}
	if width := a.width(a.stderr); width >= minHelpWidth {
		lines = report.Wrap(line, width-len(indent))
	}
	fmt.Fprintln(a.stderr, strings.Join(lines, "\n"+indent))
}
