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

// probe is the command that a transport starts on a target.
func (a *app) probe() *cobra.Command {
	var (
		lifetime time.Duration
		ready    bool
		unlink   bool
		confine  bool
	)
	cmd := &cobra.Command{
		Use:     "probe",
		Short:   "Answer requests from stdin, one JSON object per line, until stdin ends",
		Example: `  (echo '{"listeners": true}'; sleep 1) | portcheck probe`,
		Hidden:  true,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if lifetime < 0 {
				return usageError(fmt.Errorf("--for %s: want a duration above 0, such as 90s", lifetime), "")
			}
			if lifetime > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, lifetime, unknownError(errors.New("this probe's lifetime is over")))
				defer cancel()
				a.stdout = &cancellableWriter{ctx: ctx, writer: a.stdout} // its client may read nothing
			}
			if unlink {
				if err := removeExecutable(); err != nil {
					return unknownError(err)
				}
			}
			local := host.Local{}
			if confine {
				var err error
				if local, err = host.Confine(ctx); err != nil {
					return unknownError(err)
				}
			}
			if ready {
				// It starts a new line, since a login shell may have written part of one.
				if _, err := fmt.Fprintf(a.stdout, "\nportcheck-ready %d\n", wire.Version); err != nil {
					return unknownError(err)
				}
			}
			if err := wire.Serve(ctx, local, a.stdin, a.stdout); err != nil {
				return unknownError(err)
			}
			return context.Cause(ctx)
		},
	}
	cmd.Flags().Var((*durationFlag)(&lifetime), "for", "end after this long even if stdin is open, such as `90s`")
	cmd.Flags().BoolVar(&ready, "ready", false, "print a line to stdout when requests are accepted")
	cmd.Flags().BoolVar(&unlink, "unlink", false, "first remove this executable and its directory, which must be named portcheck.*")
	cmd.Flags().BoolVar(&confine, "confine", false, "first read the NAT rules and give up CAP_NET_ADMIN, which nothing else needs")
	return cmd
}

// removeExecutable removes the file of this process and the directory that was made
// for it. After that, nothing is left however the process ends.
func removeExecutable() error {
	file, err := os.Executable()
	if err != nil {
		return fmt.Errorf("--unlink: %w", err)
	}
	dir := filepath.Dir(file)
	if !strings.HasPrefix(filepath.Base(dir), "portcheck.") {
		return fmt.Errorf("--unlink: %s is not in a directory named portcheck.*, so it is not a temporary copy", file)
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	return os.Remove(dir)
}
