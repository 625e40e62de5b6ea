package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/host"
)

// probe is the far end of a target: no people use it.
func (a *app) probe() *cobra.Command {
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:     "probe",
		Short:   "Answer requests on stdin, one JSON line each, until it ends",
		Example: `  (echo '{"listeners": true}'; sleep 1) | portcheck probe`,
		Hidden:  true,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if lifetime > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, lifetime, unanswered{errors.New("this probe's lifetime is over")})
				defer cancel()
			}
			if err := host.Serve(ctx, host.Local{}, a.stdin, a.stdout); err != nil {
				return unanswered{err}
			}
			return context.Cause(ctx)
		},
	}
	cmd.Flags().DurationVar(&lifetime, "for", 0, "end after this long, whatever stdin does, as `90s`")
	return cmd
}
