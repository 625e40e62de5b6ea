package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
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
	o.needFlags(f, "verify")
	f.Var(&o.wait, "wait", "wait for servers that start for this long, such as `30s`")
	jobFlag(f, &jobName)
	allowTargetsFlag(f, &o.allowTargets)
	o.outputFlags(f)
	o.verdictFlags(f)
	o.connectFlags(f)
	f.BoolVar(&o.showCommand, "show-command", false, "show the command lines of processes that hold ports; they may contain secrets")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.runVerify(cmd.Context(), args, o, jobName)
	}
	return cmd
}

// outsiderText says whose the process is that serves a port instead of the job's.
func outsiderText(o check.Outsider) string {
	if o.Job != nil {
		return ", which is a process of another job: " + ci.JobWord(o.Job.Name)
	}
	return fmt.Sprintf(", which is a process of another user, %s (an `owner` in the manifest allows it)", strings.TrimPrefix(o.User, "user "))
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
	a.addInputs(o.sshOptions.names()...)
	needs, specs, problems, err := a.readNeeds(ctx, args, o.needOptions, transport.Auto(a.transportJob()))
	if err != nil {
		return err
	}
	if !o.allowTargets {
		problems = append(problems, a.refuseStrangers(needs, specs)...)
	}
	problems = append(problems, o.withoutEffect(needs)...)
	if len(problems) > 0 {
		return a.writeReport(ctx, out, check.Report{Version: 1, Tool: tool(), Problems: problems}, o.verdictOptions)
	}
	var wait time.Duration
	for i := range needs {
		if o.wait.given {
			needs[i].Wait = o.wait.Duration
		}
		wait = max(wait, needs[i].Wait)
	}
	targets, err := a.jobTargets(specs, o.connectOptions, jobName, wait)
	if err != nil {
		return err
	}
	opened := check.OpenAll(ctx, targets, check.Options{Timeout: o.timeout, Parallel: leaseParallel})
	defer check.CloseAll(opened)
	needs, err = startedNeeds(ctx, needs, opened)
	if err != nil {
		return err
	}
	for i, t := range opened {
		targets[i] = t.Shared()
	}
	r, err := a.runOn(ctx, needs, targets, o)
	if err != nil {
		return err
	}
	for i := range r.Results {
		r.Results[i].WaitFlag = true // whoever runs verify may not be who writes manifests
	}
	named := a.env[ci.JobVariable] != "" || ci.Identity(a.env) != ""
	r.RefuseOutsiders(needs, named, outsiderText)
	return a.writeReport(ctx, out, r, o.verdictOptions)
}

// withoutEffect returns a problem for each flag that would give another port to needs of
// which the job holds the port.
func (o needOptions) withoutEffect(needs []check.Need) []config.Problem {
	var problems []config.Problem
	refuse := func(flag string, n check.Need) {
		problems = append(problems, config.Problem{Position: config.Position{File: flag}, Message: fmt.Sprintf("verify checks %s on the port that the job holds for it, whatever it declares: leave the flag out, or give it to assign", n.Name)})
	}
	for _, s := range o.set {
		name, _, _ := strings.Cut(s, "=")
		if i := slices.IndexFunc(needs, func(n check.Need) bool {
			return n.Expect == config.Free && (n.Name == name || n.App+"/"+n.Name == name)
		}); i >= 0 {
			refuse("--set "+s, needs[i])
		}
	}
	if i := slices.IndexFunc(needs, func(n check.Need) bool { return n.Expect == config.Free && !n.Auto }); o.offset != 0 && i >= 0 {
		refuse(fmt.Sprintf("--offset %d", o.offset), needs[i])
	}
	return problems
}

// startedNeeds returns needs of which those for a free port have the ports that the job
// holds for them. It returns an error if one has none.
func startedNeeds(ctx context.Context, needs []check.Need, opened []*check.Opened) ([]check.Need, error) {
	held, silent, byName := map[string][]host.Lease{}, map[string][]host.Lease{}, map[string]*check.Opened{}
	for _, t := range opened {
		byName[t.Name] = t
		if t.Err != nil {
			continue // which the run reports
		}
		var err error
		if held[t.Name], silent[t.Name], err = t.OwnLeases(ctx); err != nil {
			return nil, unknownError(err)
		}
	}
	started, missing := check.Started(needs, func(target string) []host.Lease { return held[target] })
	var failures []error
	for i, n := range needs {
		t := byName[n.Target]
		switch {
		case !missing[i]:
		case t.Err != nil:
			started[i].Expect = config.Listening
		case len(silent[t.Name]) > 0:
			message := fmt.Sprintf("%s: which port the job %s holds for it is unknown: the process that holds %s does not answer", n.Name, t.Job, silentText(t, silent[t.Name]))
			failures = append(failures, failure{config.Problem{Position: n.At, Message: message}, exitUnknown, "if it is stopped, `kill -CONT` it and verify again"})
		default:
			on := ""
			if t.Name != "local" {
				on = " on " + t.Name
			}
			message := fmt.Sprintf("%s has no port: the job %s holds none for it%s; choose one with portcheck assign, or name the job with --job", n.Name, t.Job, on)
			failures = append(failures, failure{config.Problem{Position: n.At, Message: message}, exitUnmet, ""})
		}
	}
	return started, joinFailures(failures...)
}
