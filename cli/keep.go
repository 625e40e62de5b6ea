package cli

import (
	"github.com/spf13/cobra"

	"github.com/org/portcheck/host/lease"
)

// keep is the command that is a keeper. lease.Start starts it.
func (a *app) keep() *cobra.Command {
	return &cobra.Command{
		Use:     "keep",
		Short:   "Hold the ports of one lease: a request from stdin, then a reply to stdout",
		Example: `  echo '{"id": "1", "expires": "2030-01-02T15:04:05Z", "wants": [{"name": "web", "protocols": ["tcp"], "ports": [{"first": 8000, "last": 8099}], "length": 1, "guard": true}]}' | portcheck keep`,
		Hidden:  true,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lease.CloseInherited()
			if err := lease.Keep(cmd.Context(), a.stdin, a.stdout, lease.Detach); err != nil {
				return unknownError(err)
			}
			return nil
		},
	}
}
