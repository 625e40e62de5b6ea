package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// addCompletion adds cobra's completion command to root, with our messages for
// unknown shells and failed writes.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
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
				return writeFailure("the script", write(cmd, args))
			}
		}
		cmd.Example = "  source <(portcheck completion bash)"
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(fmt.Errorf("completion: name a shell: %s", strings.Join(shells, ", ")), "see `portcheck completion --help`")
			}
			return usageError(fmt.Errorf("completion %q: want one of %s", strings.Join(args, " "), strings.Join(shells, ", ")), "")
		}
	}
}
