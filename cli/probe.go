package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/host"
)

// probe is the far end of a target: no people use it.
func (a *app) probe() *cobra.Command {
	var (
		lifetime time.Duration
		ready    bool
		unlink   string
	)
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
			if unlink != "" {
				if err := removeOwn(unlink); err != nil {
					return unanswered{err}
				}
			}
			if ready {
				if _, err := fmt.Fprintf(a.stdout, "portcheck-ready %d\n", host.ServeVersion); err != nil {
					return unanswered{err}
				}
			}
			if err := host.Serve(ctx, host.Local{}, a.stdin, a.stdout); err != nil {
				return unanswered{err}
			}
			return context.Cause(ctx)
		},
	}
	cmd.Flags().DurationVar(&lifetime, "for", 0, "end after this long, whatever stdin does, as `90s`")
	cmd.Flags().BoolVar(&ready, "ready", false, "say on stdout when requests are taken")
	cmd.Flags().StringVar(&unlink, "unlink", "", "first remove `FILE`, this program's own, and its directory")
	return cmd
}

// removeOwn removes the file that we were started from, and the directory that
// was made for it: whatever happens from here on, nothing stays.
func removeOwn(file string) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	return os.Remove(filepath.Dir(file))
}
