//go:build linux

package acceptance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// runnerID owns the workspaces, as on GitHub's own runners.
const runnerID = 1001

// step is a step of a GitHub job that uses the action.
type step struct {
	image    string
	manifest string            // portcheck.yml in the workspace; none if empty
	inputs   map[string]string // set by the workflow
	socket   string            // mounted as the engine's socket; "" is the real one, "-" none
	flags    []string          // of docker run, beyond the runner's own
	name     string            // of the container; "" for any
	post     map[string]string // what the action has saved, if this is its step at the end of the job

	dir string // of workspace and files, made by start
	cmd *exec.Cmd

	stdout, stderr bytes.Buffer
	started        time.Time
}

// outcome is the result of a step.
type outcome struct {
	code           int
	stdout, stderr string
	report         check.Report
	outputs        map[string]string
	env, state     map[string]string // for later steps, and for the action's step at the end of the job
	summary        string
	workspace      string
	took           time.Duration
}

// run starts a step and waits for its end.
func (s step) run(t *testing.T) outcome {
	t.Helper()
	s.start(t)
	return s.wait(t)
}

// start starts the step like GitHub's runner: with a variable for every input of
// action.yml, and with variables for the runner's files.
func (s *step) start(t *testing.T) {
	t.Helper()
	s.prepare(t)
	s.launch(t)
}

// launch starts the step after prepare. options are options of docker's client.
func (s *step) launch(t *testing.T, options ...string) {
	t.Helper()
	s.cmd = exec.Command("docker", slices.Concat(options, []string{"run"}, s.args(t))...)
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.started = time.Now()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (s *step) prepare(t *testing.T) {
	t.Helper()
	s.dir = temp(t)
	if s.name == "" {
		s.name = "portcheckacceptance_" + strings.ToLower(rand.Text()[:12])
	}
	for _, dir := range []string{"workspace", "_temp/_runner_file_commands"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"output", "summary", "env", "state"} {
		write(t, filepath.Join(s.commands(), file), "")
	}
	if s.manifest != "" {
		write(t, filepath.Join(s.dir, "workspace/portcheck.yml"), s.manifest)
	}
	checkout(t, filepath.Join(s.dir, "workspace"))
	err := filepath.WalkDir(s.dir, func(name string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, runnerID, runnerID))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// temp returns the runner's directory for temporary files.
func (s *step) temp() string { return filepath.Join(s.dir, "_temp") }

// commands returns the runner's directory for outputs and summaries.
func (s *step) commands() string { return filepath.Join(s.temp(), "_runner_file_commands") }

// inContainer returns the value of a variable in the action's container, as
// ContainerInfo.TranslateToContainerPath of the runner does.
func (s *step) inContainer(value string) string {
	for _, m := range [][2]string{{filepath.Join(s.dir, "workspace"), "/github/workspace"}, {s.commands(), "/github/file_commands"}, {s.temp(), "/github/runner_temp"}} {
		if rest, ok := strings.CutPrefix(value, m[0]); ok && (rest == "" || rest[0] == '/') {
			return m[1] + rest
		}
	}
	return value
}

func (s *step) args(t *testing.T) []string {
	t.Helper()
	args := []string{
		"--name", s.name, "--label", "3aa2b9", "--workdir", "/github/workspace", "--rm",
		"-e", "HOME=/github/home", "-e", "CI=true", "-e", "GITHUB_ACTIONS=true", "-e", "RUNNER_OS=Linux",
		"-e", "GITHUB_WORKSPACE=/github/workspace", "-e", "RUNNER_TEMP=" + s.inContainer(s.temp()),
		"-e", "GITHUB_OUTPUT=/github/file_commands/output", "-e", "GITHUB_STEP_SUMMARY=/github/file_commands/summary",
		"-e", "GITHUB_ENV=/github/file_commands/env", "-e", "GITHUB_STATE=/github/file_commands/state",
		"-v", filepath.Join(s.dir, "workspace") + ":/github/workspace", "-v", s.commands() + ":/github/file_commands",
		"-v", s.temp() + ":/github/runner_temp",
	}
	switch s.socket {
	case "":
		args = append(args, "-v", engineSocket+":"+engineSocket)
	case "-":
	default:
		args = append(args, "-v", s.socket+":"+engineSocket)
	}
	declared := inputs(t, s.temp())
	for name, value := range s.inputs {
		if _, known := declared[name]; !known {
			t.Fatalf("action.yml has no input %q", name)
		}
		declared[name] = value
	}
	for name, value := range declared {
		args = append(args, "-e", "INPUT_"+strings.ToUpper(name)+"="+s.inContainer(value))
	}
	entrypoint := "/usr/local/bin/portcheck"
	if s.post != nil {
		entrypoint = "/usr/local/bin/portcheck-post"
	}
	for name, value := range s.post {
		args = append(args, "-e", "STATE_"+name+"="+value)
	}
	args = append(args, s.flags...)
	return append(args, "--entrypoint", entrypoint, s.image, "action")
}

// inputs returns all inputs of action.yml with their defaults. temp is the runner's
// directory for temporary files.
func inputs(t *testing.T, temp string) map[string]string {
	t.Helper()
	var action struct {
		Inputs map[string]struct{ Default string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../action.yml")), &action); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for name, input := range action.Inputs {
		switch {
		case strings.Contains(input.Default, "runner.temp"):
			values[name] = strings.NewReplacer("${{ toJSON(runner.temp) }}", fmt.Sprintf("%q", temp), "${{ runner.temp }}", temp).Replace(input.Default)
		case strings.Contains(input.Default, "toJSON"):
			values[name] = "{}"
		case strings.Contains(input.Default, "${{"):
			values[name] = ""
		default:
			values[name] = input.Default
		}
	}
	return values
}

// wait waits for the end of a step and reads its output.
func (s *step) wait(t *testing.T) outcome {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(patience):
		_, _ = try("rm", "-f", s.name) // the test fails below
		_ = s.cmd.Process.Kill()
		<-ended
		t.Fatalf("the step has not ended within %s\n%s%s", patience, s.stdout.String(), s.stderr.String())
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return s.outcome(t, s.cmd.ProcessState.ExitCode(), s.stdout.String(), s.stderr.String(), time.Since(s.started))
}

// outcome reads the output of a step.
func (s *step) outcome(t *testing.T, code int, stdout, stderr string, took time.Duration) outcome {
	t.Helper()
	o := outcome{
		code: code, stdout: stdout, stderr: stderr, took: took, workspace: filepath.Join(s.dir, "workspace"),
		outputs: outputs(t, read(t, filepath.Join(s.commands(), "output"))),
		env:     outputs(t, read(t, filepath.Join(s.commands(), "env"))),
		state:   outputs(t, read(t, filepath.Join(s.commands(), "state"))),
		summary: read(t, filepath.Join(s.commands(), "summary")),
	}
	if file := o.outputs["report"]; file != "" {
		if !filepath.IsAbs(file) {
			file = filepath.Join(o.workspace, file)
		}
		o.report = readReport(t, read(t, file))
	}
	return o
}

// checkout makes the workspace a git checkout of what is in it.
func checkout(t *testing.T, workspace string) {
	t.Helper()
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "all"}} {
		if out, err := shell("git", append([]string{"-C", workspace}, args...)...); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
}

func readReport(t *testing.T, text string) check.Report {
	t.Helper()
	var r check.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("the report: %v\n%s", err, text)
	}
	return r
}

// outputs parses a GITHUB_OUTPUT file like the runner.
func outputs(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		return all
	}
	for len(lines) > 0 {
		name, end, block := strings.Cut(lines[0], "<<")
		if !block {
			name, value, ok := strings.Cut(lines[0], "=")
			if !ok {
				t.Fatalf("no output: %q in\n%s", lines[0], text)
			}
			all[name] = value
			lines = lines[1:]
			continue
		}
		i := slices.Index(lines[1:], end)
		if i < 0 {
			t.Fatalf("output %s has no end in\n%s", name, text)
		}
		all[name] = strings.Join(lines[1:i+1], "\n")
		lines = lines[i+2:]
	}
	return all
}

// want fails the test with the step's output if the exit code differs.
func (o outcome) want(t *testing.T, code int) outcome {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d\n%s", o.code, code, o)
	}
	return o
}

func (o outcome) String() string {
	return fmt.Sprintf("stdout:\n%sstderr:\n%s", o.stdout, o.stderr)
}

// result returns the result for a need.
func (o outcome) result(t *testing.T, name string) check.Result {
	t.Helper()
	i := slices.IndexFunc(o.report.Results, func(r check.Result) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("there is no result %s\n%s", name, o)
	}
	return o.report.Results[i]
}

// status fails the test if the status of a need differs.
func (o outcome) status(t *testing.T, name string, want check.Status) check.Result {
	t.Helper()
	r := o.result(t, name)
	if r.Status != want {
		t.Errorf("%s is %s (%s), want %s\n%s", name, r.Status, r.Message, want, o)
	}
	return r
}

// target returns the only target.
func (o outcome) target(t *testing.T) check.TargetReport {
	t.Helper()
	if len(o.report.Targets) != 1 {
		t.Fatalf("targets: %+v\n%s", o.report.Targets, o)
	}
	return o.report.Targets[0]
}

// holder returns the only holder of a result.
func holder(t *testing.T, r check.Result) check.Holder {
	t.Helper()
	if len(r.Holders) != 1 {
		t.Fatalf("%s: %s; holders: %+v", r.Name, r.Message, r.Holders)
	}
	return r.Holders[0]
}

// degraded returns the messages of the notices about missing evidence.
func degraded(notices ...[]check.Notice) string {
	var all []string
	for _, n := range slices.Concat(notices...) {
		if n.Code == config.Degraded {
			all = append(all, n.Message)
		}
	}
	return strings.Join(all, "\n")
}

// need returns a line of a manifest.
func need(name string, port int, more string) string {
	return fmt.Sprintf("  - {name: %s, port: %d%s}\n", name, port, more)
}

func manifest(needs ...string) string {
	return "version: 1\napp: shop\nports:\n" + strings.Join(needs, "")
}

// shell runs a program and returns its stdout and stderr.
func shell(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}
