package cli

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
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

// TestActionHasAnInputForEachFlag checks that each flag of check is an input, and
// that each input is used.
func TestActionHasAnInputForEachFlag(t *testing.T) {
	want := append([]string{"manifest", "command", "job-container", "job-services", "runner-temp"}, slices.Sorted(maps.Keys(sshSecrets))...)
	(&app{env: ci.Env{}}).check().Flags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(notInputs, f.Name) {
			want = append(want, f.Name)
		}
	})
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
}

func TestActionDeclaresItsOutputs(t *testing.T) {
	action := readAction(t)
	written := actionOutputs(check.Report{}, "")
	for _, o := range written {
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
		want string // the command line, or the error's beginning
	}{
		"nothing given": {ci.Env{"INPUT_FORMAT": "", "INPUT_JOB-SERVICES": "{}"}, "check --"},
		"lists":         {ci.Env{"INPUT_PORT": "8080\n53/udp\n", "INPUT_RANGE": "8000-8099\n9443"}, "check --port=8080 --port=53/udp --range=8000-8099 --range=9443 --"},
		"hyphens":       {ci.Env{"INPUT_FAIL-ON": "never", "INPUT_ALLOW-UNKNOWN": "true"}, "check --fail-on=never --allow-unknown=true --"},
		"manifests":     {ci.Env{"INPUT_MANIFEST": "a.yml\n--evil.yml\n"}, "check -- a.yml --evil.yml"},
		"lint":          {ci.Env{"INPUT_COMMAND": "lint", "INPUT_RECURSIVE": "deploy"}, "lint --recursive=deploy --"},
		"another":       {ci.Env{"INPUT_COMMAND": "list"}, `input command "list": want one of check, lint`},
		"no effect":     {ci.Env{"INPUT_COMMAND": "lint", "INPUT_WAIT": "3s"}, "input wait has no effect with command: lint"},
	} {
		args, err := (&app{env: c.env}).actionArgs()
		got := strings.Join(args, " ")
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
	for _, o := range actionOutputs(check.Report{Results: []check.Result{{ID: id, Alternatives: []uint16{8080}}}}, "") {
		if strings.Contains(o.Value, "##") || strings.Contains(o.Value, "@@") || strings.Contains(o.Value, "\u2028") {
			t.Errorf("%s=%s", o.Name, o.Value)
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
