package cli

import (
	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
)

func (a *app) lint() *cobra.Command {
	var o struct {
		needOptions
		outputOptions
	}
	cmd := &cobra.Command{
		Use:   "lint [flags] [MANIFEST...]",
		Short: "Find conflicts inside manifests, without opening a socket",
		Long: `Reads manifests strictly and finds needs that exclude each other, and ports that
are likely to cause trouble. It looks at nothing on this machine, so the result is
the same everywhere. The exit code is 1 if needs exclude each other, and 0 if
there are only notices.`,
		Example: `  portcheck lint
  portcheck lint -r deploy/
  portcheck lint -f json shop.yml payment.yml`,
		Args: cobra.ArbitraryArgs,
	}
	o.lint = true
	f := cmd.Flags()
	f.SortFlags = false
	o.needFlags(f)
	o.outputFlags(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out, err := a.newOutputs(o.outputOptions)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		needs, _, problems, err := a.readNeeds(ctx, args, o.needOptions, "local") // the same on every machine
		if err != nil {
			return err
		}
		r := check.Report{Version: 1, Tool: tool(), Problems: problems, Lint: true}
		if len(problems) == 0 {
			if r, err = check.Lint(ctx, needs, tool()); err != nil {
				return err
			}
		}
		return a.writeReport(ctx, out, r, verdictOptions{failOn: "warning"})
	}
	return cmd
}
