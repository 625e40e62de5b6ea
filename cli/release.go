package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
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
			return usageError(errors.New("--all and IDs exclude each other"), "see `portcheck release --help`")
		}
		if cmd.Flags().Changed("job") && (all || len(ids) > 0) {
			return usageError(errors.New("--job is about the leases of one job: it excludes --all and IDs"), "leave one of them out, see `portcheck release --help`")
		}
		for _, id := range ids {
			if !isLeaseID(id) {
				return usageError(fmt.Errorf("%.40q is not the ID of a lease: want %d letters and digits, such as 4kq2xw7hzt3n", id, leaseIDLength), "`portcheck leases` lists the IDs")
			}
		}
		ctx := cmd.Context()
		opened, err := a.openTargets(ctx, targets, connect, jobName)
		if err != nil {
			return err
		}
		defer check.CloseAll(opened)
		var failures []error
		found, silent := map[string]bool{}, false
		for _, t := range opened {
			r, err := leasesToRelease(ctx, t, ids, all)
			if err == nil {
				err = a.releaseOn(ctx, t, r.leases)
			}
			failures = append(failures, err)
			for _, l := range r.leases {
				found[l.ID] = true
			}
			if len(r.silent) > 0 && !all {
				silent = true
				failures = append(failures, silentFailure(t, r.silent))
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		for _, id := range ids {
			if !found[id] && !silent && joinFailures(failures...) == nil {
				a.logf("no lease has the ID %s, so it has ended already", id)
			}
		}
		err = joinFailures(failures...)
		switch {
		case err != nil || len(found) > 0 || len(ids) > 0:
		case all:
			a.logf("there is no lease that this user may end")
		default:
			a.logf("there is no lease of this job that this user may end; `portcheck leases` lists all")
		}
		return err
	}
	return cmd
}

// isLeaseID reports whether a text has the form of the IDs that assign gives.
func isLeaseID(text string) bool {
	return len(text) == leaseIDLength && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '2' || r > '7')
	})
}

// toRelease are leases of a target that have to end, and those of which it is not known.
type toRelease struct {
	leases []check.ListedLease
	silent []host.Lease
}

// leasesToRelease returns the leases of a target that have one of the IDs, all that may be
// ended, or those of the job.
func leasesToRelease(ctx context.Context, t *check.Opened, ids []string, all bool) (toRelease, error) {
	var r toRelease
	var held []host.Lease
	var err error
	if !all && len(ids) == 0 {
		held, r.silent, err = t.OwnLeases(ctx)
	} else if held, err = t.Leases(ctx, host.AllLeases); err == nil {
		found := map[string]bool{}
		for _, l := range held {
			found[l.ID] = true
		}
		missing := slices.ContainsFunc(ids, func(id string) bool { return !found[id] })
		for _, l := range held {
			if l.ID == "" && l.Ours && missing {
				r.silent = append(r.silent, l)
			}
		}
		held = slices.DeleteFunc(held, func(l host.Lease) bool {
			return all && !l.Ours || len(ids) > 0 && !slices.Contains(ids, l.ID)
		})
	}
	r.leases = check.LeasesOf(t.Name, held).Leases
	if err != nil {
		err = unknownError(err)
	}
	return r, err
}

// silentFailure returns the failure for leases that may have been meant.
func silentFailure(t *check.Opened, held []host.Lease) error {
	text := silentText(t, held)
	return failure{fmt.Errorf("not every lease could be asked, so some that were meant may stay: the process that holds %s does not answer", text), exitUnknown, "if it is stopped, `kill -CONT` it and release again, or end it with `kill -KILL`"}
}

// silentText names leases of which the keepers have not answered.
func silentText(t *check.Opened, held []host.Lease) string {
	var texts []string
	for _, l := range check.LeasesOf(t.Name, held).Leases {
		texts = append(texts, portsOf(l)+keeperOf(l))
	}
	some := texts[:min(len(texts), mostListed)]
	text := strings.Join(some, "; ")
	if more := len(texts) - len(some); more > 0 {
		text += fmt.Sprintf("; %d more", more)
	}
	return text
}

// keeperOf names the process of a lease.
func keeperOf(l check.ListedLease) string {
	if l.PID <= 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", l.PID)
}

// releaseOn ends leases of a target, side by side: a keeper may not answer.
func (a *app) releaseOn(ctx context.Context, t *check.Opened, leases []check.ListedLease) error {
	failures, caught := make([]error, len(leases)), make([]*panics.Panic, len(leases))
	var running sync.WaitGroup
	slots := make(chan struct{}, leaseParallel)
	for i, l := range leases {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			caught[i] = panics.Catch(func() { failures[i] = releaseOne(ctx, t, l) })
		})
	}
	running.Wait()
	for _, p := range caught {
		p.Repanic()
	}
	for i, l := range leases {
		if failures[i] == nil {
			a.logf("released %s", safeWords(portsOf(l)))
		}
	}
	return joinFailures(failures...)
}

// releaseOne ends a lease.
func releaseOne(ctx context.Context, t *check.Opened, l check.ListedLease) error {
	text := portsOf(l)
	ended := false
	if l.ID != "" { // else its keeper has not answered
		var err error
		if ended, err = t.Release(ctx, l); err != nil {
			return unknownError(err)
		}
	}
	switch {
	case ended:
		return nil
	case l.ID == "":
		return failure{fmt.Errorf("the lease of %s can't be ended: the process of %s that holds it%s does not answer", text, ownerOf(l), keeperOf(l)), exitUnknown, endKeeper(l)}
	case !l.Ours:
		return unknownError(fmt.Errorf("the lease %s of %s can't be ended: it is a lease of %s, which that user and root may end", l.ID, text, ownerOf(l)))
	}
	return failure{fmt.Errorf("the lease %s of %s can't be ended: the process of %s that holds it%s does not answer, or does not know the user that asks, who is outside of its user namespace", l.ID, text, ownerOf(l), keeperOf(l)), exitUnknown, endKeeper(l)}
}

// endKeeper returns how to end a lease by the process that holds it.
func endKeeper(l check.ListedLease) string {
	if l.PID <= 0 {
		return "it runs in another PID namespace: run release in there"
	}
	return fmt.Sprintf("if it is stopped, `kill -CONT %d` and release again; else `kill %[1]d` ends the lease", l.PID)
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
	return cmp.Or(check.UserText(l.User, l.UID), "an unknown user")
}
