package hooks

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/testbed"
)

const (
	good = "version: 1\napp: %s\nports:\n  - name: web\n    port: 8080\n"
	bad  = "version: 1\napp: %s\nports:\n  - name: web\n    port: 8080\n  - name: admin\n    port: 8080\n"
)

func TestHooks(t *testing.T) {
	testbed.Slow(t, "builds portcheck with pre-commit")
	for _, program := range []string{"git", "pre-commit"} {
		if _, err := exec.LookPath(program); err != nil {
			testbed.Missing(t, "needs "+program)
		}
	}
	// pre-commit sets GOPATH to a directory of its own. Without these, go would
	// download all modules again.
	for _, name := range []string{"GOMODCACHE", "GOCACHE"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, strings.TrimSpace(string(out)))
	}
	t.Setenv("PRE_COMMIT_HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	for _, role := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+role+"_NAME", "test")
		t.Setenv("GIT_"+role+"_EMAIL", "test@example.com")
	}
	hooks := snapshot(t)
	older(t, hooks)
	revision := strings.TrimSpace(run(t, hooks, 0, "git", "rev-parse", "HEAD"))

	t.Run("try-repo stops at a duplicate port and shows its place", func(t *testing.T) {
		repo := repository(t, map[string]string{"deploy/portcheck.yml": fmt.Sprintf(bad, "shop")})
		out := run(t, repo, 1, "pre-commit", "try-repo", hooks, "portcheck-lint")
		contains(t, out, "deploy/portcheck.yml:5:11: error: web: ", "deploy/portcheck.yml:7:11: error: admin: ", "[duplicate]")
	})

	// One repository for the rest, in which the hooks are installed once.
	repo := repository(t, map[string]string{
		".pre-commit-config.yaml": fmt.Sprintf("repos:\n  - repo: %s\n    rev: %s\n    hooks:\n      - id: portcheck-lint\n      - id: portcheck\n", hooks, revision),
	})
	run(t, repo, 0, "pre-commit", "install", "-t", "pre-commit", "-t", "pre-push")

	t.Run("a commit without a manifest starts nothing", func(t *testing.T) {
		contains(t, run(t, repo, 0, "git", "commit", "-m", "none"), "(no files to check)Skipped")
	})
	for _, name := range config.FileNames() {
		t.Run("a commit that adds "+name, func(t *testing.T) {
			write(t, repo, map[string]string{name: fmt.Sprintf(bad, "shop")})
			contains(t, run(t, repo, 1, "git", "commit", "-m", "bad"), name+":7:11: error: admin: ")
			write(t, repo, map[string]string{name: fmt.Sprintf(good, "shop")})
			contains(t, run(t, repo, 0, "git", "commit", "-m", "good"), "Passed")
			run(t, repo, 0, "git", "rm", "-q", name)
			run(t, repo, 0, "git", "commit", "-q", "--no-verify", "-m", "gone")
		})
	}
	for _, name := range []string{"compose.yaml", "docker-compose.yml", "app/docker-compose.yaml"} {
		t.Run("a commit that adds "+name, func(t *testing.T) {
			write(t, repo, map[string]string{name: "services:\n  a:\n    ports: ['8080:80']\n  b:\n    ports: ['8080:81']\n"})
			contains(t, run(t, repo, 1, "git", "commit", "-m", "bad"), name+":5:13: error: b: ")
			write(t, repo, map[string]string{name: "services:\n  a:\n    ports: ['8080:80']\n"})
			contains(t, run(t, repo, 0, "git", "commit", "-m", "good"), "Passed")
			run(t, repo, 0, "git", "rm", "-q", name)
			run(t, repo, 0, "git", "commit", "-q", "--no-verify", "-m", "gone")
		})
	}
	t.Run("200 manifests are one start", func(t *testing.T) {
		many := map[string]string{}
		for i := range 200 {
			app := fmt.Sprintf("app%d", i)
			many[app+"/portcheck.yml"] = fmt.Sprintf(good, app)
		}
		many["app7/portcheck.yml"] = fmt.Sprintf(bad, "app7") // so that the output is shown
		write(t, repo, many)
		out := run(t, repo, 1, "git", "commit", "-m", "many")
		if found := regexp.MustCompile(`(?m)^\d+ ports? .*$`).FindAllString(out, -1); len(found) != 1 || !strings.HasPrefix(found[0], "201 ports") {
			t.Errorf("summaries %q, want one of 201 ports in:\n%s", found, out)
		}
		run(t, repo, 0, "git", "rm", "-q", "-r", "--cached", ".")
		run(t, repo, 0, "git", "clean", "-qfd", "app*")
		run(t, repo, 0, "git", "reset", "-q", "--hard")
	})
	t.Run("a push is stopped by a port that is taken", func(t *testing.T) {
		taken := listen(t)
		defer taken.Close()
		_, number, _ := net.SplitHostPort(taken.Addr().String())
		write(t, repo, map[string]string{"portcheck.yml": strings.Replace(fmt.Sprintf(good, "shop"), "8080", number, 1)})
		contains(t, run(t, repo, 0, "git", "commit", "-m", "not tried yet"), "Passed")
		origin := t.TempDir()
		run(t, origin, 0, "git", "init", "-q", "--bare")
		contains(t, run(t, repo, 1, "git", "push", origin, "HEAD:refs/heads/main"), "portcheck.yml:5:11: error: web: tcp "+number+" is in use", "[in-use]")
		contains(t, run(t, repo, 1, "pre-commit", "run", "--hook-stage", "manual", "portcheck"), "[in-use]")
		taken.Close()
		run(t, repo, 0, "git", "push", origin, "HEAD:refs/heads/main")
	})
}

// older changes the hooks for a pre-commit before 3.2, such as that of Debian 12, which
// does not know today's names of stages.
func older(t *testing.T, hooks string) {
	t.Helper()
	var major, minor int
	version := run(t, hooks, 0, "pre-commit", "--version")
	if _, err := fmt.Sscanf(version, "pre-commit %d.%d", &major, &minor); err != nil {
		t.Fatalf("%q: %v", version, err)
	}
	if major > 3 || major == 3 && minor >= 2 {
		return
	}
	const name = ".pre-commit-hooks.yaml"
	data, err := os.ReadFile(filepath.Join(hooks, name))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "minimum_pre_commit_version: 3.2.0", "minimum_pre_commit_version: 2.0.0")
	write(t, hooks, map[string]string{name: strings.ReplaceAll(text, "[pre-push, manual]", "[push, manual]")})
	run(t, hooks, 0, "git", "commit", "-q", "-m", "older")
}

// TestHooksAreOfToday checks what an older pre-commit can't: the names of stages are
// those of pre-commit 3.2, which each hook demands, and each hook of a language does
// what the hook of Go does.
func TestHooksAreOfToday(t *testing.T) {
	data, err := os.ReadFile("../../.pre-commit-hooks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type hook struct {
		ID, Language, Entry, Files string
		Stages                     []string
		Minimum                    string `yaml:"minimum_pre_commit_version"`
	}
	var hooks []hook
	if err := yaml.Unmarshal(data, &hooks); err != nil {
		t.Fatal(err)
	}
	byID := map[string]hook{}
	for _, h := range hooks {
		byID[h.ID] = h
		if h.Minimum != "3.2.0" {
			t.Errorf("%s: minimum_pre_commit_version %q", h.ID, h.Minimum)
		}
		for _, s := range h.Stages {
			if s != "pre-push" && s != "manual" {
				t.Errorf("%s: stage %q", h.ID, s)
			}
		}
	}
	for id, language := range map[string]string{"portcheck-lint-docker": "docker_image", "portcheck-lint-system": "system", "portcheck-system": "system"} {
		h := byID[id]
		base := byID[strings.TrimSuffix(strings.TrimSuffix(id, "-docker"), "-system")]
		if h.Language != language || !strings.HasSuffix(h.Entry, base.Entry) || h.Files != base.Files || !slices.Equal(h.Stages, base.Stages) {
			t.Errorf("%+v\ndiffers from %+v", h, base)
		}
	}
}

// listen listens on a port outside of the ephemeral range: once it is closed, no
// outgoing connection of another process gets the port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	for tries := 0; ; tries++ {
		l, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", 10000+rand.IntN(20000)))
		if err == nil {
			return l
		}
		if tries > 100 {
			t.Fatal(err)
		}
	}
}

// snapshot returns a new repository with the current files of this one.
func snapshot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		testbed.Missing(t, "needs a git checkout")
	}
	files := map[string]string{}
	for _, name := range strings.Split(run(t, root, 0, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err == nil && name != "" { // deleted files are still listed until the next commit
			files[name] = string(data)
		}
	}
	dir := repository(t, files)
	run(t, dir, 0, "git", "commit", "-q", "-m", "snapshot")
	return dir
}

func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, 0, "git", "init", "-q", "-b", "main")
	write(t, dir, files)
	return dir
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, 0, "git", "add", "-A", "-f")
}

// run runs a command, fails the test unless it exits with the code, and returns
// its output.
func run(t *testing.T, dir string, code int, words ...string) string {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	// git sets these if it runs the tests in a hook.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "GIT_DIR=") || strings.HasPrefix(e, "GIT_INDEX_FILE=") || strings.HasPrefix(e, "GIT_WORK_TREE=")
	})
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("%s: %v, want exit code %d\n%s", strings.Join(words, " "), err, code, out)
	}
	return string(out)
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}
