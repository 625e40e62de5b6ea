//go:build linux

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// TestPodman checks a step that uses Podman's socket.
func TestPodman(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	engine := startPodman(t)
	archive := filepath.Join(temp(t), "image.tar")
	docker(t, "save", "-o", archive, image)
	engine.run(t, 0, "load", "-q", "-i", archive)
	p := freePorts(t, 2)
	pid, executable := listen(t, nil, fmt.Sprint(p[0]))
	for _, mounted := range []string{engineSocket, "/run/podman/podman.sock"} { // the step tries both
		out := engine.run(t, 1, "run", "--rm", "--network", "none", "-v", engine.socket+":"+mounted, image,
			"portcheck", "-t", "runner", "-p", fmt.Sprint(p[0]), "-p", fmt.Sprint(p[1]), "-f", "json")
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
	t.Run("pod", func(t *testing.T) { playPod(t, engine, image, p, pid) })
	if left := engine.run(t, 0, "ps", "-a", "-q"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// playPod runs the pod of docs/action.md, on the host's network: of the two ports, a
// process has the first.
func playPod(t *testing.T, engine podman, image string, ports []int, pid int) {
	doc, err := os.ReadFile("../../docs/action.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "--overrides='")
	text, _, _ = strings.Cut(text, "'\n")
	var pod map[string]any
	if err := json.Unmarshal([]byte(text), &pod); err != nil {
		t.Fatalf("the pod in docs/action.md: %v\n%s", err, text)
	}
	pod["apiVersion"], pod["kind"], pod["metadata"] = "v1", "Pod", map[string]any{"name": "portcheck"} // as kubectl run completes it
	spec := pod["spec"].(map[string]any)
	delete(spec, "nodeName")
	spec["restartPolicy"] = "Never"
	container := spec["containers"].([]any)[0].(map[string]any)
	container["image"] = image
	container["command"] = []string{"portcheck", "-f", "json", "-p", fmt.Sprint(ports[0]), "-p", fmt.Sprint(ports[1])}
	manifest, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(engine.dir, "pod.yml"), string(manifest))

	// The container that holds the pod's namespaces needs a program that Debian's podman
	// only recommends.
	pause := engine.run(t, 0, "create", image)
	engine.run(t, 0, "commit", "-q", "--change", `CMD ["sleep", "600"]`, "--change", "STOPSIGNAL SIGKILL", pause, "localhost/pause:1")
	engine.run(t, 0, "rm", pause)
	config := filepath.Join(engine.dir, "containers.conf")
	old, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, string(old)+"infra_image = \"localhost/pause:1\"\n")
	defer write(t, config, string(old))

	// podman takes each directory there for a cgroup, and only mounts are: here it gets
	// these alone.
	const script = `set -e
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
	top=$1
	mount -t tmpfs cgroups "$top"
	for from in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts); do
		mkdir "$top/${from##*/}"
		mount --bind "$from" "$top/${from##*/}"
	done
	mount --move "$top" /sys/fs/cgroup
fi
shift
trap '"$@" pod rm -f -t 0 portcheck >&2' EXIT
"$@" kube play "$PORTCHECK_POD" >&2
"$@" wait portcheck-portcheck >&2
"$@" logs portcheck-portcheck`
	cmd := engine.command()
	cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", script, "sh", temp(t)}, cmd.Args...)
	if cmd.Path, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "PORTCHECK_POD="+filepath.Join(engine.dir, "pod.yml"))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.String())
	}
	t.Cleanup(func() {
		parents, _ := filepath.Glob("/sys/fs/cgroup/*/libpod_parent")
		for _, dir := range parents {
			_ = os.Remove(dir) // unless somebody else uses it
		}
	})
	o := outcome{report: readReport(t, string(out))}
	if target := o.target(t); target.Namespace.Kind != "host" {
		t.Errorf("target %+v", target)
	}
	o.status(t, fmt.Sprintf("tcp-%d", ports[1]), check.Free)
	web := o.status(t, fmt.Sprintf("tcp-%d", ports[0]), check.InUse)
	// podman before 4.4 does not know hostPID.
	if h := holder(t, web); h.PID != pid && h.PID != 0 {
		t.Errorf("holder %+v, want pid %d", h, pid)
	} else if h.PID == 0 && !strings.Contains(web.Hints[0].Text, "hostPID") {
		t.Errorf("no advice on hostPID: %+v", web.Hints)
	}
}

// TestPodmanKilled checks that no helper runs on if portcheck is killed at any
// moment while it uses Podman's socket.
func TestPodmanKilled(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	engine := startPodman(t)
	archive := filepath.Join(temp(t), "image.tar")
	docker(t, "save", "-o", archive, image)
	engine.run(t, 0, "load", "-q", "-i", archive)
	p := freePorts(t, 1)
	listen(t, nil, fmt.Sprint(p[0]))
	random := newRandom(t)
	for range 12 {
		step := engine.command("run", "--rm", "--name", "step", "--network", "none", "-v", engine.socket+":"+engineSocket, image,
			"portcheck", "-t", "runner", "-p", fmt.Sprint(p[0]), "--wait", "30s")
		if err := step.Start(); err != nil {
			t.Fatal(err)
		}
		running := func() string { return engine.run(t, 0, "ps", "-q") }
		for deadline := time.Now().Add(patience); running() == ""; {
			if time.Now().After(deadline) {
				t.Fatal("the step does not run")
			}
		}
		moment := early(random, 1500*time.Millisecond)
		time.Sleep(moment)
		_, _ = engine.command("kill", "--signal", "KILL", "step").Output() // a helper may be the only one left
		killed := time.Now()
		if err := step.Wait(); err == nil {
			t.Errorf("killed after %s, the step ends without an error", moment)
		}
		// A helper lives for at least 15 s if nothing else ends it.
		for running() != "" {
			if time.Since(killed) > 10*time.Second {
				t.Fatalf("killed after %s: a helper runs %s later: %s", moment, time.Since(killed), engine.run(t, 0, "ps"))
			}
		}
	}
	for _, id := range strings.Fields(engine.run(t, 0, "ps", "-a", "-q")) { // created and never started
		engine.run(t, 0, "rm", "-f", id)
	}
}

// podman is an installation for one test, with a service.
type podman struct{ dir, socket string }

func (p podman) command(args ...string) *exec.Cmd {
	options := []string{"--root", filepath.Join(p.dir, "root"), "--runroot", filepath.Join(p.dir, "run"), "--log-level", "error"}
	cmd := exec.Command("podman", append(options, args...)...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+filepath.Join(p.dir, "containers.conf"))
	return cmd
}

// run runs podman's client and returns its stdout.
func (p podman) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := p.command(args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("podman %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func startPodman(t *testing.T) podman {
	t.Helper()
	for _, name := range []string{"podman", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, fmt.Sprintf("needs %s: %v", name, err))
		}
	}
	dir := temp(t)
	p := podman{dir, filepath.Join(dir, "podman.sock")}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	// crun refuses hybrid cgroups, and podman's default limits may exceed ours.
	write(t, filepath.Join(dir, "containers.conf"), fmt.Sprintf(
		"[containers]\ndefault_ulimits = [\"nofile=%d:%d\", \"nproc=4096:4096\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n", files.Cur, files.Cur))
	service := p.command("system", "service", "--time", "0", "unix://"+p.socket)
	var said strings.Builder
	service.Stdout, service.Stderr = &said, &said
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = service.Process.Signal(syscall.SIGTERM) // it may have ended already
		_ = service.Wait()
		if out, err := p.command("rmi", "--all", "--force").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		// podman mounts the directory on itself, which keeps it busy.
		_ = syscall.Unmount(filepath.Join(dir, "root/overlay"), syscall.MNT_DETACH)
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", p.socket); err == nil {
			c.Close()
			return p
		}
		if time.Now().After(deadline) {
			t.Fatal("podman's service does not answer")
		}
	}
}
