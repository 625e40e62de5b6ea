package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host"
)

func (a *app) release() *cobra.Command {
	var jobName string
	var all bool
	var targets []string
	var connect connectOptions
	cmd := &cobra.Command{
		Use:   "release [ID...] [--all] [-t TARGET]",
		Short: "End leases: those of this job, those named by ID, or all",
		Long: `Ends leases, so that their ports are free for others. Without an ID it ends those
of this job, which is found as assign finds it. A user can end the leases of that
user, and root all of them. It is no error if there is nothing to end.`,
		Example: `  portcheck release
  portcheck release 4kq2xw7hzt3n
  portcheck release -t ssh://deploy@app1 -t ssh://deploy@app2
  sudo portcheck release --all`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&all, "all", false, "end all leases that this user may end")
	jobFlag(f, &jobName)
	leaseTargets(f, &targets)
	connect.connectFlags(f)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if all && len(ids) > 0 {
			return usageError(errAllAndIDs, "see `portcheck release --help`")
		}
		ctx := cmd.Context()
		opened, err := a.openTargets(ctx, targets, connect, jobName)
		if err != nil {
			return err
		}
		defer check.CloseAll(opened)
		var failures []error
		for _, t := range opened {
			failures = append(failures, a.releaseOn(ctx, t, ids, all))
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		return joinFailures(failures...)
	}
	return cmd
}

// releaseOn ends the leases of a target that have one of the IDs, all that may be ended,
// or those of the job.
func (a *app) releaseOn(ctx context.Context, t *check.Opened, ids []string, all bool) error {
	which := host.OwnLeases
	if all || len(ids) > 0 {
		which = host.AllLeases
	}
	held, err := t.Leases(ctx, which)
	if err != nil {
		return unknownError(err)
	}
	held = slices.DeleteFunc(held, func(l host.Lease) bool {
		return all && !l.Ours || len(ids) > 0 && !slices.Contains(ids, l.ID)
	})
	var failures []error
	for _, l := range check.LeasesOf(t.Name, held).Leases {
		text := portsOf(l)
		ended, err := t.Release(ctx, l)
		switch {
		case err != nil:
			failures = append(failures, unknownError(err))
		case ended:
			a.logf("released %s", safeWords(text))
		default:
			failures = append(failures, unknownError(fmt.Errorf("the lease %s of %s can't be ended: its keeper is that of %s, or does not answer", l.ID, text, ownerOf(l))))
		}
	}
	return joinFailures(failures...)
}

// portsOf lists the first ports of a lease.
func portsOf(l check.ListedLease) string {
	ports := make([]string, 0, mostListed)
	for _, p := range l.Ports[:min(len(l.Ports), mostListed)] {
		ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	text := strings.Join(ports, ", ")
	if more := len(l.Ports) - len(ports); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if l.Target != "local" {
		text += " on " + l.Target
	}
	return text
}

// ownerOf names the user of a lease.
func ownerOf(l check.ListedLease) string {
	switch {
	case l.User != "":
		return l.User
	case l.UID != nil:
		return fmt.Sprintf("uid %d", *l.UID)
	}
	return "an unknown user"
}
