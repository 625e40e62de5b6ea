package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// needOptions are the flags that name manifests, ports and targets.
type needOptions struct {
	ports     []string
	targets   []string
	set       []string
	only      []string
	skip      []string
	expect    string
	offset    int
	recursive []string
	source    string
	lint      bool // not a flag
	// allowTargets is also for remotes that manifests name. Not every command has the flag.
	allowTargets bool
	atRoot       bool // not a flag: no command is named, so the first argument may be meant as one
	composeOptions
}

// needFlags declares the flags that choose needs. verb says what is done with them.
func (o *needOptions) needFlags(f *pflag.FlagSet, verb string) {
	addList(f, &o.ports, "port", "p", "port to "+verb+" without a manifest, such as `8080`, 80,443, 8000-8003, 53/udp, 127.0.0.1:8080, [::1]:8080/tcp; address and protocol are those of the whole list (repeatable)")
	f.StringVar(&o.expect, "expect", string(config.Free), "what is expected of every --port: "+config.OneOf(config.Expects())+"; the last two with HOST:PORT, to which portcheck connects")
	addList(f, &o.only, "only", "", "take only the needs with this `NAME`, a glob (repeatable)")
	addList(f, &o.skip, "skip", "", "leave out the needs with this `NAME`, a glob (repeatable)")
	addList(f, &o.set, "set", "", "give the need NAME another port, as `NAME=PORT` (repeatable); a block starts there, or gets as many ports as it has")
	f.IntVar(&o.offset, "offset", 0, "add `N` to every declared port except remote ones, auto and those that --set changes")
	addList(f, &o.recursive, "recursive", "r", "read every manifest below `DIR`, and Compose files where there is none (repeatable)")
	f.StringVar(&o.source, "source", "", "read every manifest as `NAME`: "+config.OneOf(config.SourceNames())+"; without it, each as what it is")
	groupWhat.addTo(f)
	addList(f, &o.targets, "target", "t", "where to check, as `[NAME=]TARGET`: "+config.TargetSyntax()+" (repeatable); without NAME it replaces all targets of the manifests")
	groupWhere.addTo(f)
	o.composeFlags(f)
}

// readNeeds reads manifests and flags. If it returns problems, the needs and
// targets are not complete. auto is the target of needs that name none. The error
// is that of names that may not be read, or the context's.
func (a *app) readNeeds(ctx context.Context, args []string, o needOptions, auto string) ([]check.Need, []targetSpec, []config.Problem, error) {
	if err := o.validate(); err != nil {
		return nil, nil, nil, err
	}
	names := slices.Concat(args, o.recursive, o.composeOptions.names())
	if len(args)+len(o.recursive)+len(o.files)+len(o.ports) == 0 {
		names = append(names, config.FileNames()...) // one of them will be read
	}
	if err := a.refuseToRead(names...); err != nil {
		return nil, nil, nil, err
	}
	type read struct {
		needs    []check.Need
		specs    []targetSpec
		problems []config.Problem
		notes    []string
		claimed  []check.Need
		inputs   []input
	}
	r, err := untilCancelled(ctx, func() (r read) {
		vars := a.variables()
		r.needs, r.specs, r.problems = a.parseNeeds(args, o, auto, vars)
		r.notes, r.claimed, r.inputs = vars.notes(), vars.claimed, vars.inputs
		return r
	})
	a.claimed = r.claimed
	a.inputs = append(a.inputs, r.inputs...)
	if ctx.Err() != nil { // it may have ended the read of stdin
		err = context.Cause(ctx)
	}
	if slices.Contains(args, "-") {
		a.addInputs("-")
	}
	for _, note := range r.notes {
		a.logf("%s", note)
	}
	if err == nil {
		err = a.refuseOverwrite()
	}
	return r.needs, r.specs, r.problems, err
}

func (o needOptions) validate() error {
	switch {
	case slices.ContainsFunc(o.profiles, isList):
		one := o.profiles[slices.IndexFunc(o.profiles, isList)]
		return usageError(fmt.Errorf("--profile %q: want one name", one), onceForEach("--profile", one))
	case o.source != "" && !slices.Contains(config.SourceNames(), o.source):
		return notOneOf("--source", o.source, config.SourceNames())
	case o.expect != "" && !slices.Contains(config.Expects(), o.expect):
		return notOneOf("--expect", o.expect, config.Expects())
	case o.expect != "" && o.expect != string(config.Free) && len(o.ports) == 0:
		return usageError(fmt.Errorf("--expect %s has no effect without --port: in a manifest, each need has its own expect", o.expect), "")
	}
	return nil
}

// withoutNeeds returns a problem for each flag that has no effect where nothing names
// needs.
func (o needOptions) withoutNeeds() []config.Problem {
	var problems []config.Problem
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"--only", len(o.only) > 0},
		{"--skip", len(o.skip) > 0},
		{"--set", len(o.set) > 0},
		{"--offset", o.offset != 0},
		{"--source", o.source != ""},
		{"--env-file", len(o.envFiles) > 0},
		{"--profile", len(o.profiles) > 0},
		{"--project", o.project != ""},
		{allowFlag, o.allowTargets},
	} {
		if f.set {
			problems = append(problems, config.Problem{
				Position: config.Position{File: f.name},
				Message:  "has no effect: there are no needs: name a MANIFEST or use --port",
			})
		}
	}
	return problems
}

func (a *app) parseNeeds(args []string, o needOptions, auto string, vars *variables) ([]check.Need, []targetSpec, []config.Problem) {
	manifests, problems := a.manifests(args, o, vars)
	if m, bad := portFlagManifest(o.ports, cmp.Or(config.Expect(o.expect), config.Free)); len(m.Ports) > 0 || len(bad) > 0 {
		manifests = append(manifests, m)
		problems = append(problems, bad...)
	}
	if len(problems) == 0 {
		problems = append(problems, o.withoutCompose(manifests)...)
	}
	problems = append(problems, applyOverrides(manifests, o.offset, o.set, len(problems) == 0)...)
	problems = append(problems, selectNeeds(manifests, o.only, o.skip, len(problems) == 0, vars)...)
	targets, bad := parseTargetFlags(o.targets, auto)
	problems = append(problems, bad...)
	if len(problems) > 0 {
		return nil, nil, problems
	}
	needs, specs, problems := expand(manifests, targets)
	if len(problems) == 0 {
		vars.claimed, _, _ = expand(vars.leftOut, targets) // what is wrong with them is of no interest
	}
	return needs, specs, problems
}

func (a *app) manifests(args []string, o needOptions, vars *variables) ([]config.Manifest, []config.Problem) {
	var problems []config.Problem
	bounds := a.readBounds()
	options := config.Options{Bounds: bounds, Getenv: vars.getenv, Withheld: vars.refused != "", Unfixed: vars.addUnfixed, Opened: vars.addOpened, Source: o.source, Lint: o.lint}
	o.apply(&options)
	names := slices.Clone(args)
	var discovered config.Discovered
	for _, dir := range o.recursive {
		found, bad := config.Find(dir, options)
		names, problems = append(names, found...), append(problems, bad...)
		problems = append(problems, options.AddFound(found)...)
	}
	if len(o.files) > 0 {
		options.SetProject(o.files)
		names = append(names, o.files[0])
	}
	if len(names) == 0 && len(o.ports) == 0 && len(problems) == 0 {
		var bad []config.Problem
		if discovered, bad = config.Discover(".", options); len(bad) > 0 {
			return nil, bad
		}
		if discovered.Compose {
			vars.discovered = append([]string{discovered.File}, discovered.Overrides...)
			options.SetDiscovered(".", discovered)
		}
		names = []string{discovered.File}
	}
	if len(names) == 0 {
		return nil, o.withLists(problems)
	}
	manifests, bad := config.Load(names, a.stdin, options)
	for i := range bad {
		if slices.Contains(args, bad[i].File) && bad[i].Line == 0 && bad[i].File != "-" && !strings.ContainsAny(filepath.Ext(bad[i].File), "abcdefghijklmnopqrstuvwxyz") {
			if hint := config.DidYouMean(bad[i].File, commandNames); hint != "" {
				bad[i].Message += "; " + strings.Replace(hint, "did you mean", "did you mean the command", 1)
			} else if other := otherCommands[bad[i].File]; other != "" {
				bad[i].Message += "; did you mean the command \"" + other + "\"?"
			} else if spec := cmp.Or(respelled(bad[i].File), bad[i].File); isPort(spec) {
				bad[i].Message += "; to check a port without a manifest: portcheck -p " + spec
			} else if o.atRoot && bad[i].File == args[0] && !strings.ContainsAny(args[0], `./\`) && bad[i].Message == "no such file" {
				bad[i].Message += ", and no command of that name: see 'portcheck --help'"
			}
		}
	}
	named, _ := config.Files(slices.Concat(args, o.files), bounds...) // Load has reported its problems
	for i := range manifests {
		manifests[i].Found = discovered.Above || len(o.recursive) > 0 && !slices.Contains(named, manifests[i].File)
	}
	return manifests, o.withLists(append(problems, bad...))
}

// withLists adds to problems with a file that is a list what to write instead.
func (o needOptions) withLists(problems []config.Problem) []config.Problem {
	for i, p := range problems {
		for _, f := range []struct {
			flag   string
			values []string
		}{{"--compose-file", o.files}, {"--env-file", o.envFiles}, {"-r", o.recursive}} {
			if hint := onceForEach(f.flag, p.File); hint != "" && p.Line == 0 && slices.Contains(f.values, p.File) {
				problems[i].Message += "; " + hint
			}
		}
	}
	return problems
}

// otherCommands are the words that other programs have for what a command does.
var otherCommands = map[string]string{
	"ls": "list", "ps": "list", "show": "list", "status": "list", "who": "list", "find": "free", "suggest": "free", "get": "free",
	"validate": "lint", "test": "check", "scan": "check", "reserve": "assign", "allocate": "assign", "run": "exec", "wait": "check --wait 30s",
}

// commandNames are the commands that a mistyped one is compared with.
var commandNames = []string{"check", "lint", "init", "list", "watch", "free", "assign", "exec", "verify", "leases", "release", "merge", "diff", "version", "completion", "help"}
