//go:build linux

package acceptance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// workflow has a job with a taken port and one with a free port.
const workflow = `on: push
jobs:
  taken:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./
  free:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./
        with:
          manifest: free.yml
          output: |
            json=report.json
            junit=junit.xml
`

// actRepository is a repository with the action, of which act runs the workflows.
type actRepository struct{ act, home, dir string }

// newActRepository creates a repository with the action in a directory of it.
func newActRepository(t *testing.T, v variant, action string, files map[string]string) actRepository {
	t.Helper()
	act, err := exec.LookPath("act")
	if err != nil {
		testbed.Missing(t, "needs act: go install github.com/nektos/act@v0.2.89")
	}
	home := temp(t)
	r := actRepository{act, home, filepath.Join(home, "shop")}
	files[filepath.Join(action, "action.yml")] = read(t, "../../action.yml")
	files[filepath.Join(action, "Dockerfile")] = "FROM " + v.image + "\n"
	for name, text := range files {
		name = filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, name, text)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "all"}} {
		if out, err := shell("git", append([]string{"-C", r.dir}, args...)...); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return r
}

// push returns a command that runs workflows for a push. name is that of its caches.
func (r actRepository) push(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.act, append([]string{"push", "--pull=false", "--rm"}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "HOME="+r.home, "XDG_CACHE_HOME="+filepath.Join(r.home, "cache", name), "XDG_CONFIG_HOME="+filepath.Join(r.home, "config"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // it cleans up
	cmd.WaitDelay = patience / 2
	return cmd
}

// TestAct runs the action with act, on the machine and in a job's container.
func TestAct(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 2)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	// The same files, in an image without our labels.
	job := "portcheck-acceptance-job:" + strings.TrimPrefix(v.image, "portcheck-acceptance:")
	withoutLabels(t, v.image, job)
	repository := newActRepository(t, v, ".", map[string]string{
		".github/workflows/ci.yml": workflow,
		"portcheck.yml":            manifest(need("web", p[0], "")),
		"free.yml":                 manifest(need("spare", p[1], "")),
	})
	volumes := strings.Fields(docker(t, "volume", "ls", "-q"))
	t.Cleanup(func() {
		docker(t, "image", "rm", "act-dockeraction:latest")
		for _, name := range strings.Fields(docker(t, "volume", "ls", "-q")) {
			if strings.HasPrefix(name, "act-") && !slices.Contains(volumes, name) {
				docker(t, "volume", "rm", name)
			}
		}
	})
	for name, platform := range map[string]string{"on the machine": "-self-hosted", "in a job's container": job} {
		t.Run(name, func(t *testing.T) {
			run := func(job string) (string, int) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				cmd := repository.push(ctx, "act", "-j", job, "-P", "ubuntu-latest="+platform)
				out, err := cmd.CombinedOutput()
				if cmd.ProcessState == nil || ctx.Err() != nil {
					t.Fatalf("act: %v\n%s", err, out)
				}
				return string(out), cmd.ProcessState.ExitCode()
			}
			log, code := run("taken")
			if code == 0 {
				t.Errorf("exit code 0\n%s", log)
			}
			for _, want := range []string{fmt.Sprintf("tcp %d is in use by server (pid %d, ", p[0], pid), "on runner (the machine itself", "::error "} {
				if !strings.Contains(log, want) {
					t.Errorf("no %q in the log\n%s", want, log)
				}
			}
			if out, err := shell("git", "-C", repository.dir, "status", "--porcelain"); err != nil || out != "" {
				t.Errorf("git status: %v\n%s", err, out)
			}
			log, code = run("free")
			if code != 0 {
				t.Errorf("exit code %d\n%s", code, log)
			}
			for _, want := range []string{"on runner (the machine itself", "): 1 ok"} {
				if !strings.Contains(log, want) {
					t.Errorf("no %q in the log\n%s", want, log)
				}
			}
			// A job that leases nothing has no step at its end.
			if strings.Contains(log, "Run Post") {
				t.Errorf("a step at the end of the job\n%s", log)
			}
		})
	}
}

// withoutLabels creates an image with the files of another one.
func withoutLabels(t *testing.T, from, to string) {
	t.Helper()
	files := filepath.Join(temp(t), "files.tar")
	id := docker(t, "create", from)
	docker(t, "export", "-o", files, id)
	docker(t, "rm", id)
	docker(t, "import", files, to)
	t.Cleanup(func() { docker(t, "image", "rm", to) })
}

// TestSharedNetwork checks that a step that shares the network of a job's container
// finds its own container, however early it asks the engine.
func TestSharedNetwork(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	job := serve(t, []string{"--network", "host"})
	for range 10 {
		o := step{
			image: v.image, manifest: manifest(need("web", p[0], "")),
			flags: []string{"--network", "container:" + job},
		}.run(t).want(t, 1)
		r := o.status(t, "web", check.InUse)
		if h := holder(t, r); h.PID != pid {
			t.Fatalf("holder %+v, want pid %d; degraded: %s", h, pid, degraded(r.Notices, o.target(t).Notices))
		}
	}
}
