package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/transport"
)

// connectOptions are the flags for how targets are opened.
type connectOptions struct {
	sshOptions
	evidence string
	timeout  time.Duration
}

func (o *connectOptions) connectFlags(f *pflag.FlagSet) {
	groupNone.addTo(f) // the command's own
	f.StringVar(&o.evidence, "evidence", string(transport.Full), "what a helper container may see: `full` (also which process holds a port) or basic (only ports)")
	o.timeout = 30 * time.Second
	f.Var((*durationFlag)(&o.timeout), "timeout", "time budget of one target, not counting --wait")
	groupWhere.addTo(f)
	o.sshFlags(f)
}

func (o *connectOptions) validate(env ci.Env) error {
	var names []string
	for _, e := range transport.Evidences {
		names = append(names, string(e))
	}
	switch {
	case !slices.Contains(names, o.evidence):
		return notOneOf("--evidence", o.evidence, names)
	case o.timeout <= 0:
		return usageError(fmt.Errorf("--timeout %s: want a duration above 0, such as 30s", o.timeout), "")
	}
	return o.validateSSH(env)
}

// transportJob returns the facts about the CI job that targets are opened with.
func (a *app) transportJob() transport.Job {
	return transport.Job{Action: a.inAction, System: a.job.System, Container: a.job.Container, Services: a.job.Services}
}

const (
	// timeoutsPerTarget is how many times a run may use up the --timeout of a
	// target: until its verdicts, after the last wait, and for alternatives.
	timeoutsPerTarget = 3
	// lifetimeMargin is added to how long a helper may be needed.
	lifetimeMargin = 15 * time.Second
)

// lifetime returns how long a helper may be needed. It is below the limit of
// probe's --for, to which an ssh:// target rounds it up.
func lifetime(batches int, timeout, wait time.Duration) time.Duration {
	const most = config.MostDuration - lifetimeMargin
	if timeout > most/time.Duration(timeoutsPerTarget*max(batches, 1)) { // the product may overflow
		return most
	}
	return min(timeoutsPerTarget*time.Duration(batches)*timeout+wait+lifetimeMargin, most)
}

// openers returns targets for check to open. batches is how many targets may be
// checked one after the other, and wait how long needs may wait. Helpers live long
// enough for all of that.
func (a *app) openers(specs []targetSpec, o connectOptions, batches int, wait time.Duration) []check.Target {
	if a.inAction {
		o.Names = secretNames()
	}
	if o.log {
		o.Log = a.logSSH
	}
	options := transport.Options{
		Env: a.env, Evidence: transport.Evidence(o.evidence), Job: a.transportJob(), SSH: transport.NewSSH(o.SSHOptions, a.env),
		Executable: "/proc/self/exe", // also after the file was replaced or removed
		Early:      a.early,
	}
	options.Lifetime = lifetime(batches, o.timeout, wait)
	targets := make([]check.Target, len(specs))
	for i, s := range specs {
		options := options
		options.Job.Chosen = s.auto
		targets[i] = check.Target{Name: s.name, Job: a.ownJobOn(s), Open: func(ctx context.Context) (host.Host, error) {
			return transport.Open(ctx, s.spec, options)
		}}
	}
	return targets
}

// openTargets opens the targets of a command about leases, for a job.
func (a *app) openTargets(ctx context.Context, texts []string, o connectOptions, jobName string) ([]*check.Opened, error) {
	if err := o.validate(a.env); err != nil {
		return nil, err
	}
	flags := targetFlags{auto: transport.Auto(a.transportJob())}
	var specs []targetSpec
	for _, text := range texts {
		if err := checkTarget(text); err != nil {
			return nil, usageError(err, "")
		}
		s := flags.newSpec("", text, targetFlag)
		if !slices.ContainsFunc(specs, func(o targetSpec) bool { return o.spec == s.spec }) {
			specs = append(specs, s)
		}
	}
	targets, err := a.jobTargets(specs, o, jobName, 0)
	if err != nil {
		return nil, err
	}
	return check.OpenAll(ctx, targets, check.Options{Timeout: o.timeout, Parallel: leaseParallel}), nil
}

const (
	// leaseParallel is how many targets are asked about leases at the same time.
	leaseParallel = 16
	// leaseBatches is how many times as long as for a check a helper may be needed: a port
	// that is chosen is checked as well.
	leaseBatches = 4
)

// jobTargets returns targets for a job, which the flag or the environment names.
func (a *app) jobTargets(specs []targetSpec, o connectOptions, jobName string, wait time.Duration) ([]check.Target, error) {
	targets := a.openers(specs, o, leaseBatches, wait)
	for i, s := range specs {
		j, err := a.jobOn(jobName, s)
		if err != nil {
			return nil, err
		}
		targets[i].Job = j.name
	}
	return targets, nil
}

// onTarget calls do with the target of a command that has only one.
func (a *app) onTarget(spec string, o connectOptions, do func(check.Target) error) error {
	return a.onTargetFor(0, spec, o, do)
}

// onTargetFor is onTarget for a command that may wait.
func (a *app) onTargetFor(wait time.Duration, spec string, o connectOptions, do func(check.Target) error) error {
	if err := o.validate(a.env); err != nil {
		return err
	}
	if _, err := config.ParseTarget(spec); err != nil {
		return usageError(err, "")
	}
	flags := targetFlags{auto: transport.Auto(a.transportJob())}
	return do(a.openers([]targetSpec{flags.newSpec("", spec, targetFlag)}, o, 1, wait)[0])
}
