package pipelines

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/cli"
	"github.com/org/portcheck/internal/testbed"
)

// TestComposeExamples runs what the examples for a Compose project run, in one.
func TestComposeExamples(t *testing.T) {
	var pipeline struct {
		Include []struct{ Inputs map[string]string }
	}
	if err := yaml.Unmarshal([]byte(read(t, examples+"gitlab-compose.yml")), &pipeline); err != nil {
		t.Fatal(err)
	}
	var head struct {
		Spec struct{ Inputs map[string]any }
	}
	if err := yaml.NewDecoder(strings.NewReader(read(t, component))).Decode(&head); err != nil {
		t.Fatal(err)
	}
	args := []string{"check"}
	for _, i := range pipeline.Include {
		for input := range i.Inputs {
			if _, known := head.Spec.Inputs[input]; !known {
				t.Errorf("the component has no input %s", input)
			}
		}
		args = append(args, strings.Fields(i.Inputs["args"])...)
	}
	var inputs []string
	for _, s := range workflows(t)["github-compose.yml"].Jobs["test"].Steps {
		for name, value := range s.With {
			inputs = append(inputs, "INPUT_"+strings.ToUpper(name)+"="+value)
		}
	}
	if len(args) < 2 || !slices.Contains(inputs, "INPUT_PROJECT=shop") {
		t.Fatalf("nothing to run: %q, %q", args, inputs)
	}
	if !testbed.Isolated(t) {
		return
	}
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"compose.yaml":    "services:\n  web:\n    ports: ['8081:80']\n",
		"compose.ci.yaml": "services:\n  web:\n    ports: !override ['127.0.0.1:8080:80']\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func() (int, string) {
		var stdout, stderr bytes.Buffer
		code := cli.Run(t.Context(), slices.Concat(args, []string{"--wait", "0s"}), nil, strings.NewReader(""), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	if code, out := run(); code != 0 || !strings.Contains(out, "1 ok") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if outputs := act(t, append(inputs, "INPUT_TARGET=local", "INPUT_WAIT=0s")...); outputs["ok"] != "true" {
		t.Errorf("the action: %v", outputs)
	}
	hold(t)
	if code, out := run(); code != 1 || !strings.Contains(out, "compose.ci.yaml:3:23: error: web: tcp 127.0.0.1:8080 is in use") {
		t.Errorf("with a stranger: exit code %d\n%s", code, out)
	}
	if outputs := act(t, append(inputs, "INPUT_TARGET=local", "INPUT_WAIT=0s")...); outputs["ok"] != "false" || outputs["conflicts"] != "1" {
		t.Errorf("the action with a stranger: %v", outputs)
	}
}
