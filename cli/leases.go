package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/report"
)

func (a *app) leases() *cobra.Command {
	var format string
	var targets []string
	var connect connectOptions
	cmd := &cobra.Command{
		Use:   "leases [-f FORMAT] [-t TARGET]",
		Short: "List the ports that jobs hold on this machine, or on a target",
		Long: `Lists the leases of a network namespace, those of all users; on systems other than
Linux, those of this user. A keeper is the process that holds a lease. All of them
together have 750 ms for an answer, and what they have not said then is left out.`,
		Example: `  portcheck leases
  portcheck leases -f json
  portcheck leases -t ssh://deploy@app1 -t ssh://deploy@app2`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&format, "format", "f", "text", "text or json")
	leaseTargets(f, &targets)
	connect.connectFlags(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		write, err := report.LeasesFormats.Lookup(format)
		if err != nil {
			return usageError(err, config.DidYouMean(format, report.LeasesFormats.Names()))
		}
		ctx := cmd.Context()
		opened, err := a.openTargets(ctx, targets, connect, "")
		if err != nil {
			return err
		}
		defer check.CloseAll(opened)
		all, err := leasesOf(ctx, opened, host.AllLeases)
		if err != nil && len(opened) == 1 || ctx.Err() != nil {
			return err
		}
		text, failed := render(ctx, write, all, report.Options{Width: a.width(a.stdout)})
		if failed == nil {
			failed = text.writeTo(a.stdout)
		}
		return joinFailures(err, writeFailure("the leases", failed))
	}
	return cmd
}

// leaseTargets is the flag --target of commands about leases.
func leaseTargets(f *pflag.FlagSet, targets *[]string) {
	*targets = []string{"auto"}
	addList(f, targets, "target", "t", "`TARGET` that has the leases (repeatable): "+config.TargetSyntax())
}

// leasesOf returns the leases of targets, and a failure for each that has not answered.
func leasesOf(ctx context.Context, opened []*check.Opened, which host.LeaseList) (check.Leases, error) {
	all := check.Leases{Version: 1}
	var failures []error
	for _, t := range opened {
		held, err := t.Leases(ctx, which)
		if err != nil {
			failures = append(failures, unknownError(err))
			continue
		}
		all.Leases = append(all.Leases, check.LeasesOf(t.Name, held).Leases...)
	}
	if ctx.Err() != nil {
		return all, context.Cause(ctx)
	}
	return all, joinFailures(failures...)
}
