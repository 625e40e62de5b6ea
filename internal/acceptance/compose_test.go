//go:build linux

package acceptance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// composeClient returns the command line of an installed Compose, and whether it is
// version 2, the plugin of docker.
func composeClient(t *testing.T) (words []string, plugin bool) {
	t.Helper()
	if _, err := try("compose", "version"); err == nil {
		return []string{"docker", "compose"}, true
	}
	path, err := exec.LookPath("docker-compose")
	if err != nil {
		testbed.Missing(t, "needs docker-compose, or the plugin of docker")
	}
	return []string{path}, false
}

// A project of Compose: its own ports are owned, those of strangers in use at the line
// of compose.yaml, and those of a service that is stopped free.
func TestComposeProject(t *testing.T) {
	imageUnderTest(t)
	image, err := serverImage()
	if err != nil {
		t.Fatal(err)
	}
	words, plugin := composeClient(t)
	dir, ports := temp(t), freePorts(t, 3)
	project := strings.ToLower(filepath.Base(dir))
	write(t, filepath.Join(dir, "compose.yaml"), fmt.Sprintf(`services:
  web:
    image: %s
    command: ["/server", "80"]
    stop_grace_period: 1s
    ports:
      - "${WEB_PORT:-1}:80"
  api:
    image: %s
    command: ["/server", "80", "81"]
    stop_grace_period: 1s
    ports:
      - "127.0.0.1:%d:80"
      - target: 81
        published: %d
`, image, image, ports[1], ports[2]))
	write(t, filepath.Join(dir, "."+"env"), fmt.Sprintf("WEB_PORT=%d\n", ports[0]))
	env := append(os.Environ(), "COMPOSE_PROJECT_NAME="+project, "DOCKER_HOST=unix://"+engineSocket)
	run := func(words ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	compose := func(args ...string) {
		t.Helper()
		if out, err := run(append(words[:len(words):len(words)], args...)...); err != nil {
			t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	binary, err := portcheckBinary()
	if err != nil {
		t.Fatal(err)
	}
	statuses := func(args ...string) map[string]check.Result {
		t.Helper()
		out, _ := run(append([]string{binary, "-q", "-f", "json"}, args...)...)
		_, out, _ = strings.Cut(out, "{") // after the line on stderr
		all := map[string]check.Result{}
		for _, r := range readReport(t, "{"+out).Results {
			all[r.Name] = r
		}
		return all
	}
	want := func(when string, got map[string]check.Result, want map[string]check.Status) {
		t.Helper()
		if len(got) != len(want) {
			t.Errorf("%s: %d results, want %d", when, len(got), len(want))
		}
		for name, status := range want {
			if r := got[name]; r.Status != status {
				t.Errorf("%s: %s is %s, want %s: %s", when, name, r.Status, status, r.Message)
			}
		}
	}
	t.Cleanup(func() { compose("down", "-t", "1") })

	want("before", statuses(), map[string]check.Status{"web": check.Free, "api-80": check.Free, "api-81": check.Free})
	compose("up", "-d")
	up := statuses()
	want("up", up, map[string]check.Status{"web": check.Owned, "api-80": check.Owned, "api-81": check.Owned})
	for name, at := range map[string]string{"web": "compose.yaml:7:9", "api-80": "compose.yaml:13:9", "api-81": "compose.yaml:15:20"} {
		if got := up[name].Source.String(); got != at {
			t.Errorf("%s is at %s, want %s", name, got, at)
		}
	}

	stranger := filepath.Join(dir, "other.yml")
	write(t, stranger, manifest(need("other", ports[2], "")))
	other := statuses(stranger)["other"]
	remedy := hint(other, check.HintRemedy)
	if command := "docker compose -p " + project + " stop api"; other.Status != check.InUse || remedy.Command != command {
		t.Errorf("%s: %s, remedy %+v, want %s", other.Status, other.Message, remedy, command)
	}
	if owner := hint(other, check.HintOwner); !strings.Contains(owner.Text, "{compose: "+project+"/api}") {
		t.Errorf("owner: %+v", owner)
	}
	if plugin {
		if out, err := run("sh", "-ec", remedy.Command); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	} else {
		compose("stop", "api")
	}
	compose("stop", "web")
	want("stopped", statuses("--wait", "10s"), map[string]check.Status{"web": check.Free, "api-80": check.Free, "api-81": check.Free})

	listen(t, nil, fmt.Sprint(ports[0]))
	taken := statuses()
	want("with a stranger", taken, map[string]check.Status{"web": check.InUse, "api-80": check.Free, "api-81": check.Free})
	if got := taken["web"].Source.String(); got != "compose.yaml:7:9" {
		t.Errorf("the stranger's port is at %s", got)
	}
}
