// Package cli is the command line: it turns flags and manifests into a run,
// tells the report, and chooses the exit code.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// app is one invocation: its streams and what it was started with.
type app struct {
	env            ci.Env
	stdin          io.Reader
	stdout, stderr io.Writer
}

// Run executes one command line and returns its exit code. It touches no global
// state and writes to the given streams alone.
func Run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if bug := recover(); bug != nil {
			code = explainBug(stderr, bug, debug.Stack())
		}
	}()
	a := &app{ci.NewEnv(env), stdin, stdout, stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
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
	check := a.check()
	a.checkFlags(root)
	root.AddCommand(check, a.lint(), a.list(), a.free(), a.version(), a.probe())
	return root
}

// suggestFlag adds the flag that was probably meant.
func suggestFlag(cmd *cobra.Command, err error) error {
	word, found := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !found {
		return err
	}
	if hint := config.DidYouMean(word, flagNames(cmd)); hint != "" {
		return fmt.Errorf("unknown flag --%s; %s", report.Safe(word), hint)
	}
	return err
}

// isTerminal says whether w is a terminal that people look at in colour.
func (a *app) colour(w io.Writer, off bool) bool {
	f, ok := w.(*os.File)
	return ok && !off && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb" && isTerminal(f)
}
