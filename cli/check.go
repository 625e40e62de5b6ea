package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/transport"
)

// checkOptions are the flags of check.
type checkOptions struct {
	needOptions
	outputOptions
	verdictOptions
	connectOptions
	ranges, exclude portsFlag
	wait            waitFlag
	connectTimeout  waitFlag
	runAs           string
	alternatives    int
	candidates      int
	parallel        int
	showCommand     bool
	undeclaredOptions
}

// mostAlternatives limits --alternatives: a report lists them for each unmet need,
// and people use the first ones.
const mostAlternatives = 1000

// maxParallel limits --parallel: each target that is being checked may need a
// process, a connection or a container.
const maxParallel = 256

func (a *app) check() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [flags] [MANIFEST...]",
		Short: "Check the ports of manifests, or of --port (the default command)",
		Long: `Tries every port of the manifests as the app would use it, and reports all
conflicts at once. A MANIFEST is a file, - for stdin, or a glob.`,
		Example: `  portcheck check
  portcheck check shop.yml payment.yml
  portcheck check -p 127.0.0.1:8080 --range 8000-8099
  portcheck check --only 'web*' --wait 30s
  portcheck check --offset 100 -o json=report.json   move a matrix job's ports
  portcheck check -p db.internal:5432 --expect reachable`,
		Args: cobra.ArbitraryArgs,
	}
	a.checkFlags(cmd)
	return cmd
}

// checkFlags gives cmd the flags of a check and runs one: the root command and
// `check` do the same.
func (a *app) checkFlags(cmd *cobra.Command) {
	o := &checkOptions{}
	f := cmd.Flags()
	f.SortFlags = false
	o.needFlags(f, "check")
	f.StringVar(&o.runAs, "run-as", "", "try the ports as `USER`, a name or a number, instead of each need's run_as; needs root")
	f.Var(&o.wait, "wait", "retry unmet needs for this long before reporting a conflict, such as `30s`")
	f.Var(&o.connectTimeout, "connect-timeout", "how long a connect of expect: reachable or unreachable may take, such as `2s` (default 5s)")
	o.undeclaredFlags(f)
	groupWhat.addTo(f)
	f.Var(&o.ranges, "range", "ports to choose alternatives from, such as `8000-8099,9443`")
	f.Var(&o.exclude, "exclude", "ports that are never suggested, such as `8080,8090-8092`")
	f.IntVar(&o.alternatives, "alternatives", 3, "number of alternatives to suggest for each unmet need")
	f.IntVar(&o.candidates, "candidates", 0, "list up to `N` ports that each need could move to, as input for portcheck merge")
	groupAlternatives.addTo(f)
	o.outputFlags(f)
	o.verdictFlags(f)
	f.BoolVar(&o.showCommand, "show-command", false, "show the command lines of processes that hold ports; they may contain secrets")
	groupReport.addTo(f)
	o.connectFlags(f)
	f.IntVar(&o.parallel, "parallel", 16, "number of targets to check at the same time, 1 to 256")
	allowTargetsFlag(f, &o.allowTargets)
	groupWhere.addTo(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.atRoot = !cmd.HasParent()
		return a.runCheck(cmd.Context(), args, o)
	}
}

func (o *verdictOptions) verdictFlags(f *pflag.FlagSet) {
	f.StringVar(&o.failOn, "fail-on", "error", "which unmet needs fail the run: error, warning (also those of severity warning) or never")
	f.IntVar(&o.warningsExit, "warnings-exit-code", 0, "exit code if only needs of severity warning are unmet, with --fail-on never as well")
	f.BoolVar(&o.allowUnknown, "allow-unknown", false, "do not fail for needs with the status unknown")
	groupReport.addTo(f)
}

func (a *app) runCheck(ctx context.Context, args []string, o *checkOptions) error {
	if err := o.validate(a.env); err != nil {
		return err
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
	if o.runAs != "" && host.UnknownUser(o.runAs) && slices.ContainsFunc(specs, func(s targetSpec) bool { return s.spec == "local" }) {
		return usageError(fmt.Errorf("--run-as %q: this machine has no such user: want a user name or a number such as 1000", o.runAs), "")
	}
	if !o.allowTargets {
		problems = append(problems, a.refuseStrangers(needs, specs)...)
	}
	problems = append(problems, o.override(needs)...)
	if len(problems) > 0 {
		return a.writeReport(ctx, out, check.Report{Version: 1, Tool: tool(), Problems: problems}, o.verdictOptions)
	}
	results := 0
	for _, n := range needs {
		if n.Expect == config.Free { // others can't move
			results += len(n.Protocols)
		}
	}
	if err := joinFailures(
		validForAll("alternatives", o.alternatives, results, mostAlternativesOfRun),
		validForAll("candidates", o.candidates, results, mostCandidatesOfRun),
	); err != nil {
		return err
	}
	r, err := a.run(ctx, needs, specs, o)
	if err != nil {
		return err
	}
	for i := range r.Results {
		r.Results[i].WaitFlag = o.wait.given // it takes the place of the key
	}
	return a.writeReport(ctx, out, r, o.verdictOptions)
}

// override applies the flags that take the place of what needs say. An engine chooses from the range of
// its Compose file, whatever the flags.
func (o *checkOptions) override(needs []check.Need) []config.Problem {
	var problems []config.Problem
	for i := range needs {
		n := &needs[i]
		if o.wait.given {
			n.Wait = o.wait.Duration
		}
		if o.connectTimeout.given {
			n.ConnectTimeout = o.connectTimeout.Duration
		}
		if o.runAs != "" && n.Expect == config.Free {
			n.RunAs = o.runAs
		}
		if keepsRange(*n) {
			continue
		}
		if o.ranges.set != nil {
			n.Range = o.ranges.set
		}
		if o.exclude.set != nil {
			n.Exclude = o.exclude.set
		}
		if !n.Place() && !slices.Contains(problems, n.NoRoom()) {
			problems = append(problems, n.NoRoom())
		}
	}
	return config.Shortened(problems)
}

// keepsRange reports whether a need is an entry A-B:C of a Compose file, of which the
// range is A-B, whatever other flags and files say.
func keepsRange(n check.Need) bool { return n.Auto && n.Project != "" }

// run checks needs on their targets and shows the progress.
func (a *app) run(ctx context.Context, needs []check.Need, specs []targetSpec, o *checkOptions) (check.Report, error) {
	var wait time.Duration
	for _, n := range needs {
		wait = max(wait, n.Wait)
	}
	targets := a.openers(specs, o.connectOptions, (len(specs)+o.parallel-1)/o.parallel, wait)
	return a.runOn(ctx, needs, targets, o)
}

// runOn is run with functions that open the targets.
func (a *app) runOn(ctx context.Context, needs []check.Need, targets []check.Target, o *checkOptions) (check.Report, error) {
	options := check.Options{
		Tool: tool(), Alternatives: o.alternatives, Candidates: o.candidates, Timeout: o.timeout, Parallel: o.parallel, ShowCommand: o.showCommand,
		Job: a.ownJob(), Claimed: a.claimed, Named: leaseName(a.env[ci.JobVariable]), Identity: leaseName(ci.Identity(a.env)),
		Undeclared: config.Severity(o.undeclared), UndeclaredLoopback: o.undeclaredLoopback,
	}
	if !o.quiet {
		p := a.startProgress(len(targets))
		defer p.close()
		options.Progress = p
	}
	return check.Run(ctx, needs, targets, options)
}

func (o *checkOptions) validate(env ci.Env) error {
	if err := validCount("alternatives", o.alternatives, mostAlternatives); err != nil {
		return err
	}
	if err := validCount("candidates", o.candidates, port.MaxPort); err != nil {
		return err
	}
	if err := validParallel(o.parallel); err != nil {
		return err
	}
	if o.connectTimeout.given && o.connectTimeout.Duration == 0 {
		return usageError(errors.New("--connect-timeout 0s: want a duration above 0, such as 2s"), "")
	}
	if name, _, found := strings.Cut(o.runAs, ":"); found && config.IsUser(name) {
		return usageError(fmt.Errorf("--run-as %q: want the user without a group, --run-as %s: its groups are those that the user has", o.runAs, name), "")
	}
	if o.runAs != "" && !config.IsUser(o.runAs) {
		return usageError(fmt.Errorf("--run-as %q is not a user: want a user name or a number such as 1000", o.runAs), "")
	}
	if err := o.connectOptions.validate(env); err != nil {
		return err
	}
	if err := o.undeclaredOptions.validate(); err != nil {
		return err
	}
	return o.verdictOptions.validate()
}

func validParallel(n int) error {
	if n < 1 || n > maxParallel {
		return usageError(fmt.Errorf("--parallel %d: want a number from 1 to %d", n, maxParallel), "")
	}
	return nil
}

func validCount(flag string, n, most int) error {
	if n < 0 || n > most {
		return usageError(fmt.Errorf("--%s %d: want a number from 0 to %d", flag, n, most), "")
	}
	return nil
}

// failOnWords are the values of --fail-on.
var failOnWords = []string{"error", "warning", "never"}

func (o *verdictOptions) validate() error {
	switch {
	case !slices.Contains(failOnWords, o.failOn):
		return notOneOf("--fail-on", o.failOn, failOnWords)
	case o.warningsExit < 0 || o.warningsExit > 255:
		return usageError(fmt.Errorf("--warnings-exit-code %d: want a number from 0 to 255", o.warningsExit), "")
	}
	return nil
}
