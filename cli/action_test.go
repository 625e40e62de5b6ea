package cli

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
)

type actionFile struct {
	Inputs  map[string]struct{ Description, Default string }
	Outputs map[string]struct{ Description string }
	Runs    struct {
		Using, Image, Entrypoint string
		Args                     []string
	}
}

func readAction(t *testing.T) (f actionFile) {
	t.Helper()
	text, err := os.ReadFile("../action.yml")
	if err == nil {
		err = yaml.Unmarshal(text, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestActionHasAnInputForEachFlag checks that each flag of each command of the action is
// an input, and that each input is used.
func TestActionHasAnInputForEachFlag(t *testing.T) {
	want := append(actionInputs(&app{env: ci.Env{}}), "command", "job-container", "job-services", "runner-temp")
	action := readAction(t)
	for _, name := range want {
		if action.Inputs[name].Description == "" {
			t.Errorf("action.yml has no input %s with a description", name)
		}
	}
	for name := range action.Inputs {
		if !slices.Contains(want, name) {
			t.Errorf("action.yml has an input %s that is not used", name)
		}
	}
	for _, c := range actionCommands {
		if !strings.Contains(action.Inputs["command"].Description, c.name) {
			t.Errorf("action.yml does not name the command %s", c.name)
		}
	}
}

func TestActionDeclaresItsOutputs(t *testing.T) {
	action := readAction(t)
	written := map[string]bool{}
	for _, o := range slices.Concat(actionOutputs(check.Report{}, ""), assignOutputs(check.Assignment{}, true)) {
		written[o.Name] = true
		if action.Outputs[o.Name].Description == "" {
			t.Errorf("action.yml has no output %s with a description", o.Name)
		}
	}
	if len(action.Outputs) != len(written) {
		t.Errorf("action.yml has %d outputs, and %d are written", len(action.Outputs), len(written))
	}
}

func TestActionArgs(t *testing.T) {
	for name, c := range map[string]struct {
		env  ci.Env
		want string // the command line, or the error, and then the inputs that are not used
	}{
		"nothing given": {ci.Env{"INPUT_FORMAT": "", "INPUT_JOB-SERVICES": "{}"}, "check --"},
		"lists":         {ci.Env{"INPUT_PORT": "8080\n53/udp\n", "INPUT_RANGE": "8000-8099\n9443"}, "check --port=8080 --port=53/udp --range=8000-8099 --range=9443 --"},
		"hyphens":       {ci.Env{"INPUT_FAIL-ON": "never", "INPUT_ALLOW-UNKNOWN": "true"}, "check --fail-on=never --allow-unknown=true --"},
		"manifests":     {ci.Env{"INPUT_MANIFEST": "a.yml\n--evil.yml\n"}, "check -- a.yml --evil.yml"},
		"lint":          {ci.Env{"INPUT_COMMAND": "lint", "INPUT_RECURSIVE": "deploy"}, "lint --recursive=deploy --"},
		"assign":        {ci.Env{"INPUT_COMMAND": "assign", "INPUT_FOR": "90m", "INPUT_EXPORT-ENV": "true", "INPUT_JOB": "a b", "INPUT_MANIFEST": "a.yml"}, "assign --job=a b --export-env=true --for=90m -- a.yml"},
		"verify":        {ci.Env{"INPUT_COMMAND": "verify", "INPUT_WAIT": "30s", "INPUT_FAIL-ON": "warning"}, "verify --wait=30s --fail-on=warning --"},
		"release":       {ci.Env{"INPUT_COMMAND": "release", "INPUT_JOB": "a", "INPUT_ALL": "true"}, `release --job=a --; input all has no effect: the action has no input of that name; did you mean "allow-manifest-targets"?`},
		"another":       {ci.Env{"INPUT_COMMAND": "asign"}, `input command "asign": want one of check, lint, assign, verify, release`},
		"no effect":     {ci.Env{"INPUT_COMMAND": "lint", "INPUT_WAIT": "3s", "INPUT_JOB": "x", "INPUT_SSH-KEY": "k"}, "lint --; input job has no effect with command: lint; input ssh-key has no effect with command: lint; input wait has no effect with command: lint"},
		"no manifest":   {ci.Env{"INPUT_COMMAND": "release", "INPUT_MANIFEST": "a.yml"}, "release --; input manifest has no effect with command: release"},
		"unknown":       {ci.Env{"INPUT_WRITE": "true", "INPUT_EXPORT_ENV": "true", "INPUT_COMAND": "lint", "INPUT_": "x", "INPUT_ARGS": "x", "INPUT_X\n": "1", "INPUT_ALL": " "}, "check --; input comand has no effect: the action has no input of that name; did you mean \"command\"?; input export_env has no effect: the action has no input of that name; did you mean \"export-env\"?; input write has no effect: the action has no input of that name; input x\n has no effect: the action has no input of that name"},
		"of assign":     {ci.Env{"INPUT_EXPORT-ENV": "true", "INPUT_JOB": "a"}, "check --; input export-env has no effect with command: check"},
	} {
		args, unused, err := (&app{env: c.env}).actionArgs()
		got := strings.Join(append([]string{strings.Join(args, " ")}, unused...), "; ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A later step may print the outputs. A merged report has names that no check
// limits.
func TestOutputsAreNoLogCommands(t *testing.T) {
	id := "##vso[task.complete]x/@@continua[x]\u2028@local/tcp"
	outputs := slices.Concat(
		actionOutputs(check.Report{Results: []check.Result{{ID: id, Alternatives: []uint16{8080}}}}, ""),
		assignOutputs(check.Assignment{Ports: []check.AssignedPort{{Name: id, App: id, Env: "WEB_PORT", Port: 8080, Reason: id}}}, true))
	for _, o := range outputs {
		if strings.Contains(o.Value, "##") || strings.Contains(o.Value, "@@") || strings.Contains(o.Value, "\u2028") {
			t.Errorf("%s=%s", o.Name, o.Value)
		}
		if o.Name == "ports" {
			var got []check.AssignedPort
			if err := json.Unmarshal([]byte(o.Value), &got); err != nil || len(got) != 1 || got[0].Name != id || got[0].Port != 8080 {
				t.Errorf("%s: %v, %v", o.Value, got, err)
			}
		}
		if o.Name != "alternatives" {
			continue
		}
		var got map[string][]uint16
		if err := json.Unmarshal([]byte(o.Value), &got); err != nil || len(got[id]) != 1 {
			t.Errorf("%s: %v, %v", o.Value, got, err)
		}
	}
}
