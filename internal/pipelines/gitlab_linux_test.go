package pipelines

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/internal/testbed"
)

const (
	component  = "../../templates/portcheck.yml"
	gitlabFile = "../../examples/gitlab-ci.yml"
)

// TestGitLabComponent runs the example's pipeline with the component of this
// checkout, by gitlab-ci-local and its shell executor.
func TestGitLabComponent(t *testing.T) {
	testbed.Slow(t, "runs gitlab-ci-local")
	for _, program := range []string{"gitlab-ci-local", "rsync", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			testbed.Missing(t, "needs "+program)
		}
	}
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("HOME", t.TempDir())
	taken, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, number, _ := net.SplitHostPort(taken.Addr().String())
	manifest := "version: 1\napp: shop\nallow: [ephemeral]\nports:\n  - name: web\n    port: " + number + "\n"
	const example = "  - remote: https://raw.githubusercontent.com/org/portcheck/v1/templates/portcheck.yml\n    inputs:\n"
	text := read(t, gitlabFile)
	if !strings.Contains(text, example) {
		t.Fatalf("%s does not include the component", gitlabFile)
	}
	text = strings.Replace(text, example, "  - local: templates/portcheck.yml\n    inputs:\n", 1)
	with := func(inputs string) string {
		before, after, _ := strings.Cut(text, "    inputs:\n")
		_, rest, _ := strings.Cut(after, "\n\n")
		return before + "    inputs:\n" + inputs + "\n" + rest
	}

	t.Run("a conflict fails the job, and both reports name it", func(t *testing.T) {
		dir := project(t, strings.Replace(text, "--wait 10s", "--wait 1s", 1), map[string]string{"portcheck.yml": manifest})
		out := pipeline(t, dir, 1)
		if strings.Contains(out, "deploy here") || !strings.Contains(out, "waiting up to") {
			t.Errorf("want no deploy, and the wait of the inputs:\n%s", out)
		}
		if got := failures(t, dir); got != 1 {
			t.Errorf("%d failures in the JUnit report, want 1", got)
		}
		found := quality(t, dir)
		if len(found) != 1 || found[0].Location.Path != "portcheck.yml" || found[0].Location.Lines.Begin != 6 || !strings.Contains(found[0].Description, number) {
			t.Errorf("code quality: %+v", found)
		}
	})
	t.Run("a failure that is allowed lets the deploy start", func(t *testing.T) {
		dir := project(t, strings.Replace(with("      job-name: ports\n      stage: check\n      allow-failure: true\n"), "portcheck:\n", "ports:\n", 1), map[string]string{"portcheck.yml": manifest})
		out := pipeline(t, dir, 0)
		if !strings.Contains(out, "deploy here") || !strings.Contains(out, "ports") || failures(t, dir) != 1 {
			t.Errorf("the pipeline did not continue:\n%s", out)
		}
	})
	t.Run("fail-on never lets the job pass, and the reports still show the conflict", func(t *testing.T) {
		dir := project(t, with("      stage: check\n      fail-on: never\n      target: local\n"), map[string]string{"portcheck.yml": manifest})
		pipeline(t, dir, 0)
		if got := quality(t, dir); len(got) != 1 {
			t.Errorf("code quality: %+v", got)
		}
	})
	t.Run("warnings alone are orange, as docs/ci.md has it", func(t *testing.T) {
		text := strings.Replace(with("      stage: check\n      args: --warnings-exit-code 4\n"), "portcheck:\n", "portcheck:\n  allow_failure: {exit_codes: [4]}\n", 1)
		dir := project(t, text, map[string]string{"portcheck.yml": manifest + "    severity: warning\n"})
		if out := pipeline(t, dir, 0); !strings.Contains(out, "WARN 4") || !strings.Contains(out, "deploy here") {
			t.Errorf("want a warning and a deploy:\n%s", out)
		}
	})
	t.Run("no conflict", func(t *testing.T) {
		free := strings.Replace(manifest, number, "8080\n    address: 127.88.0.1", 1)
		dir := project(t, with("      stage: check\n      manifest: '[ab]/portcheck.yml more.yml'\n"), map[string]string{
			"a/portcheck.yml": free, "b/portcheck.yml": strings.Replace(free, "shop", "b", 1),
			"more.yml": strings.NewReplacer("shop", "more", "8080", "8081").Replace(free),
		})
		out := pipeline(t, dir, 0)
		if !strings.Contains(out, "3 ports checked") || !strings.Contains(out, "deploy here") {
			t.Errorf("want 3 ports and a deploy:\n%s", out)
		}
		if failures(t, dir) != 0 || len(quality(t, dir)) != 0 {
			t.Error("the reports have findings")
		}
	})
	t.Run("a host by SSH, as docs/ci.md has it", func(t *testing.T) {
		const script = "  before_script:\n    - export PORTCHECK_SSH_KEY=\"$(cat \"$DEPLOY_KEY\")\"\n"
		if !strings.Contains(read(t, ciDoc), script) {
			t.Fatalf("%s does not show how to set the variable for the key", ciDoc)
		}
		s := testbed.StartSSHD(t, freeAddress(t))
		variables, err := yaml.Marshal(map[string]any{
			"DEPLOY_KEY":                map[string]any{"type": "file", "values": map[string]string{"*": read(t, s.UserKey)}},
			"PORTCHECK_SSH_KNOWN_HOSTS": read(t, s.KnownHosts(t)),
		})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(with("      stage: check\n      args: --target ssh://root@"+s.Addr+"\n"), "\nportcheck:\n", "\nportcheck:\n"+script, 1)
		dir := project(t, text, map[string]string{"portcheck.yml": manifest, ".gitlab-ci-local-variables.yml": string(variables)})
		out := pipeline(t, dir, 1)
		if strings.Contains(out, "deploy here") || !strings.Contains(out, "1 port checked on ssh://root@"+s.Addr) || failures(t, dir) != 1 {
			t.Errorf("want a conflict on the host, and no deploy:\n%s", out)
		}
	})
	t.Run("jobs at the same time", parallelJobs)
	t.Run("an input is a value and no code", func(t *testing.T) {
		dir := project(t, with("      stage: check\n      manifest: 'portcheck.yml; touch owned'\n      args: '`touch owned`'\n      target: '$(touch owned)'\n"), map[string]string{"portcheck.yml": manifest})
		out := pipeline(t, dir, 1)
		if !strings.Contains(out, "$(touch owned)") {
			t.Errorf("portcheck did not run:\n%s", out)
		}
		if _, err := os.Stat(filepath.Join(dir, "owned")); err == nil {
			t.Error("an input was run as code")
		}
	})
}

// parallelJobs runs the jobs of the example at the same time. Each has a port
// of its own, and after all of them nothing is leased.
func parallelJobs(t *testing.T) {
	meet := t.TempDir()
	dir := project(t, read(t, "../../examples/gitlab-parallel.yml"), map[string]string{
		"portcheck.yml":                  "version: 1\napp: parallel\nrange: 24100-24199\nports: [{name: web, port: 24100}]\n",
		".gitlab-ci-local-variables.yml": "GITLAB_CI: \"true\"\n", // by default it is false there
		"start":                          "#!/bin/sh\nexec timeout 60 python3 -m http.server \"$2\"\n",
		"e2e-tests":                      "#!/bin/sh\ntouch " + meet + "/$2\nuntil [ \"$(ls " + meet + " | wc -l)\" = 3 ]; do sleep 0.1; done\necho \"tested $4\"\n",
	})
	out := pipeline(t, dir, 0, "--shell-isolation") // a directory for each job, as on GitLab
	ports := map[string]bool{}
	for _, m := range regexp.MustCompile(`tested http://localhost:(\d+)`).FindAllStringSubmatch(out, -1) {
		ports[m[1]] = true
	}
	if len(ports) != 3 {
		t.Errorf("ports %v, want three\n%s", ports, out)
	}
	left, err := exec.Command("portcheck", "leases").Output()
	if err != nil || strings.Contains(string(left), "parallel") {
		t.Errorf("%v\n%s", err, left)
	}
}

// freeAddress returns an address that is not in use.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func project(t *testing.T, pipeline string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files[".gitlab-ci.yml"], files["templates/portcheck.yml"] = pipeline, read(t, component)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{
		"init -q -b main", "remote add origin git@gitlab.example.com:shop/shop.git", "add -A",
		"-c user.name=test -c user.email=test@example.com commit -q -m all",
	} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	return dir
}

// pipeline runs all jobs and returns their output.
func pipeline(t *testing.T, dir string, code int, more ...string) string {
	t.Helper()
	cmd := exec.Command("gitlab-ci-local", append([]string{"--force-shell-executor"}, more...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("gitlab-ci-local: %v, want exit code %d\n%s", err, code, out)
	}
	return string(out)
}

// failures returns the number of failures in the JUnit report.
func failures(t *testing.T, dir string) int {
	t.Helper()
	var report struct {
		Suites []struct {
			Cases []struct {
				Failure *struct{} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(read(t, filepath.Join(dir, "portcheck-junit.xml"))), &report); err != nil {
		t.Fatal(err)
	}
	cases, found := 0, 0
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			cases++
			if c.Failure != nil {
				found++
			}
		}
	}
	if cases == 0 {
		t.Error("the JUnit report has no case")
	}
	return found
}

type finding struct {
	Description string
	Location    struct {
		Path  string
		Lines struct{ Begin int }
	}
}

func quality(t *testing.T, dir string) []finding {
	t.Helper()
	var all []finding
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "portcheck-codequality.json"))), &all); err != nil {
		t.Fatal(fmt.Errorf("code quality: %w", err))
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
