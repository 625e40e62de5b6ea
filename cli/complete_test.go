package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEveryFlagCompletes checks what a shell is offered for the value of every flag: the
// words of a fixed set, files or directories where it names one, and no files elsewhere.
func TestEveryFlagCompletes(t *testing.T) {
	fixed := []string{"format", "output", "fail-on", "undeclared", "source", "expect", "evidence", "ssh", "protocol", "address", "until"}
	ofMachine := []string{"holder", "job", "run-as", "target", "set", "only", "skip"} // they depend on it
	seen := map[string]bool{}
	everyCommand(func(cmd *cobra.Command) {
		cmd.SetContext(t.Context())
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() == "bool" || cmd.Hidden {
				return
			}
			seen[f.Name] = true
			name := cmd.CommandPath() + " --" + f.Name
			complete, has := cmd.GetFlagCompletionFunc(f.Name)
			value, usage := pflag.UnquoteUsage(f)
			if value == "FILE" {
				if has {
					t.Errorf("%s: no files", name)
				}
				return
			}
			if !has {
				t.Errorf("%s: offers files", name)
				return
			}
			if slices.Contains(ofMachine, f.Name) {
				return
			}
			words, directive := complete(cmd, nil, "")
			want := cobra.ShellCompDirectiveNoFileComp
			if value == "DIR" {
				want = cobra.ShellCompDirectiveFilterDirs
			}
			if directive&want == 0 {
				t.Errorf("%s: directive %d, want %d", name, directive, want)
			}
			isFixed := slices.Contains(fixed, f.Name)
			if isFixed != (len(words) > 0) {
				t.Errorf("%s: offers %q", name, words)
			}
			if isFixed && f.DefValue != "" && f.DefValue != "[]" && !slices.Contains(words, f.DefValue) {
				t.Errorf("%s: offers %q without the default %s", name, words, f.DefValue)
			}
			if f.Value.Type() == "string" && f.DefValue != "" && !isFixed {
				t.Errorf("%s: its default is %s, and nothing is offered", name, f.DefValue)
			}
			for _, word := range words {
				text := usage
				if f.Name == "output" {
					text = cmd.Flags().Lookup("format").Usage
				}
				if word = strings.TrimSuffix(word, "="); !strings.Contains(text, word) {
					t.Errorf("%s: offers %q, which its help does not name: %s", name, word, text)
				}
			}
		})
	})
	for _, name := range slices.Concat(fixed, ofMachine) {
		if !seen[name] {
			t.Errorf("no command has --%s", name)
		}
	}
}
