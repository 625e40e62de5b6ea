package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/ci"
)

// TestHelpFits checks the help of every command at several widths.
func TestHelpFits(t *testing.T) {
	for _, width := range []int{minHelpWidth, helpWidth, 120} {
		var walk func(cmd *cobra.Command)
		walk = func(cmd *cobra.Command) {
			cmd.InitDefaultHelpFlag()
			for line := range strings.Lines(helpText(cmd, width)) {
				line = strings.TrimSuffix(line, "\n")
				copied := strings.Contains(cmd.Example, line) || strings.HasPrefix(line, "\t") || strings.Contains(line, docsURL)
				if utf8.RuneCountInString(line) > width && !copied {
					t.Errorf("%s at %d columns: %q", cmd.CommandPath(), width, line)
				}
				if utf8.RuneCountInString(line) > helpWidth && strings.Contains(cmd.Example, line) {
					t.Errorf("%s: an example has more than %d columns: %q", cmd.CommandPath(), helpWidth, line)
				}
			}
			for _, c := range cmd.Commands() {
				walk(c)
			}
		}
		walk((&app{env: ci.Env{}}).root(nil))
	}
}

// TestHelpHasEveryFlagOnce checks that no flag is lost between the groups.
func TestHelpHasEveryFlagOnce(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.InitDefaultHelpFlag()
		text := helpText(cmd, helpWidth)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			lines := 0
			for line := range strings.Lines(text) {
				if start := strings.TrimSpace(line[:min(len(line), 6)]); strings.HasPrefix(line[min(len(line), 6):], "--"+f.Name+" ") && (start == "" || start == "-"+f.Shorthand+",") {
					lines++
				}
			}
			if n := lines; n != 1 {
				t.Errorf("%s: --%s is there %d times", cmd.CommandPath(), f.Name, n)
			}
		})
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk((&app{env: ci.Env{}}).root(nil))
}
