package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/host"
)

// probe is the far end of a target: no people use it.
func (a *app) probe() *cobra.Command {
	return &cobra.Command{
		Use:     "probe",
		Short:   "Answer requests on stdin, one JSON line each, until it ends",
		Example: `  (echo '{"listeners": true}'; sleep 1) | portcheck probe`,
		Hidden:  true,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := host.Serve(cmd.Context(), host.Local{}, a.stdin, a.stdout); err != nil {
				return unanswered{err}
			}
			return context.Cause(cmd.Context())
		},
	}
}
