// Package cli is the command line: it turns flags and manifests into a run,
// tells the report, and chooses the exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/report"
)

// app is one invocation: its streams and what it was started with.
type app struct {
	env            ci.Env
	job            ci.Job
	inAction       bool // a container action runs us
	stdin          io.Reader
	stdout, stderr io.Writer
}

// Run executes one command line and returns its exit code. It touches no global
// state and writes to the given streams alone.
func Run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if bug := recover(); bug != nil {
			stack := debug.Stack()
			if elsewhere, ok := bug.(panics.Panic); ok {
				stack = elsewhere.Stack
			}
			code = explainBug(stderr, bug, stack)
		}
	}()
	a := &app{env: ci.NewEnv(env), stdin: interruptible{ctx, stdin}, stdout: stdout, stderr: stderr}
	a.job = ci.ReadJob(a.env)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever it was that the end of ctx has interrupted
	}
	if err != nil {
		a.explain(err)
	}
	return exitCode(err)
}

// explainBug says what to report of a panic.
func explainBug(w io.Writer, bug any, stack []byte) int {
	fmt.Fprintf(w, "portcheck: this is a bug in %s, not in your manifest: %s\n", tool(), report.Safe(fmt.Sprint(bug)))
	fmt.Fprintln(w, "Nothing is known about your ports. Please report it at https://github.com/org/portcheck/issues with this:")
	for line := range strings.Lines(string(stack)) {
		fmt.Fprintln(w, "  "+report.Safe(strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    ")))
	}
	return exitBug
}

// say writes one line for people to stderr.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, "portcheck: "+format+"\n", args...)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "portcheck [check] [flags] [MANIFEST...]",
		Short: "Find out before a deploy which of the ports that an app needs are taken, by whom, and what to use instead",
		Long: `portcheck reads a YAML manifest of the ports that an app needs, tries each one as
the app would, names who holds a taken port and suggests others. It changes
nothing on the machine that it looks at.

Without a MANIFEST it looks for portcheck.yml and the like in this directory.`,
		Example: `  portcheck                         check the manifest in this directory
  portcheck -p 8080 -p 53/udp       check two ports, no manifest needed
  portcheck -f json deploy/*.yml    check several manifests, for a program to read
  portcheck lint -r .               find conflicts in all manifests, without a socket
  portcheck list                    show who listens on this machine
  portcheck free --range 8000-8099  print a port that can be bound now`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{suggestFlag(cmd, err), "see `" + cmd.CommandPath() + " --help`"}
	})
	a.checkFlags(root)
	root.AddCommand(a.check(), a.lint(), a.list(), a.free(), a.merge(), a.version(), a.probe(), a.action())
	completion(root)
	return root
}

// completion has cobra make its command now, and makes a wrong shell an error.
func completion(root *cobra.Command) {
	root.InitDefaultCompletionCmd("completion") // any argument: it is made for calls that have some
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		var shells []string
		for _, shell := range cmd.Commands() {
			shell.Args = noArgs
			shell.Example = "  portcheck completion " + shell.Name() + " > portcheck." + shell.Name()
			shells = append(shells, shell.Name())
			write := shell.RunE
			shell.RunE = func(cmd *cobra.Command, args []string) error {
				return unwritten("the script", write(cmd, args))
			}
		}
		cmd.Example = "  source <(portcheck completion bash)"
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(_ *cobra.Command, args []string) error {
			return usageError{fmt.Errorf("completion %q: want one of %s", strings.Join(args, " "), strings.Join(shells, ", ")), ""}
		}
	}
}

// suggestFlag adds the flag that was probably meant, or says in our words what
// is wrong with a value.
func suggestFlag(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		f, cause := value.GetFlag(), value.Unwrap()
		switch f.Value.Type() {
		case "int":
			cause = errors.New("want a number")
		case "duration":
			if _, ours := f.Value.(*waitFlag); !ours {
				cause = errBadDuration
			}
		}
		return fmt.Errorf("--%s %q: %w", f.Name, value.GetValue(), cause)
	}
	word, found := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !found {
		return err
	}
	if hint := config.DidYouMean("--"+word, flagNames(cmd)); hint != "" {
		return fmt.Errorf("unknown flag --%s; %s", report.Safe(word), hint)
	}
	return err
}

// noArgs says what to do with words that a command does not take.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s takes no arguments, but there is %q", cmd.CommandPath(), args[0]), "see `" + cmd.CommandPath() + " --help`"}
}

// colour says whether w is a terminal that people look at in colour.
func (a *app) colour(w io.Writer, off bool) bool {
	f, ok := w.(*os.File)
	return ok && !off && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb" && isTerminal(f)
}

// width is how many columns w has as a terminal at which somebody sits, else 0:
// CI systems may give a job a terminal and keep what is written there as a log,
// and editors that call theirs dumb look for lines as compilers write them.
func (a *app) width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || a.env["TERM"] == "dumb" || a.job.System != "" || ci.GitHub(a.env) || !isTerminal(f) {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 {
		return 80 // a serial line, for one, does not know
	}
	return columns
}
