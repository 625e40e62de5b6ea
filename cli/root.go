package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "portcheck [check] [flags] [MANIFEST...]",
		Short: "Find out before a deploy which of the ports that an app needs are taken, by whom, and what to use instead",
		Long: `portcheck reads a YAML manifest of the ports that an app needs and tries each one
as the app would use it. It shows which process holds a taken port, and suggests
others. It changes nothing on the machine that it checks.

Without a MANIFEST it looks for portcheck.yml and similar names in the current
directory, else for the Compose files that Compose would read there.`,
		Example: `  portcheck                         check the manifest in this directory
  portcheck -p 8080 -p 53/udp       check two ports without a manifest
  portcheck -f json deploy/*.yml    check several manifests and print JSON
  portcheck init                    write a portcheck.yml
  portcheck lint -r .               find conflicts in manifests, open no socket
  portcheck list                    list the listening sockets of this machine
  portcheck free --range 8000-8099  print a port that can be bound now`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
	}
	root.SetOut(a.stdout) // before addCompletion, which keeps it
	root.SetErr(a.stderr)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(flagError(cmd, err), "see `"+cmd.CommandPath()+" --help`")
	})
	a.checkFlags(root)
	a.versionFlag(root)
	a.setHelp(root)
	root.AddCommand(a.check(), a.lint(), a.init(), a.list(), a.watch(), a.free(), a.assign(), a.exec(), a.verify(), a.leases(), a.release(), a.merge(), a.diff(), a.version(), a.probe(), a.keep(), a.action())
	addCompletion(root)
	a.completeValues(root)
	return root
}

// flagError rewords an error of pflag: it adds the flag that was probably meant,
// or what is wrong with a value.
func flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		f, cause := value.GetFlag(), value.Unwrap()
		if f.Value.Type() == "int" {
			cause = errors.New("want a number")
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

// noArgs is the Args function of commands without arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError(fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0]), "see `"+cmd.CommandPath()+" --help`")
}
