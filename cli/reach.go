package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/transport"
)

// reachOptions are the flags that say how targets are reached.
type reachOptions struct {
	sshOptions
	evidence string
	timeout  time.Duration
}

func (o *reachOptions) reachFlags(f *pflag.FlagSet) {
	f.StringVar(&o.evidence, "evidence", string(transport.Full), "what a helper container may see: `full` (who holds a port) or basic (ports alone)")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "budget of one target, --wait not counted")
	o.sshFlags(f)
}

func (o *reachOptions) validate() error {
	var names []string
	for _, e := range transport.Evidences {
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
func (a *app) targetJob() transport.Job {
	return transport.Job{Action: a.inAction, System: a.job.System, Container: a.job.Container, Services: a.job.Services}
}

// lifetimeMargin is how much longer than it may be needed a helper lives.
const lifetimeMargin = 15 * time.Second

// budgets is how often the budgets of targets may be spent, beside waiting:
// until the verdicts are there, after the last wait, and for alternatives.
const budgets = 3

// reach says how targets are reached. Each may be needed for as long as turns
// targets, one after the other, and a wait take.
func (a *app) reach(specs []targetSpec, o reachOptions, turns int, wait time.Duration) []check.Target {
	if a.inAction {
		o.Names = secretNames()
	}
	options := transport.Options{Env: a.env, Evidence: transport.Evidence(o.evidence), Job: a.targetJob(), SSH: transport.NewSSH(o.SSHOptions, a.env)}
	options.Lifetime = budgets*time.Duration(turns)*o.timeout + wait + lifetimeMargin
	targets := make([]check.Target, len(specs))
	for i, s := range specs {
		options := options
		options.Job.Chosen = s.chosen
		targets[i] = check.Target{Name: s.name, Open: func(ctx context.Context) (host.Host, error) {
			return transport.Open(ctx, s.spec, options)
		}}
	}
	return targets
}

// onTarget has one question asked of a target.
func (a *app) onTarget(spec string, o reachOptions, ask func(check.Target) error) error {
	if err := o.validate(); err != nil {
		return err
	}
	if _, err := config.ParseTarget(spec); err != nil {
		return usageError{err, ""}
	}
	flags := targetFlags{auto: transport.Auto(a.targetJob())}
	return ask(a.reach([]targetSpec{flags.newTarget(spec, targetFlag)}, o, 1, 0)[0])
}
