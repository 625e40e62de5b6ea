package pipelines

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/cli"
	"github.com/org/portcheck/internal/testbed"
)

const examples = "../../examples/"

type workflow struct {
	Jobs map[string]struct{ Steps []step }
}

type step struct {
	ID, Uses, Run string
	With          map[string]string
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(examples + "github-*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	all := map[string]workflow{}
	for _, file := range files {
		var w workflow
		if err := yaml.Unmarshal([]byte(read(t, file)), &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = w
	}
	return all
}

// TestWorkflowsUseWhatTheActionHas checks the inputs and outputs that the examples
// use. actionlint can't, because it does not find this action's metadata.
func TestWorkflowsUseWhatTheActionHas(t *testing.T) {
	type metadata struct{ Inputs, Outputs map[string]any }
	actions := map[string]metadata{"org/portcheck": {}, "org/portcheck/setup": {}}
	for name := range actions {
		var action metadata
		if err := yaml.Unmarshal([]byte(read(t, "../.."+strings.TrimPrefix(name, "org/portcheck")+"/action.yml")), &action); err != nil {
			t.Fatal(err)
		}
		actions[name] = action
	}
	pinned := regexp.MustCompile(`^(org/portcheck(/setup)?@v1 # better: .+|[^@ ]+@[0-9a-f]{40} # v[0-9.]+)$`)
	for name, w := range workflows(t) {
		used := 0
		text := read(t, examples+name)
		for _, job := range w.Jobs {
			for _, s := range job.Steps {
				uses, _, _ := strings.Cut(s.Uses, "@")
				action, ours := actions[uses]
				if !ours {
					continue
				}
				used++
				for input := range s.With {
					if action.Inputs[input] == nil {
						t.Errorf("%s: the action has no input %s", name, input)
					}
				}
				for _, m := range regexp.MustCompile(`steps\.`+s.ID+`\.outputs\.([a-z-]+)`).FindAllStringSubmatch(text, -1) {
					if action.Outputs[m[1]] == nil {
						t.Errorf("%s: the action has no output %s", name, m[1])
					}
				}
			}
		}
		if used == 0 {
			t.Errorf("%s does not use the action", name)
		}
		for line := range strings.Lines(text) {
			if _, uses, ok := strings.Cut(line, "uses: "); ok && !pinned.MatchString(strings.TrimSpace(uses)) {
				t.Errorf("%s: not pinned by commit, with its tag beside it: %s", name, uses)
			}
		}
	}
}

// TestOutputsMoveNeeds runs the script of github-outputs.yml with the outputs of
// real runs.
func TestOutputsMoveNeeds(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		testbed.Missing(t, "needs jq")
	}
	script := ""
	for _, job := range workflows(t)["github-outputs.yml"].Jobs {
		for _, s := range job.Steps {
			if strings.Contains(s.Run, "GITHUB_ENV") {
				script = s.Run
			}
		}
	}
	if script == "" {
		t.Fatal("no step writes variables")
	}
	if !testbed.Isolated(t) {
		return
	}
	t.Chdir(t.TempDir())
	hold(t)
	for _, c := range []struct{ name, manifest, want string }{
		{"nothing is taken", "version: 1\nports: [{name: web, port: 8081}]\n", ""},
		{"one moves", "version: 1\nports: [{name: web, port: 8080}, {name: b, port: 8081}]\n", "PORT_WEB=20000\n"},
		{"both protocols are one need", "version: 1\nports: [{name: d-n.s, port: 8080, protocol: [tcp, udp]}]\n", "PORT_D_N_S=20000\n"},
		{"a slash in the app", "version: 1\napp: a/b@c/d\nports: [{name: web, port: 8080}]\n", "PORT_WEB=20000\n"},
		{"two move", "version: 1\nports: [{name: web, port: 8080}, {name: up, port: 8080, address: 127.0.0.1}]\n", "PORT_UP=20001\nPORT_WEB=20000\n"},
		{"one can't move", "version: 1\nports: [{name: web, port: 8080}, {name: up, port: 8081, expect: listening}]\n", "fails"},
		{"a bad manifest", "version: 2\n", "fails"},
	} {
		if err := os.WriteFile("portcheck.yml", []byte(c.manifest), 0o644); err != nil {
			t.Fatal(err)
		}
		outputs := act(t, "INPUT_MANIFEST=portcheck.yml", "INPUT_RANGE=20000-20999", "INPUT_TARGET=local")
		_ = os.Remove("env") // written by the previous case
		cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", script)
		cmd.Env = append(os.Environ(), "GITHUB_ENV=env", "ALTERNATIVES="+outputs["alternatives"], "CONFLICTS="+outputs["conflicts"], "OK="+outputs["ok"])
		out, err := cmd.CombinedOutput()
		if c.want == "fails" {
			if err == nil {
				t.Errorf("%s: the step passed with %v", c.name, outputs)
			}
			continue
		}
		got, readErr := os.ReadFile("env")
		if readErr != nil && c.want != "" {
			t.Error(readErr)
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v, %q, want %q\n%s%v", c.name, err, got, c.want, out, outputs)
		}
	}
}

// hold starts a program that listens on 127.0.0.1:8080.
func hold(t *testing.T) {
	t.Helper()
	testbed.Python(t, `
import http.server
s = http.server.HTTPServer(("127.0.0.1", 8080), http.server.SimpleHTTPRequestHandler)
print("ready")
s.serve_forever()`)
}

// act runs the action's entrypoint and returns its outputs.
func act(t *testing.T, inputs ...string) map[string]string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "output")
	env := append([]string{"GITHUB_ACTIONS=true", "GITHUB_WORKSPACE=" + here, "RUNNER_TEMP=" + here, "GITHUB_OUTPUT=" + file, "GITHUB_STEP_SUMMARY=" + file + "-summary"}, inputs...)
	for _, name := range []string{file, file + "-summary"} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	cli.Run(t.Context(), []string{"action"}, env, strings.NewReader(""), &stdout, &stderr)
	all := map[string]string{}
	lines := strings.Split(read(t, file), "\n")
	for i := 0; i+2 < len(lines); i++ {
		if name, end, ok := strings.Cut(lines[i], "<<"); ok {
			all[name] = lines[i+1]
			if lines[i+2] != end {
				t.Fatalf("output %s has several lines", name)
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("no outputs\n%s%s", &stdout, &stderr)
	}
	return all
}

// TestJenkinsfile runs the command line of the Jenkinsfile, and checks its exit
// codes and reports.
func TestJenkinsfile(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, examples+"Jenkinsfile"), "script: '''")
	line, rest, ok := strings.Cut(rest, "'''")
	if !ok || !strings.Contains(rest, "code == 4") {
		t.Fatal("no script of which the exit code is checked")
	}
	words := strings.Fields(strings.ReplaceAll(line, `\\`, " "))
	if words[0] != "portcheck" {
		t.Fatalf("the script runs %s", words[0])
	}
	if !testbed.Isolated(t) {
		return
	}
	t.Chdir(t.TempDir())
	hold(t)
	at := slices.Index(words, "runner") // the test has no runner
	words[at] = "local"
	for manifest, want := range map[string]int{
		"version: 1\nports: [{name: web, port: 8080}]\n":                    1,
		"version: 1\nports: [{name: web, port: 8080, severity: warning}]\n": 4,
		"version: 1\nports: [{name: web, port: 8081}]\n":                    0,
		"version: 2\n": 2,
	} {
		if err := os.WriteFile("portcheck.yml", []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if code := cli.Run(t.Context(), words[1:], nil, strings.NewReader(""), &out, &out); code != want {
			t.Errorf("%s: exit code %d, want %d\n%s", manifest, code, want, &out)
		}
		for _, file := range regexp.MustCompile(`(?:testResults|pattern): '([^']+)'`).FindAllStringSubmatch(rest, -1) {
			if err := os.Remove(file[1]); err != nil {
				t.Errorf("%s: a report that Jenkins looks for was not written: %v", manifest, err)
			}
		}
	}
}

// TestProblemMatcher compares what the matcher reads from the text of real runs
// with the JSON of the same.
func TestProblemMatcher(t *testing.T) {
	var doc struct {
		ProblemMatcher []struct {
			Owner   string
			Pattern []struct {
				Regexp                                      string
				File, Line, Column, Severity, Message, Code int
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, examples+"problem-matcher.json")), &doc); err != nil {
		t.Fatal(err)
	}
	p := doc.ProblemMatcher[0].Pattern[0]
	pattern, err := regexp.Compile(p.Regexp)
	if err != nil {
		t.Fatal(err)
	}
	if !testbed.Isolated(t) {
		return
	}
	t.Chdir(t.TempDir())
	hold(t)
	for name, manifest := range map[string]string{
		"taken.yml":   "version: 1\nrange: 20000-20999\nports: [{name: web, port: 8080}]\n",
		"warning.yml": "version: 1\nports: [{name: web, port: 8080, severity: warning}]\n",
		"twice.yml":   "version: 1\nports: [{name: a, port: 81}, {name: b, port: 81}]\n",
		"two.yml":     "version: 1\ntargets: {here: local, there: local}\nports: [{name: web, port: 8080}]\n",
		"bad.yml":     "version: 2\nprots: []\nports: [{name: a, port: 0}]\n",
		"a: b.yml":    "version: 1\nports: [{name: web, port: 8080}]\n",
	} {
		if err := os.WriteFile(name, []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
		run := func(format string) []byte {
			var out, errs bytes.Buffer
			if code := cli.Run(t.Context(), []string{"-f", format, "--", name}, nil, strings.NewReader(""), &out, &errs); code > 2 {
				t.Fatalf("%s: exit code %d\n%s", name, code, &errs)
			}
			return out.Bytes()
		}
		var r check.Report
		if err := json.Unmarshal(run("json"), &r); err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, problem := range r.Problems {
			want[fmt.Sprint(problem.File, " ", problem.Line, " ", problem.Column, " error manifest ", problem.Message)] = true
		}
		for _, x := range r.Results {
			code, message, subject := string(x.Status), x.Message, x.Name
			if x.Status.OK() { // only a duplicate is printed although it is ok
				code = "duplicate"
				message = x.Notices[slices.IndexFunc(x.Notices, func(n check.Notice) bool { return n.Code == "duplicate" })].Message
			}
			if len(r.Targets) > 1 {
				subject += "@" + x.Target
			}
			want[fmt.Sprint(x.Source.File, " ", x.Source.Line, " ", x.Source.Column, " ", x.Severity, " ", code, " ", subject, ": ", message)] = true
		}
		got := map[string]bool{}
		for line := range strings.Lines(string(run("text"))) {
			if m := pattern.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
				got[strings.Join([]string{m[p.File], m[p.Line], m[p.Column], m[p.Severity], m[p.Code], m[p.Message]}, " ")] = true
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: read\n%q\nwant\n%q", name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
}
