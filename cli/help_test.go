package cli

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/ci"
)

// everyCommand calls f with root and all commands below it, hidden ones as well.
func everyCommand(f func(*cobra.Command)) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.InitDefaultHelpFlag()
		f(cmd)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk((&app{env: ci.Env{}}).allCommands())
}

// TestHelpFits checks the help of every command at several widths: only a word that
// can't be broken may be longer than a line.
func TestHelpFits(t *testing.T) {
	for _, width := range []int{40, 60, helpWidth, 120, 200} {
		everyCommand(func(cmd *cobra.Command) {
			text := helpText(cmd, width)
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				words := shellWords(strings.TrimSuffix(strings.TrimSpace(line), " \\"))
				alone := len(words) == 1
				if utf8.RuneCountInString(line) > width && !alone {
					t.Errorf("%s at %d columns: %q", cmd.CommandPath(), width, line)
				}
			}
			// A command that is broken is still the same for a shell.
			whole := strings.ReplaceAll(text, " \\\n      ", " ")
			for line := range strings.SplitSeq(cmd.Example, "\n") {
				command, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
				if !strings.Contains(whole, "  "+command) {
					t.Errorf("%s at %d columns: no %q in\n%s", cmd.CommandPath(), width, command, text)
				}
			}
		})
	}
}

// TestHelpHasExitCodes checks that the help of every command says how it ends.
func TestHelpHasExitCodes(t *testing.T) {
	everyCommand(func(cmd *cobra.Command) {
		_, codes, _ := strings.Cut(helpText(cmd, helpWidth), "\nExit codes:\n")
		for _, code := range []string{"0", "2", "3", "70", "130, 131, 143"} {
			if !strings.HasPrefix(codes, "  "+code+" ") && !strings.Contains(codes, "\n  "+code+" ") {
				t.Errorf("%s: no exit code %s", cmd.CommandPath(), code)
			}
		}
		for _, signal := range []string{"SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"} {
			if !strings.Contains(codes, signal) {
				t.Errorf("%s: no exit code for %s", cmd.CommandPath(), signal)
			}
		}
		_, own := exitsOf[cmd.CommandPath()]
		if texts := []string{"version", "help", "completion"}; cmd.HasParent() && !own && !slices.Contains(texts, cmd.Name()) && cmd.Parent().Name() != "completion" {
			t.Errorf("%s: what its exit codes mean is missing", cmd.CommandPath())
		}
	})
}

// TestHelpHasRealDefaults checks that a default is a value that does something.
func TestHelpHasRealDefaults(t *testing.T) {
	everyCommand(func(cmd *cobra.Command) {
		for _, nonsense := range []string{"(default 0s)", "(default 0)", "(default [", "(default )", `(default "`, "(default false)"} {
			if strings.Contains(strings.Join(strings.Fields(helpText(cmd, 200)), " "), nonsense) {
				t.Errorf("%s: %s", cmd.CommandPath(), nonsense)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.DefValue == "0s" { // manuals show it as well
				t.Errorf("%s: --%s has the default 0s", cmd.CommandPath(), f.Name)
			}
		})
	})
}

// TestHelpHasEveryFlagOnce checks that no flag is lost between the groups.
func TestHelpHasEveryFlagOnce(t *testing.T) {
	everyCommand(func(cmd *cobra.Command) {
		text := helpText(cmd, helpWidth)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			lines := 0
			for line := range strings.Lines(text) {
				before, after := line[:min(len(line), 6)], line[min(len(line), 6):]
				if start := strings.TrimSpace(before); (start == "" || start == "-"+f.Shorthand+",") && strings.HasPrefix(strings.TrimSuffix(strings.Replace(after, "[", " ", 1), "\n")+" ", "--"+f.Name+" ") {
					lines++
				}
			}
			if lines != 1 {
				t.Errorf("%s: --%s is there %d times", cmd.CommandPath(), f.Name, lines)
			}
		})
	})
}
