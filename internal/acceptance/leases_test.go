//go:build linux

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
)

const keeperLabel = "io.github.org.portcheck.keeper"

// commandRun is the result of one command in a container of the image.
type commandRun struct {
	code           int
	stdout, stderr string
}

// command runs portcheck in a container of its own, beside the engine's socket. options
// are those of docker run.
func (v variant) command(t *testing.T, options []string, args ...string) commandRun {
	t.Helper()
	words := slices.Concat([]string{"run", "--rm", "-v", engineSocket + ":" + engineSocket}, options, []string{v.image, "portcheck"}, args)
	var stdout, stderr strings.Builder
	cmd := exec.Command("docker", words...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return commandRun{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must is command for one that has to exit with a status. It returns stdout.
func (v variant) must(t *testing.T, code int, options []string, args ...string) string {
	t.Helper()
	r := v.command(t, options, args...)
	if r.code != code {
		t.Fatalf("portcheck %q: exit code %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
	}
	return r.stdout
}

// keepers returns the IDs of the image's containers of keepers.
func (v variant) keepers(t *testing.T) []string {
	t.Helper()
	return v.containers(t, "label="+keeperLabel)
}

// noKeepers waits until there is none.
func (v variant) noKeepers(t *testing.T, after string) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(v.keepers(t)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: a keeper is left", after)
		}
	}
}

// firstPort returns the first port of an assignment.
func firstPort(t *testing.T, text string) int {
	t.Helper()
	var a check.Assignment
	if err := json.Unmarshal([]byte(text), &a); err != nil || len(a.Ports) == 0 {
		t.Fatalf("%v: %s", err, text)
	}
	return int(a.Ports[0].Port)
}

// job returns the name of a job that no other test has.
func (v variant) job(name string) string { return name + " of " + v.image }

// TestLeasesOfTheRunner checks that a job in a container has ports of its runner, which
// are held by a container without any right, until they are released or the time is over.
func TestLeasesOfTheRunner(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 2)
	want, spare := fmt.Sprint(p[0]), fmt.Sprint(p[1])
	one, two := v.job("one"), v.job("two")
	assign := func(job string, args ...string) []string {
		return append([]string{"assign", "-t", "runner", "-f", "json", "--job", job, "-p", want}, args...)
	}
	if got := firstPort(t, v.must(t, 0, nil, assign(one)...)); got != p[0] {
		t.Errorf("port %d, want %d", got, p[0])
	}
	keepers := v.keepers(t)
	if len(keepers) != 1 {
		t.Fatalf("%d keepers", len(keepers))
	}
	const format = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.AutoRemove}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Privileged}} {{.Mounts}}"
	if got := docker(t, "inspect", "--format", format, keepers[0]); got != "host  [] [ALL] true true false []" {
		t.Errorf("the keeper's container: %s", got)
	}
	if got := firstPort(t, v.must(t, 0, nil, assign(two, "--range", want+","+spare)...)); got != p[1] {
		t.Errorf("port %d, want %d", got, p[1])
	}
	if again := firstPort(t, v.must(t, 0, nil, assign(one)...)); again != p[0] || len(v.keepers(t)) != 2 {
		t.Errorf("the same job again: port %d, keepers %v", again, v.keepers(t))
	}
	if out := v.must(t, 1, []string{"-e", "PORTCHECK_JOB=" + one}, "-t", "runner", "-p", want, "-p", spare, "--no-color"); strings.Count(out, "[leased]") != 1 || !strings.Contains(out, "is leased to "+strconv.Quote(two)) {
		t.Error(out)
	}
	listen(t, nil, want)
	v.must(t, 0, nil, "verify", "-t", "runner", "--job", one, "-p", want, "--wait", "10s")
	v.must(t, 0, nil, "release", "-t", "runner", "--job", one)
	v.must(t, 0, nil, "release", "-t", "runner", "--job", two)
	v.noKeepers(t, "release")
	v.must(t, 0, nil, "assign", "-t", "runner", "--job", two, "-p", spare, "--for", "1s")
	v.noKeepers(t, "the deadline")

	// A step that is on the host itself has no helper, and its keeper outlives it all the same.
	onHost := []string{"--network", "host", "--pid", "host"}
	v.must(t, 0, onHost, "assign", "-t", "runner", "--job", two, "-p", spare)
	if len(v.keepers(t)) != 1 {
		t.Error("no keeper on the host")
	}
	v.must(t, 0, onHost, "release", "-t", "runner", "--job", two)
	v.noKeepers(t, "release on the host")
}

// TestLeasesOfAContainer checks that a port of a container can be held, and that this
// ends with the container.
func TestLeasesOfAContainer(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 2)
	taken, other := fmt.Sprint(p[0]), fmt.Sprint(p[1])
	id := serve(t, []string{"--name", "acceptance-leases-" + taken}, p[0])
	target := "container:acceptance-leases-" + taken
	one, two := v.job("one"), v.job("two")
	if r := v.command(t, nil, "assign", "-t", target, "--job", one, "-p", taken); r.code != 1 || !strings.Contains(r.stderr, "is in use by server") {
		t.Errorf("%d: %s", r.code, r.stderr)
	}
	v.noKeepers(t, "a port that is taken")
	v.must(t, 0, nil, "assign", "-t", target, "--job", one, "-p", other)
	if out := v.must(t, 0, nil, "leases", "-t", target, "-t", "runner", "-f", "json"); strings.Count(out, `"job": "`+one+`"`) != 1 || !strings.Contains(out, `"target": "`+target+`"`) {
		t.Error(out)
	}
	v.must(t, 0, nil, "release", "-t", target, "--job", one)
	v.noKeepers(t, "release")
	v.must(t, 0, nil, "assign", "-t", target, "--job", two, "-p", other)
	docker(t, "stop", "-t", "0", id)
	v.noKeepers(t, "the end of the container")
}

// TestLeasesOnAllTargetsOrNone checks that nothing is held on one target if another one
// can't have it, also if that one can't even be reached.
func TestLeasesOnAllTargetsOrNone(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	taken := fmt.Sprint(p[0])
	serve(t, []string{"--name", "acceptance-all-" + taken}, p[0])
	for target, code := range map[string]int{"container:acceptance-all-" + taken: 1, "container:acceptance-none-" + taken: 3} {
		if r := v.command(t, nil, "assign", "-t", "runner", "-t", target, "-p", taken); r.code != code {
			t.Errorf("%s: %d: %s", target, r.code, r.stderr)
		}
		v.noKeepers(t, target)
	}
}
