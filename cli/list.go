package cli

import (
	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

func (a *app) list() *cobra.Command {
	var spec, format string
	var show, noColor bool
	var reach reachOptions
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "Show who listens: endpoint, process, pid, user, unit or container",
		Example: `  portcheck list
  portcheck list -f json`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&spec, "target", "t", "auto", "where to look: `TARGET` is "+config.TargetSyntax())
	f.StringVarP(&format, "format", "f", "text", "text or json")
	f.BoolVar(&show, "show-command", false, "show command lines, which may hold secrets")
	reach.reachFlags(f)
	f.BoolVar(&noColor, "no-color", false, "no colours")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.onTarget(spec, reach, func(t check.Target) error {
			listing, err := check.List(cmd.Context(), t, check.Options{ShowCommand: show, Timeout: reach.timeout})
			if err != nil {
				return unanswered{err}
			}
			if err := report.List(a.stdout, listing, format, report.Options{Color: a.colour(a.stdout, noColor)}); err != nil {
				if _, known := report.ListFormats[format]; known {
					return unwritten("the list", err)
				}
				return usageError{err, ""}
			}
			return report.TargetNotices(a.stderr, listing.Targets)
		})
	}
	return cmd
}
