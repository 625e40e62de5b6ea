package cli

import (
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
)

// keep is the command that is a keeper, which host.Local starts.
func (a *app) keep() *cobra.Command {
	var orphan bool
	cmd := &cobra.Command{
		Use:     "keep",
		Short:   "Hold the ports of one lease: a request from stdin, then a reply to stdout",
		Example: `  portcheck keep < request.json`,
		Hidden:  true,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lease.CloseInherited()
			if orphan {
				return startOrphan()
			}
			if err := lease.Keep(cmd.Context(), a.stdin, a.stdout, lease.Detach); err != nil {
				return unknownError(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&orphan, "orphan", false, "start the keeper and end, so that it belongs to no other process")
	return cmd
}

// startOrphan starts the keeper with the streams and the environment of this process.
func startOrphan() error {
	cmd := exec.Command(host.Executable(), "keep")
	cmd.Args[0] = "portcheck"
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	lease.Independent(cmd)
	if err := cmd.Start(); err != nil {
		return unknownError(err)
	}
	return nil
}
