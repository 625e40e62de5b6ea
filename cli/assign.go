package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/report"
	"github.com/org/portcheck/transport"
)

// assignOptions are the flags of commands that choose ports.
type assignOptions struct {
	needOptions
	connectOptions
	ranges, exclude portsFlag
	wait            waitFlag
	job             string

	// These are of assign alone.
	format     string
	fileSpecs  []string
	exportEnv  bool
	write      bool
	lifetime   time.Duration
	untilExit  int
	untilGiven bool
	forGiven   bool
	localOnly  string // why the target has to be local if untilExit is set
	quiet      bool
}

func (a *app) assign() *cobra.Command {
	o := &assignOptions{}
	cmd := &cobra.Command{
		Use:   "assign [flags] [MANIFEST...]",
		Short: "Choose a port for each need and hold it until this job is done",
		Long: `Gives each need of the manifests its declared port if the app can have it, else
another one of its range, and leaves a process that holds these ports for this job:
nobody else who asks portcheck gets them, and the kernel gives them to nobody by
chance. All needs get a port, or none does. The same job gets the same ports when it
asks again.

A job is --job, else the CI job, else the git work tree, else the directory. Its
ports are free again after --for, or after ` + "`portcheck release`" + `.`,
		Example: `  portcheck assign                              print the ports
  eval "$(portcheck assign -f shell)"           set WEB_PORT and so on
  portcheck assign -o dotenv=ports.env          write them for later steps
  portcheck assign -p 5432 --wait 10m           take turns with other jobs`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.assignFlags(f)
	f.StringVarP(&o.format, "format", "f", "text", "format on stdout: "+strings.Join(report.AssignmentFormats.Names(), ", "))
	addList(f, &o.fileSpecs, "output", "o", "also write a format to a file, as `NAME=FILE` (repeatable)")
	f.BoolVar(&o.write, "write", false, "also write the ports into the manifests, in place of the ones there")
	f.BoolVar(&o.exportEnv, "export-env", false, "also set the variables for later steps of a GitHub job (GITHUB_ENV)")
	f.Var((*durationFlag)(&o.lifetime), "for", "how long the ports are held at most, such as `90m`; without it what is left of a GitLab job, else 6h in CI and 1h elsewhere")
	f.IntVar(&o.untilExit, "until-exit", 0, "release the ports when the process `PID` ends")
	allowTargetsFlag(f, &o.allowTargets)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no lines about files that are written")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.untilGiven, o.forGiven = cmd.Flags().Changed("until-exit"), cmd.Flags().Changed("for")
		assignment, err := a.runAssign(cmd.Context(), args, o)
		if ci.GitHub(a.env) {
			a.writeGitHubAssignment(cmd.Context(), assignment, err)
		}
		return err
	}
	return cmd
}

// assignFlags are the flags of every command that chooses ports.
func (o *assignOptions) assignFlags(f *pflag.FlagSet) {
	o.needFlags(f, "hold")
	f.Var(&o.ranges, "range", "ports to choose from if a declared one can't be had, such as `8000-8099,9443`")
	f.Var(&o.exclude, "exclude", "ports that are never chosen instead of a declared one, such as `8080,8090-8092`")
	f.Var(&o.wait, "wait", "wait for ports that others have for this long, such as `10m`")
	jobFlag(f, &o.job)
	o.connectFlags(f)
}

func jobFlag(f *pflag.FlagSet, job *string) {
	f.StringVar(job, "job", "", "`NAME` of the job that has the ports; PORTCHECK_JOB does the same")
}

// job is a job that can have leases.
type job struct {
	name      string
	place     string // where in a range it starts to look: the same text, the same place
	directory bool   // it is that of a directory of this machine
}

// jobOf returns the job that the flag or the environment names, else the git work tree
// of the working directory, else that directory.
func (a *app) jobOf(name string) (job, error) {
	if name == "" {
		name = a.env[ci.JobVariable]
	}
	if name == "" {
		name = ci.Identity(a.env)
	}
	if name != "" {
		if strings.TrimSpace(name) == "" {
			return job{}, usageError(fmt.Errorf("the job has the name %q, which nobody can see: give it another one with --job or PORTCHECK_JOB", name), "")
		}
		return job{name: name, place: name}, nil
	}
	a.here.Do(func() { a.here.job, a.here.err = jobHere() })
	return a.here.job, a.here.err
}

// jobHere returns the job of the working directory.
func jobHere() (job, error) {
	here, err := within.WorkingDirectory()
	if err != nil {
		return job{}, unknownError(fmt.Errorf("this job has no name: %w, or name the job with --job", err))
	}
	dir := workTree(here)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // a shell says by which link it got here
	}
	// Containers on the host's network may have different directories of one name.
	return job{dir + directoryID(dir), dir, true}, nil
}

// jobOn is jobOf for a target. On another machine, that of a directory has the name of
// this machine, since others may have a directory of that name.
func (a *app) jobOn(name string, s targetSpec) (job, error) {
	j, err := a.jobOf(name)
	if t, bad := config.ParseTarget(s.spec); err == nil && bad == nil && t.Kind == "ssh" && j.directory {
		machine := machineName()
		j.name += " on " + machine
		j.place += "\x00" + machine
	}
	j.name = leaseName(j.name) // a name that is no UTF-8 would become another one on its way
	return j, err
}

// ownJob returns the name of the job that this command belongs to, or "".
func (a *app) ownJob() string { return a.ownJobOn(targetSpec{spec: "local"}) }

// ownJobOn is ownJob for a target.
func (a *app) ownJobOn(s targetSpec) string {
	j, err := a.jobOn("", s)
	if err != nil {
		return "" // no lease is its own then
	}
	return j.name
}

// leaseName returns the name of a job as leases have it, "" for none.
func leaseName(job string) string {
	if job == "" {
		return ""
	}
	return lease.Name(job)
}

// readAssignNeeds reads the needs for a free port, and the targets that they have.
func (a *app) readAssignNeeds(ctx context.Context, args []string, o *assignOptions) ([]check.Need, []targetSpec, error) {
	if o.exportEnv && a.env["GITHUB_ENV"] == "" {
		return nil, nil, usageError(errors.New("--export-env: GITHUB_ENV is not set, so this is no step of GitHub Actions"), "elsewhere `eval \"$(portcheck assign -f shell)\"` sets the variables of a shell, and `-o dotenv=FILE` writes them to a file")
	}
	if err := o.connectOptions.validate(a.env); err != nil {
		return nil, nil, err
	}
	a.addInputs(o.sshOptions.names()...)
	all, specs, problems, err := a.readNeeds(ctx, args, o.needOptions, transport.Auto(a.transportJob()))
	if err != nil {
		return nil, nil, err
	}
	a.claimed, _ = onceEach(a.claimed, specs)
	all, specs = onceEach(all, specs)
	var needs []check.Need
	var used []targetSpec
	for _, n := range all {
		if n.Expect != config.Free {
			a.claimed = append(a.claimed, n)
			continue
		}
		if o.ranges.set != nil && !keepsRange(n) {
			n.Range = o.ranges.set
		}
		if o.exclude.set != nil && !keepsRange(n) {
			n.Exclude = o.exclude.set
		}
		if o.wait.given {
			n.Wait = o.wait.Duration
		}
		needs = append(needs, n)
	}
	for _, s := range specs {
		if slices.ContainsFunc(needs, func(n check.Need) bool { return n.Target == s.name }) {
			used = append(used, s)
		}
	}
	problems = append(problems, check.Clashes(needs)...)
	problems = append(problems, a.refuseVariables(needs)...)
	if !o.allowTargets {
		problems = append(problems, a.refuseStrangers(nil, used)...)
	}
	if o.untilExit != 0 {
		problems = append(problems, notLocal(used, o.localOnly)...)
	}
	switch {
	case len(problems) > 0:
		return nil, nil, problemsError(problems)
	case len(needs) == 0:
		return nil, nil, usageError(errors.New("no need is for a free port, so there is nothing to assign"), "")
	}
	return needs, used, nil
}

// onceEach returns needs and targets, of which those with one text are one target.
func onceEach(needs []check.Need, specs []targetSpec) ([]check.Need, []targetSpec) {
	var kept []targetSpec
	names := map[string]string{}
	for _, s := range specs {
		i := slices.IndexFunc(kept, func(o targetSpec) bool { return o.spec == s.spec })
		if i < 0 {
			i = len(kept)
			kept = append(kept, s)
		}
		names[s.name] = kept[i].name
	}
	type entry struct{ id, at string }
	seen := map[entry]bool{}
	var all []check.Need
	for _, n := range needs {
		n.Target = names[n.Target]
		if e := (entry{n.ID(n.Protocols[0]), n.At.String()}); !seen[e] {
			seen[e] = true
			all = append(all, n)
		}
	}
	return all, kept
}

// refuseVariables returns a problem for each variable that has a meaning for others,
// which a Compose file can name, and for each with an unusual name if a stranger may have
// chosen it: it may mean something to a later step.
func (a *app) refuseVariables(needs []check.Need) []config.Problem {
	reason := ci.Untrusted(a.env)
	var problems []config.Problem
	for _, n := range needs {
		switch v := n.Variable(); {
		case config.ReservedEnv(v):
			problems = append(problems, config.Problem{Position: n.At, Message: fmt.Sprintf("the variable %s already has a meaning for shells, programs or CI systems, and would be set to a port: use one of the app's own here, such as %s", v, config.DefaultEnv(n.Name))})
		case reason != "" && v != "PORT" && !strings.HasSuffix(v, "_PORT"):
			problems = append(problems, config.Problem{Position: n.At, Message: fmt.Sprintf("the variable %s is refused: %s, so anybody may have written this manifest; here a variable has to be PORT or end with _PORT", v, reason)})
		}
	}
	return problems
}

// notLocal returns a problem for each target that is not this machine, or the container
// that this command runs in.
func notLocal(specs []targetSpec, reason string) []config.Problem {
	var problems []config.Problem
	for _, s := range specs {
		if t, err := config.ParseTarget(s.spec); err == nil && t.Kind != "local" {
			problems = append(problems, s.problem(fmt.Errorf("target %q: %s, so the target has to be local", s.spec, reason)))
		}
	}
	return problems
}

// problemsError returns the failure of a command that has no report to show problems
// of manifests in.
func problemsError(problems []config.Problem) error {
	var failures []error
	for _, p := range problems {
		failures = append(failures, usageError(p, ""))
	}
	return joinFailures(failures...)
}

// choose assigns ports, for a job of its own if fresh is set.
func (a *app) choose(ctx context.Context, needs []check.Need, specs []targetSpec, o *assignOptions, fresh bool) (check.Assignment, error) {
	j, err := a.jobOn(o.job, specs[0])
	if err != nil {
		return check.Assignment{}, err
	}
	var wait time.Duration
	for _, n := range needs {
		wait = max(wait, n.Wait)
	}
	targets, err := a.jobTargets(specs, o.connectOptions, o.job, wait)
	if err != nil {
		return check.Assignment{}, err
	}
	now := time.Now()
	options := check.AssignOptions{
		Options: check.Options{
			Tool: tool(), Timeout: o.timeout, Parallel: leaseParallel, Claimed: a.claimed,
			Named: leaseName(a.env[ci.JobVariable]), Identity: leaseName(ci.Identity(a.env)),
		},
		LeaseID: newLeaseID(), Place: j.place + "\x00" + needs[0].App, Fresh: fresh, UntilExit: o.untilExit,
		Expires: now.Add(a.lifetimeOf(o.lifetime, now)),
	}
	if fresh {
		for i := range targets {
			targets[i].Job += "/" + options.LeaseID
		}
	}
	assignment, err := check.Assign(ctx, needs, targets, options)
	for _, t := range assignment.Targets {
		a.tell(t.Name+": ", t.Notices)
	}
	var unmet check.UnmetError
	switch {
	case err == nil || ctx.Err() != nil:
		return assignment, err
	case errors.As(err, &unmet) && !unmet.Unknown:
		hint := unmetHint(unmet)
		if l := unmet.Lease; fresh && l != nil && l.Job == j.name && l.UID == os.Geteuid() && len(unmet.Need.Range) == 0 {
			hint = ownHint(o.job)
		}
		return assignment, failure{err, exitUnmet, hint}
	}
	return assignment, unknownError(err)
}

// unmetHint returns what a person can do about a need that gets no port.
func unmetHint(e check.UnmetError) string {
	what, others, them := "the port", "give others to choose from with --range 20000-20999", "it"
	if len(e.Need.Range) > 0 {
		what, others, them = "the ports", "give the need a wider `range`", "one of them"
		if e.Need.At.IsFlag() {
			others = "give a wider --range"
		}
	}
	switch fixed := len(e.Need.Range) == 0; {
	case e.Status == check.Unavailable:
		return "no other port would help: give the need an address, and a device if it names one, that is there"
	case e.Denied:
		return "give portcheck and the app the right to bind " + what + ", or " + others
	case fixed && e.Lease != nil && e.Lease.Own:
		return fmt.Sprintf("if the job needs it no more, `portcheck release %s` ends that lease, with all of its ports; or %s", check.LeaseWord(e.Lease.ID), others)
	case fixed && e.Claimed:
		return "give one of the two needs another port, or " + others
	case fixed && e.Status == check.OSReserved:
		return others
	case fixed && e.Passing:
		return "wait until the last connections have timed out with --wait 60s, or " + others
	}
	return fmt.Sprintf("end what has %s, %s, or wait for %s with --wait 10m; `portcheck leases` lists all leases", what, others, them)
}

// ownHint returns what to do if the job that runs exec has the port itself.
func ownHint(named string) string {
	flag := ""
	if named != "" {
		flag = " --job " + check.LeaseWord(named)
	}
	return fmt.Sprintf("that is this job itself, and exec needs a port of its own: start the command without `portcheck exec`, with the variables that `portcheck assign -f shell%s` prints, give exec other ports with --range 20000-20999, or end the lease first with `portcheck release%[1]s`", flag)
}

// leaseIDLength is the length of the ID of a lease.
const leaseIDLength = 12

// newLeaseID returns an ID of letters and the digits from 2 to 7.
func newLeaseID() string { return strings.ToLower(rand.Text()[:leaseIDLength]) }

// lifetimeOf returns how long a lease lasts at most.
func (a *app) lifetimeOf(asked time.Duration, now time.Time) time.Duration {
	switch left := ci.TimeLeft(a.env, now); {
	case asked > 0:
		return asked
	case left > 0:
		return left
	case a.inAction || ci.Running(a.env):
		return 6 * time.Hour // the most that GitHub gives to a job of its own runners
	}
	return time.Hour
}

// environ returns the environment as a list.
func (a *app) environ() []string {
	var all []string
	for name, value := range a.env {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return all
}

func (a *app) runAssign(ctx context.Context, args []string, o *assignOptions) (check.Assignment, error) {
	var none check.Assignment
	lookup := func(name string) (report.Writer[check.Assignment], error) {
		f, err := report.AssignmentFormats.Lookup(name)
		if err != nil {
			return nil, usageError(err, config.DidYouMean(name, report.AssignmentFormats.Names()))
		}
		return f, nil
	}
	format, err := lookup(o.format)
	if err != nil {
		return none, err
	}
	files, err := outputFiles(a, o.fileSpecs, "dotenv=ports.env", lookup)
	switch {
	case err != nil:
		return none, err
	case o.lifetime < 0 || o.forGiven && o.lifetime == 0:
		return none, usageError(fmt.Errorf("--for %s: want a duration above 0, such as 90m", o.lifetime), "")
	}
	if o.untilGiven {
		if err := watchable(o.untilExit); err != nil {
			return none, usageError(fmt.Errorf("--until-exit %d: %w", o.untilExit, err), "")
		}
	}
	o.localOnly = "--until-exit names a process of this machine"
	needs, targets, err := a.readAssignNeeds(ctx, args, o)
	if err != nil {
		return none, err
	}
	if err := endsWithContainer(targets); err != nil {
		return none, err
	}
	if o.format == "compose" || slices.ContainsFunc(files, func(f outputFile[check.Assignment]) bool { return f.name == "compose" }) {
		var wrong *config.Problem
		if needs, wrong = check.ForOverride(needs); wrong != nil {
			return none, usageError(wrong, "")
		}
	}
	var texts manifestTexts
	if o.write {
		if texts, err = a.mayWrite(ctx, needs, o); err != nil {
			return none, err
		}
	}
	if a.inAction {
		if err := a.announceJob(o, targets); err != nil {
			return none, err
		}
	}
	assignment, err := a.choose(ctx, needs, targets, o, false)
	if err != nil {
		return none, err
	}
	a.warnOfKept(assignment, o)
	for _, l := range assignment.Silent[:min(len(assignment.Silent), mostListed)] {
		a.logf("warning: the process that holds %s%s does not answer: if that is a lease of this job, the job has other ports, too", portsOf(l), keeperOf(l))
	}
	text, err := render(ctx, format, assignment, report.Options{Width: a.width(a.stdout)})
	if err == nil {
		err = text.writeTo(a.stdout)
	}
	failures := append([]error{writeFailure("the ports", err)}, writeFiles(ctx, a, files, assignment, report.Options{}, o.quiet)...)
	if o.exportEnv {
		var variables []ci.Output
		for _, p := range assignment.Ports {
			v := ci.Output{Name: p.Env, Value: fmt.Sprint(p.Port)}
			if !slices.Contains(variables, v) { // a need has one port on all of its targets
				variables = append(variables, v)
			}
		}
		failures = append(failures, writeFailure("the variables", ci.ExportVariables(a.env, variables...)))
	}
	if o.write {
		failures = append(failures, a.writeManifests(ctx, assignment, texts, o.quiet))
	}
	if err = joinFailures(failures...); err != nil {
		a.logf("the ports stay leased to %s until %s, or until `%s`", report.Safe(check.LeaseWord(assignment.Lease.Job)), assignment.Lease.Expires.UTC().Format(time.RFC3339), releaseCommand(assignment, targets))
	}
	return assignment, err
}

// releaseCommand returns the command line that ends the lease of an assignment.
func releaseCommand(assignment check.Assignment, targets []targetSpec) string {
	words := []string{"portcheck release", report.Safe(assignment.Lease.ID)}
	for _, t := range targets {
		if t.spec != "local" {
			words = append(words, "-t", report.Safe(t.spec))
		}
	}
	return strings.Join(words, " ")
}

// watchable returns an error if no lease can end with a process.
func watchable(pid int) error {
	switch {
	case pid < 1:
		return errors.New("want the PID of a process, a number above 0")
	case pid == os.Getpid():
		return errors.New("that is this portcheck itself, which ends at once")
	case !host.Runs(pid):
		return errors.New("there is no such process here")
	}
	return nil
}

// warnOfKept says of flags about the end of a lease that they have had no effect: what the
// job had before stays as it was.
func (a *app) warnOfKept(assignment check.Assignment, o *assignOptions) {
	var flags []string
	if o.lifetime > 0 {
		flags = append(flags, "--for")
	}
	if o.untilGiven {
		flags = append(flags, "--until-exit")
	}
	seen := map[string]bool{}
	for _, p := range assignment.Ports {
		l := assignment.Lease
		if p.Lease != nil {
			l = *p.Lease
		}
		if len(flags) == 0 || !p.Kept || seen[l.ID] || o.lifetime <= 0 && l.UntilExit == o.untilExit {
			continue
		}
		seen[l.ID] = true
		end := l.Expires.UTC().Format(time.RFC3339)
		if l.UntilExit > 0 {
			end += fmt.Sprintf(" or the end of process %d", l.UntilExit)
		}
		a.logf("warning: no effect of %s on the port of %s, which this job had before: its lease %s ends at %s; to start afresh, run `portcheck release` first", strings.Join(flags, " and "), report.Safe(p.Name), report.Safe(l.ID), end)
	}
}

// endsWithContainer returns an error if a lease on the target local would end with this
// process, because it is the first one of its container.
func endsWithContainer(specs []targetSpec) error {
	local := slices.ContainsFunc(specs, func(s targetSpec) bool { return s.spec == "local" })
	if !local || os.Getpid() != 1 {
		return nil
	}
	return usageError(errors.New("target local: this container ends with portcheck, and the lease with it"), "use --target runner to lease ports of the machine, or run the app by portcheck exec")
}
