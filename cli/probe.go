package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
)

// probe is the far end of a target: no people use it.
func (a *app) probe() *cobra.Command {
	var (
		lifetime time.Duration
		ready    bool
		unlink   bool
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
			if unlink {
				if err := removeOwn(); err != nil {
					return unanswered{err}
				}
			}
			if ready {
				// A line of its own, whatever a login shell has said before.
				if _, err := fmt.Fprintf(a.stdout, "\nportcheck-ready %d\n", wire.Version); err != nil {
					return unanswered{err}
				}
			}
			if err := wire.Serve(ctx, host.Local{}, a.stdin, a.stdout); err != nil {
				return unanswered{err}
			}
			return context.Cause(ctx)
		},
	}
	cmd.Flags().DurationVar(&lifetime, "for", 0, "end after this long, whatever stdin does, as `90s`")
	cmd.Flags().BoolVar(&ready, "ready", false, "say on stdout when requests are taken")
	cmd.Flags().BoolVar(&unlink, "unlink", false, "first remove this program's own file and its directory, which must be named portcheck.*")
	return cmd
}

// removeOwn removes the file that we were started from, and the directory that
// was made for it: whatever happens from here on, nothing stays.
func removeOwn() error {
	file, err := os.Executable()
	if err != nil {
		return fmt.Errorf("--unlink: %w", err)
	}
	dir := filepath.Dir(file)
	if !strings.HasPrefix(filepath.Base(dir), "portcheck.") {
		return fmt.Errorf("--unlink: %s is in no directory named portcheck.*, so it was not put there to be removed", file)
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	return os.Remove(dir)
}
