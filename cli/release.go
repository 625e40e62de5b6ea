package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host/lease"
)

func (a *app) release() *cobra.Command {
	var jobName string
	var all bool
	cmd := &cobra.Command{
		Use:   "release [ID...] [--all]",
		Short: "End leases: those of this job, those named by ID, or all",
		Long: `Ends leases, so that their ports are free for others. Without an ID it ends those
of this job, which is found as assign finds it. A user can end the leases of that
user, and root all of them. It is no error if there is nothing to end.`,
		Example: `  portcheck release
  portcheck release 4kq2xw7hzt3n
  sudo portcheck release --all`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&all, "all", false, "end all leases that this user may end")
	jobFlag(f, &jobName)
	cmd.RunE = func(_ *cobra.Command, ids []string) error {
		if all && len(ids) > 0 {
			return usageError(errors.New("--all and IDs exclude each other"), "see `portcheck release --help`")
		}
		j, err := a.jobOf(jobName)
		if err != nil && len(ids) == 0 && !all {
			return err
		}
		list := lease.ListOwn
		if all || len(ids) > 0 {
			list = lease.List
		}
		held, err := list(time.Now().Add(answerTime))
		if err != nil {
			return unknownError(err)
		}
		mine := func(h lease.Held) bool { return os.Geteuid() == 0 || h.UID == os.Geteuid() }
		held = slices.DeleteFunc(held, func(h lease.Held) bool {
			switch {
			case all:
				return !mine(h)
			case len(ids) > 0:
				return !slices.Contains(ids, h.ID)
			}
			return !h.OwnedBy(j.name)
		})
		return a.endLeases(held)
	}
	return cmd
}

// endLeases ends the leases that ports have.
func (a *app) endLeases(held []lease.Held) error {
	var failures []error
	for _, l := range check.LeasesOf(held, userName).Leases {
		ports := make([]string, 0, len(l.Ports))
		for _, p := range l.Ports[:min(len(l.Ports), mostListed)] {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
		text := strings.Join(ports, ", ")
		if more := len(l.Ports) - len(ports); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		if lease.Release(l.Ports[0].Protocol, l.Ports[0].Port, time.Now().Add(answerTime)) {
			a.logf("released %s", text)
			continue
		}
		failures = append(failures, unknownError(fmt.Errorf("the lease %s of %s can't be ended: its keeper is that of %s, or does not answer", l.ID, text, ownerOf(l))))
	}
	return joinFailures(failures...)
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
