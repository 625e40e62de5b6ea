package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
)

// actionCommand is a value of the input `command`.
type actionCommand struct {
	name   string
	flags  func(*app) *cobra.Command // the command of that name
	inputs []string                  // those that it uses beside its flags
}

// actionCommands are the commands of the action. The first is the default.
var actionCommands = []actionCommand{
	{"check", (*app).check, []string{"manifest", "job"}},
	{"lint", (*app).lint, []string{"manifest"}},
	{"assign", (*app).assign, []string{"manifest"}},
	{"verify", (*app).verify, []string{"manifest"}},
	{"release", (*app).release, nil},
}

// notInputs are flags without an input: an action merges nothing, its image has its own
// agent directory, its process ends with the step, it ends no leases of other jobs, and
// it changes no file of the checkout.
var notInputs = []string{"help", "no-color", "candidates", "agent-dir", "ssh-log", "until-exit", "all", "write"}

// action is the entrypoint of the container action: it runs a command with the inputs
// of action.yml as flags.
func (a *app) action() *cobra.Command {
	var post bool
	cmd := &cobra.Command{
		Use:     "action",
		Short:   "Run as a GitHub container action, with the action's inputs as flags",
		Example: `  INPUT_PORT=8080 portcheck action`,
		Hidden:  true,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			job, err := ci.ReadActionJob(a.env)
			if err != nil {
				a.logf("warning: %s", safeWords(err.Error()))
			}
			a.inAction, a.job = true, job
			a.setSecrets()
			if post {
				return a.post(cmd.Context())
			}
			args, unused, err := a.actionArgs()
			if err != nil {
				return err
			}
			for _, warning := range unused {
				a.annotateWarning(warning)
			}
			return a.runCommand(cmd.Context(), args)
		},
	}
	cmd.Flags().BoolVar(&post, "post", false, "end what this job has leased, at the end of the job")
	return cmd
}

// runCommand runs a command line of this program.
func (a *app) runCommand(ctx context.Context, args []string) error {
	root := a.root(args)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

func (a *app) annotateWarning(message string) {
	fmt.Fprint(a.stderr, ci.WarningAnnotation("portcheck", safeWords(message)))
}

// actionArgs returns the command line for the inputs of the action, and a message for
// each input that the command does not use.
func (a *app) actionArgs() (args, unused []string, err error) {
	name := cmp.Or(ci.Input(a.env, "command"), actionCommands[0].name)
	var names []string
	for _, c := range actionCommands {
		names = append(names, c.name)
	}
	at := slices.Index(names, name)
	if at < 0 {
		return nil, nil, usageError(fmt.Errorf("input command %q: want one of %s", name, strings.Join(names, ", ")), config.DidYouMean(name, names))
	}
	command := actionCommands[at]
	flags := command.flags(a).Flags()
	args = []string{name}
	flags.VisitAll(func(f *pflag.Flag) {
		values, invalid := a.inputValues(f)
		if err == nil {
			err = invalid
		}
		for _, v := range values {
			args = append(args, "--"+f.Name+"="+v)
		}
	})
	if job := ci.Input(a.env, "job"); job != "" && flags.Lookup("job") == nil {
		a.env[ci.JobVariable] = job
	}
	for _, input := range actionInputs(a) {
		uses := flags.Lookup(input) != nil || slices.Contains(command.inputs, input)
		if _, secret := sshSecrets[input]; secret {
			uses = flags.Lookup("known-hosts") != nil
		}
		if !uses && ci.Input(a.env, input) != "" {
			unused = append(unused, fmt.Sprintf("input %s has no effect with command: %s", input, name))
		}
	}
	unused = append(unused, a.unknownInputs()...)
	args = append(args, "--")
	if slices.Contains(command.inputs, "manifest") {
		args = append(args, ci.Lines(a.env, "manifest")...)
	}
	return args, unused, err
}

// actionInputs returns the names of the inputs that some command uses.
func actionInputs(a *app) []string {
	names := slices.Sorted(maps.Keys(sshSecrets))
	for _, c := range actionCommands {
		names = append(names, c.inputs...)
		c.flags(a).Flags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(notInputs, f.Name) {
				names = append(names, f.Name)
			}
		})
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// otherInputs are the inputs that no command of the action has as a flag. The last two
// are GitHub's own for every container action.
var otherInputs = []string{"command", "job-container", "job-services", "runner-temp", "args", "entrypoint"}

// unknownInputs returns a message for each input that the action does not have. Steps
// can set any variable, so only a few are named.
func (a *app) unknownInputs() []string {
	const most = 10
	inputs := slices.Concat(actionInputs(a), otherInputs)
	var all []string
	for _, variable := range slices.Sorted(maps.Keys(a.env)) {
		name, found := strings.CutPrefix(variable, "INPUT_")
		if name = strings.ToLower(name); !found || name == "" || slices.Contains(inputs, name) || strings.TrimSpace(a.env[variable]) == "" {
			continue
		}
		if len(all) == most {
			return append(all, "more inputs have no effect, because the action has none of their names")
		}
		message := fmt.Sprintf("input %.64s has no effect: the action has no input of that name", name)
		if hint := config.DidYouMean(name, inputs); hint != "" {
			message += "; " + hint
		}
		all = append(all, message)
	}
	return all
}

// inputValues returns the values of the input that has the name of a flag. For a
// repeatable flag each line is a value.
func (a *app) inputValues(f *pflag.Flag) ([]string, error) {
	lines := ci.Lines(a.env, f.Name)
	switch {
	case slices.Contains(notInputs, f.Name):
		return nil, nil
	case f.Name == "output":
		return a.outputsHere(lines)
	case f.Value.Type() == "stringArray", f.Value.Type() == "ports", len(lines) == 0:
		return lines, nil
	}
	return []string{ci.Input(a.env, f.Name)}, nil
}

// sharedDir is a directory of the runner that is mounted in the action's container.
type sharedDir struct {
	here  string // its path in the container
	there string // its path on the runner
}

// runnerTemp returns the runner's directory for temporary files. Runners before
// 2.329 mount only the home directory that is in it.
func (a *app) runnerTemp() (sharedDir, error) {
	there, err := ci.RunnerTemp(a.env)
	if err != nil {
		return sharedDir{}, err
	}
	for _, d := range []sharedDir{{a.env["RUNNER_TEMP"], there}, {a.env["HOME"], filepath.Join(there, "_github_home")}} {
		// Everything of the runner is mounted beside the workspace, in /github. act
		// sets the same variables, but mounts nothing there.
		mounted := d.here != d.there && filepath.Dir(d.here) == filepath.Dir(ci.Workspace(a.env))
		if info, err := os.Stat(d.here); mounted && err == nil && info.IsDir() {
			return d, nil
		}
	}
	return sharedDir{}, errNotMounted
}

var errNotMounted = errors.New("the runner's temporary directory is not mounted: name a file in the workspace by `output: json=FILE`")

// outputsHere returns the lines of the input output. A file in the runner's temporary
// directory gets its path in the container; without a mount, no later step would see
// the file.
func (a *app) outputsHere(lines []string) ([]string, error) {
	all, err := ci.RunnerTemp(a.env)
	if err != nil {
		return lines, nil // nothing is known of another directory
	}
	for i, line := range lines {
		format, path, _ := strings.Cut(line, "=")
		if _, inside := pathBelow(all, path); !inside {
			continue
		}
		temp, err := a.runnerTemp()
		if err != nil {
			return nil, usageError(fmt.Errorf("input output %q: %w", line, err), "")
		}
		rel, inside := pathBelow(temp.there, path)
		if !inside {
			return nil, usageError(fmt.Errorf("input output %q: %w", line, errNotMounted), "")
		}
		lines[i] = format + "=" + filepath.Join(temp.here, rel)
	}
	return lines, nil
}

// pathBelow returns the path of a file relative to a directory, and reports whether it
// is in that directory.
func pathBelow(dir, path string) (string, bool) {
	rel, err := filepath.Rel(dir, path)
	return rel, err == nil && filepath.IsLocal(rel)
}

// pathForSteps returns the path by which later steps can open a file that the action
// has written: relative to the workspace, or that on the runner.
func (a *app) pathForSteps(path string) string {
	if rel, inside := pathBelow(ci.Workspace(a.env), path); inside {
		return rel
	}
	if temp, err := a.runnerTemp(); err == nil {
		if rel, inside := pathBelow(temp.here, path); inside {
			return filepath.Join(temp.there, rel)
		}
	}
	return path
}
