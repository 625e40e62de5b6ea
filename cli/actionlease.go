package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/report"
)

// These are what the action's step at the end of the job needs to find the leases. Each
// is the variable STATE_NAME there.
const (
	stateJob     = "portcheck_job"
	stateTargets = "portcheck_targets"
)

// announceJob makes the job's name known to its later steps, and to the action's step at
// its end. It is called before anything is leased, so that a step that is killed leaves
// nothing that nobody ends.
func (a *app) announceJob(o *assignOptions, specs []targetSpec) error {
	j, err := a.jobOf(o.job)
	if err != nil {
		return err
	}
	if ci.Act(a.env) && o.job == "" && a.env[ci.JobVariable] == "" {
		j.name += "/" + strings.ToLower(rand.Text()[:12])
	}
	o.job = j.name
	var targets []string
	for _, s := range specs {
		target := s.spec
		if s.auto {
			target = "auto"
		}
		targets = append(targets, target)
	}
	err = ci.SaveState(a.env, ci.Output{Name: stateJob, Value: j.name}, ci.Output{Name: stateTargets, Value: strings.Join(targets, "\n")})
	if err = errors.Join(err, ci.ExportVariables(a.env, ci.Output{Name: ci.JobVariable, Value: j.name})); err != nil {
		return unknownError(fmt.Errorf("nothing was leased, since the end of this job could not release it: %w", err))
	}
	return nil
}

// post ends what this job has leased, at its end. A job that has done its work does not
// fail because of a lease that stays: that one has a deadline.
func (a *app) post(ctx context.Context) error {
	job, targets := a.env["STATE_"+stateJob], a.env["STATE_"+stateTargets]
	if job == "" && ci.Act(a.env) { // which gives container actions no state
		job, targets = a.env[ci.JobVariable], ci.Input(a.env, "target")
	}
	if job == "" {
		return nil
	}
	a.env["INPUT_COMMAND"], a.env["INPUT_JOB"], a.env["INPUT_TARGET"] = "release", job, targets
	args, _, err := a.actionArgs()
	if err == nil {
		err = a.runCommand(ctx, args)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	failures := splitFailures(err)
	for _, f := range failures {
		a.annotateWarning(f.Error())
	}
	return nil
}

// writeGitHubAssignment writes the step's summary and outputs for GitHub Actions. err is
// what assign ended with.
func (a *app) writeGitHubAssignment(ctx context.Context, assignment check.Assignment, err error) {
	failed := ci.WriteOutputs(a.env, assignOutputs(assignment, err == nil)...)
	if err == nil {
		summary, broken := render(ctx, report.AssignmentFormats["markdown"], assignment, report.Options{})
		if broken == nil {
			broken = ci.AppendSummary(a.env, summary.String())
		}
		failed = errors.Join(failed, broken)
	}
	if failed != nil {
		a.warnOfOutputs(failed)
	}
}

// assignOutputs returns the outputs of assign that action.yml declares.
func assignOutputs(assignment check.Assignment, ok bool) []ci.Output {
	ports, err := report.AssignedPortsLine(assignment) // a later step may print it
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return []ci.Output{
		{Name: "ok", Value: fmt.Sprint(ok)},
		{Name: "ports", Value: string(ports)},
	}
}
