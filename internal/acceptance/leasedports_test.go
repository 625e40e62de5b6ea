//go:build linux

package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A container and a project of Compose publish the ports that their job has leased.
func TestContainersOnLeasedPorts(t *testing.T) {
	t.Parallel()
	imageUnderTest(t)
	image, err := serverImage()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := portcheckBinary()
	if err != nil {
		t.Fatal(err)
	}
	words, _ := composeClient(t)
	dir, p := temp(t), freePorts(t, 2)
	job := "acceptance " + strconv.Itoa(p[0])
	write(t, filepath.Join(dir, "portcheck.yml"), fmt.Sprintf("version: 1\napp: shop\nports: [{name: web, port: %d}, {name: api, port: %d}]\n", p[0], p[1]))
	write(t, filepath.Join(dir, "compose.yaml"), "services:\n  api:\n    image: "+image+"\n    command: [\"/server\", \"80\"]\n    stop_grace_period: 1s\n    ports: [\"${API_PORT}:80\"]\n")
	env := append(os.Environ(), "DOCKER_HOST=unix://"+engineSocket, "COMPOSE_PROJECT_NAME="+strings.ToLower(filepath.Base(dir)))
	run := func(words ...string) string {
		t.Helper()
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", words, err, out)
		}
		return string(out)
	}
	for line := range strings.Lines(run(binary, "assign", "--job", job, "-f", "env")) {
		env = append(env, strings.TrimSpace(line))
	}
	t.Cleanup(func() { run(binary, "release", "--job", job) })
	serve(t, []string{"-p", fmt.Sprintf("%d:80", p[0])}, 80)
	t.Cleanup(func() { run(append(words[:len(words):len(words)], "down", "-t", "1")...) })
	run(append(words[:len(words):len(words)], "up", "-d")...)
	if out := run(binary, "verify", "--job", job, "--wait", "30s", "--no-color", "portcheck.yml"); !strings.Contains(out, "2 ok") {
		t.Errorf("got %s", out)
	}
}

// Containers on the host's network, and their users, share the leases of the host. Nobody
// gets what another has, or ends it.
func TestLeasesOnTheHostsNetwork(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	binary, err := portcheckBinary()
	if err != nil {
		t.Fatal(err)
	}
	p := freePorts(t, 2)
	ours, theirs := strconv.Itoa(p[0]), strconv.Itoa(p[1])
	host := func(args ...string) (string, error) {
		out, err := exec.Command(binary, args...).CombinedOutput()
		return string(out), err
	}
	container := func(user string, args ...string) (string, error) {
		// As the first process of its container it would lease nothing.
		words := append([]string{"run", "--rm", "--network", "host", "--pid", "host", "--user", user, image, "portcheck"}, args...)
		out, err := exec.Command("docker", words...).CombinedOutput()
		return string(out), err
	}
	job := "acceptance " + ours
	if out, err := host("assign", "--job", job, "-p", ours); err != nil {
		t.Fatal(err, out)
	}
	t.Cleanup(func() {
		if out, err := host("release", "--job", job); err != nil {
			t.Error(err, out)
		}
	})
	name := "portcheckacceptance_" + theirs
	docker(t, "run", "-d", "--name", name, "--network", "host", "--user", "1234", image, "portcheck", "exec", "-p", theirs, "--", "sleep", "600")
	t.Cleanup(func() { _, _ = try("rm", "-f", name) }) // it may be gone
	until(t, func() bool {
		out, err := host("leases")
		return err == nil && strings.Contains(out, " "+theirs+"/tcp")
	})
	ask := map[string]func(...string) (string, error){"the host": host}
	for _, user := range []string{"0", "1234", "1235"} {
		ask["user "+user+" of a container"] = func(args ...string) (string, error) { return container(user, args...) }
	}
	for who, run := range ask {
		for _, n := range []string{ours, theirs} {
			out, err := run("assign", "--job", "another", "-p", n)
			if err == nil || !strings.Contains(out, "tcp "+n+" is leased to ") {
				t.Errorf("%s asks for %s: %v, %s", who, n, err, out)
			}
		}
	}
	if out, err := container("1235", "release", "--all"); err != nil || out != "portcheck: there is no lease that this user may end\n" {
		t.Errorf("a stranger releases: %v, %s", err, out)
	}
	out, err := host("leases")
	if err != nil || !strings.Contains(out, " "+ours+"/tcp") || !strings.Contains(out, " "+theirs+"/tcp") {
		t.Errorf("leases: %v, %s", err, out)
	}
	docker(t, "rm", "-f", name)
	if out, err := host("assign", "--job", job, "--wait", "30s", "-p", theirs); err != nil {
		t.Errorf("after the container: %v, %s", err, out)
	}
}
