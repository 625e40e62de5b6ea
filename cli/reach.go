package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/target"
)

// reachOptions are the flags that say how targets are reached.
type reachOptions struct {
	evidence string
	timeout  time.Duration
}

func (o *reachOptions) reachFlags(f *pflag.FlagSet) {
	f.StringVar(&o.evidence, "evidence", string(target.Full), "what a helper container may see: `full` (who holds a port) or basic (ports alone)")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "budget of one target, --wait not counted")
}

func (o *reachOptions) validate() error {
	var names []string
	for _, e := range target.Evidences {
		names = append(names, string(e))
	}
	switch {
	case !slices.Contains(names, o.evidence):
		return usageError{fmt.Errorf("--evidence %q: want full or basic", o.evidence), config.DidYouMean(o.evidence, names)}
	case o.timeout <= 0:
		return usageError{fmt.Errorf("--timeout %s: want a duration above 0, as 30s", o.timeout), ""}
	}
	return nil
}

// targetJob is what targets have to know of the CI job.
func (a *app) targetJob() target.Job {
	return target.Job{Action: a.inAction, System: a.job.System, Container: a.job.Container, Services: a.job.Services}
}

// lifetimeMargin is how much longer than it may be needed a helper lives.
const lifetimeMargin = 15 * time.Second

// open reaches a target within its budget. wait is how long it may be needed
// beyond that.
func (a *app) open(ctx context.Context, spec string, o reachOptions, chosen bool, wait time.Duration) (host.Host, error) {
	options := target.Options{Env: a.env, Evidence: target.Evidence(o.evidence), Lifetime: 3*o.timeout + wait + lifetimeMargin, Job: a.targetJob()}
	options.Job.Chosen = chosen
	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	h, err := target.Open(limited, spec, options)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("it could not be reached within %s (--timeout): %w", o.timeout, err)
	}
	return h, err
}

// onTarget opens a target for one question.
func (a *app) onTarget(cmd *cobra.Command, spec string, o reachOptions, ask func(name string, h host.Host) error) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := target.Check(spec); err != nil {
		return usageError{err, ""}
	}
	flags := targetFlags{auto: target.Auto(a.targetJob())}
	s := flags.newTarget(spec, targetFlag)
	h, err := a.open(cmd.Context(), s.spec, o, s.chosen, 0)
	if err != nil {
		return unanswered{err}
	}
	defer h.Close()
	return ask(s.name, h)
}
