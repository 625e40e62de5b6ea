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
are likely to cause trouble. A manifest is a portcheck.yml, a Compose file, objects
of Kubernetes or a workflow of GitHub. It looks at no port of this machine; only
Compose files depend on variables. The exit code is 1 if needs exclude each other,
and 0 if there are only notices.`,
		Example: `  portcheck lint
  portcheck lint -r deploy/
  portcheck lint compose.yaml
  portcheck lint k8s/*.yaml .github/workflows/*.yml
  helm template shop chart/ | portcheck lint --source kubernetes -
  portcheck lint -f json shop.yml payment.yml`,
		Args: cobra.ArbitraryArgs,
	}
	o.lint = true
	f := cmd.Flags()
	f.SortFlags = false
	o.needFlags(f, "compare")
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
