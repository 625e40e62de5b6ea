package cli

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/report"
	"github.com/org/portcheck/transport"
)

// promptPatience is how long somebody at a prompt waits for values of this machine.
const promptPatience = time.Second

// hereOptions are for this machine, which a completion asks.
var hereOptions = connectOptions{evidence: string(transport.Full), timeout: promptPatience, sshOptions: sshOptions{client: string(transport.AutoSSH)}}

// offered returns values for a shell: sorted, each once, without those that a shell
// would not take as they are.
func offered(values []string) ([]cobra.Completion, cobra.ShellCompDirective) {
	values = slices.DeleteFunc(values, func(v string) bool {
		return v == "" || report.Safe(v) != v || strings.ContainsAny(v, " \t'\"\\$`*?[;&|<>()")
	})
	slices.Sort(values)
	return slices.Compact(values), cobra.ShellCompDirectiveNoFileComp
}

// holderCompletions are the processes, users, units and containers that hold ports of
// this machine.
func (a *app) holderCompletions(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), promptPatience)
	defer cancel()
	var names []string
	_ = a.onTarget("local", hereOptions, func(t check.Target) error { // else there are none
		listing, err := check.List(ctx, t, check.Options{Timeout: promptPatience})
		for _, h := range listing.Sockets {
			names = append(names, h.Process, h.User, h.Unit)
			if h.Container != nil {
				names = append(names, h.Container.Name)
			}
		}
		return err
	})
	return offered(names)
}

// userCompletions are the users of this machine's passwd(5).
func userCompletions(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	text, _ := os.ReadFile("/etc/passwd") // there is none on Windows
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, found := strings.Cut(line, ":"); found {
			names = append(names, name)
		}
	}
	return offered(names)
}

// leaseCompletions returns a function that completes what value returns of the leases of
// this machine.
func (a *app) leaseCompletions(value func(check.ListedLease) string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), promptPatience)
		defer cancel()
		const noJob = "-" // all leases are asked for
		opened, err := a.openTargets(ctx, []string{"local"}, hereOptions, noJob)
		if err != nil {
			return offered(nil)
		}
		defer check.CloseAll(opened)
		all, _ := leasesOf(ctx, opened, host.AllLeases) // of those that answer
		var values []string
		for _, l := range all.Leases {
			if v := value(l); !slices.Contains(args, v) {
				values = append(values, v)
			}
		}
		return offered(values)
	}
}
