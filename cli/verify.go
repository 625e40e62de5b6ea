package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/transport"
)

func (a *app) verify() *cobra.Command {
	o := &checkOptions{parallel: 1}
	var jobName string
	cmd := &cobra.Command{
		Use:   "verify [flags] [MANIFEST...]",
		Short: "Check that the app listens on the ports that this job holds",
		Long: `For use after the app has been started: each need for a free port has to be served
on the port that assign or exec chose for it, by its owner if it has one. All other
needs are checked as check does it.`,
		Example: `  portcheck verify --wait 30s
  portcheck verify -f json shop.yml`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.needFlags(f)
	f.Var(&o.wait, "wait", "wait for servers that start for this long, such as `30s`")
	jobFlag(f, &jobName)
	o.outputFlags(f)
	o.verdictFlags(f)
	o.connectFlags(f)
	f.BoolVar(&o.showCommand, "show-command", false, "show the command lines of processes that hold ports; they may contain secrets")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.runVerify(cmd.Context(), args, o, jobName)
	}
	return cmd
}

// refuseOtherJobs makes a result unmet if a process of another job serves the port.
func (a *app) refuseOtherJobs(r *check.Result) {
	if r.Status != check.Listening || a.env[ci.JobVariable] == "" && ci.Identity(a.env) == "" {
		return
	}
	for _, h := range r.Holders {
		if job := h.From().Job; job != nil && !job.Own {
			r.Status, r.OK = check.WrongOwner, false
			r.Message += ", which is a process of another job: " + job.Name
			return
		}
	}
}

func (a *app) runVerify(ctx context.Context, args []string, o *checkOptions, jobName string) error {
	if err := o.connectOptions.validate(a.env); err != nil {
		return err
	}
	if err := o.verdictOptions.validate(); err != nil {
		return err
	}
	if jobName != "" {
		a.env[ci.JobVariable] = jobName
	}
	out, err := a.newOutputs(o.outputOptions)
	if err != nil {
		return err
	}
	needs, specs, problems, err := a.readNeeds(ctx, args, o.needOptions, transport.Auto(a.transportJob()))
	if err != nil {
		return err
	}
	problems = append(problems, a.refuseStrangers(needs, specs)...)
	problems = append(problems, notLocal(needs, specs)...)
	if len(problems) > 0 {
		return a.writeReport(ctx, out, check.Report{Version: 1, Tool: tool(), Problems: problems}, o.verdictOptions)
	}
	j, err := a.jobOf(jobName)
	if err != nil {
		return err
	}
	held, err := check.OwnLeases(j.name)
	if err != nil {
		return unknownError(err)
	}
	var missing []error
	for i, n := range needs {
		if o.wait.given {
			n.Wait = o.wait.Duration
		}
		if n.Expect == config.Free {
			started, ok := n.Started(held)
			if !ok {
				missing = append(missing, failure{fmt.Errorf("%s: %s has no port: the job %s holds none for it; choose one with portcheck assign, or name the job with --job", n.At, n.Name, j.name), exitUnmet, ""})
			}
			n = started
		}
		needs[i] = n
	}
	if len(missing) > 0 {
		return joinFailures(missing...)
	}
	r, err := a.run(ctx, needs, specs, o)
	if err != nil {
		return err
	}
	for i := range r.Results {
		a.refuseOtherJobs(&r.Results[i])
	}
	r.Finish()
	return a.writeReport(ctx, out, r, o.verdictOptions)
}
