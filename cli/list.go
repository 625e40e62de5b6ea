package cli

import (
	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

func (a *app) list() *cobra.Command {
	var spec, format string
	var showCommand, noColor bool
	var connect connectOptions
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List listening sockets with process, PID, user, and unit or container",
		Example: `  portcheck list
  portcheck list -f json`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&spec, "target", "t", "auto", "where to look: `TARGET` is "+config.TargetSyntax())
	f.StringVarP(&format, "format", "f", "text", "text or json")
	f.BoolVar(&showCommand, "show-command", false, "show command lines; they may contain secrets")
	connect.connectFlags(f)
	f.BoolVar(&noColor, "no-color", false, "no colours")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.onTarget(spec, connect, func(t check.Target) error {
			listing, err := check.List(cmd.Context(), t, check.Options{ShowCommand: showCommand, Timeout: connect.timeout})
			if err != nil {
				return unknownError(err)
			}
			if err := report.List(a.stdout, listing, format, report.Options{Color: a.color(a.stdout, noColor)}); err != nil {
				if _, known := report.ListFormats[format]; known {
					return writeFailure("the list", err)
				}
				return usageError(err, "")
			}
			return report.TargetNotices(a.stderr, listing.Targets)
		})
	}
	return cmd
}
