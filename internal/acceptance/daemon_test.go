//go:build linux

package acceptance

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// TestRefusedPIDs checks that there is a verdict if the engine refuses to let a
// helper see processes, and that the report has what was refused.
func TestRefusedPIDs(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	plugin := "portcheck" + filepath.Base(temp(t))
	var refused atomic.Int32
	forbidHostPIDs(t, plugin, &refused)
	e := startEngine(t, "--authorization-plugin="+plugin)
	e.load(t, image)
	p := freePorts(t, 2)
	listen(t, nil, fmt.Sprint(p[0]))
	o := e.step(t, image, p, nil)
	web := o.status(t, "web", check.InUse)
	for _, h := range web.Holders {
		if h.PID != 0 {
			t.Errorf("holder %+v", h)
		}
	}
	if refused.Load() == 0 {
		t.Error("no request for a helper with the host's PIDs")
	}
	if why := degraded(web.Notices, o.target(t).Notices); !strings.Contains(why, "the container engine refused a helper with access to other processes") || !strings.Contains(why, refusal) {
		t.Errorf("degraded: %q", why)
	}
}

const refusal = "host PIDs are not for everybody"

// forbidHostPIDs starts an authorization plugin.
func forbidHostPIDs(t *testing.T, name string, refused *atomic.Int32) {
	t.Helper()
	const dir = "/run/docker/plugins"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	answer(t, filepath.Join(dir, name+".sock"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var reply any = map[string]any{"Allow": true}
		switch r.URL.Path {
		case "/Plugin.Activate":
			reply = map[string]any{"Implements": []string{"authz"}}
		case "/AuthZPlugin.AuthZReq":
			var asked struct {
				RequestURI  string `json:"RequestUri"`
				RequestBody []byte
			}
			var body struct{ HostConfig struct{ PidMode string } }
			err := json.NewDecoder(r.Body).Decode(&asked)
			if err == nil && len(asked.RequestBody) > 0 {
				err = json.Unmarshal(asked.RequestBody, &body)
			}
			if err != nil {
				t.Errorf("%s: %v", asked.RequestURI, err)
			}
			if body.HostConfig.PidMode == "host" {
				refused.Add(1)
				reply = map[string]any{"Allow": false, "Msg": refusal}
			}
		}
		if err := json.NewEncoder(w).Encode(reply); err != nil {
			t.Error(err)
		}
	}))
}

// TestRemappedUsers checks that a helper names holders on an engine with
// --userns-remap: it runs in the machine's user namespace.
func TestRemappedUsers(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	e := startEngine(t, "--userns-remap=1234567:1234567")
	if security := docker(t, "-H", "unix://"+e.socket, "info", "--format", "{{.SecurityOptions}}"); !strings.Contains(security, "userns") {
		t.Fatalf("the engine does not map users: %s", security)
	}
	if err := os.Chmod(e.socket, 0o666); err != nil { // root in a container is another user on the machine
		t.Fatal(err)
	}
	e.load(t, image)
	p := freePorts(t, 2)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	o := e.step(t, image, p, func(s *step) {
		for _, dir := range []string{"", "workspace", "_temp", "_temp/_runner_file_commands", "_temp/_runner_file_commands/output", "_temp/_runner_file_commands/summary"} {
			if err := os.Chmod(filepath.Join(s.dir, dir), 0o777); err != nil {
				t.Fatal(err)
			}
		}
	})
	web := o.status(t, "web", check.InUse)
	if h := holder(t, web); h.PID != pid {
		t.Errorf("holder %+v, want pid %d; degraded: %s", h, pid, degraded(web.Notices, o.target(t).Notices))
	}
}

// privateEngine is an engine for one test.
type privateEngine struct{ socket string }

// startEngine starts an engine with its own mounts and bridge. In its mount
// namespace, files with users for --userns-remap are mounted over the machine's.
func startEngine(t *testing.T, options ...string) privateEngine {
	t.Helper()
	for _, name := range []string{"dockerd", "unshare", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, fmt.Sprintf("needs %s: %v", name, err))
		}
	}
	dir := temp(t)
	users := map[string]string{
		"subuid": "1234567:2000000:65536\nportremap:2000000:65536\n", "subgid": "1234567:2000000:65536\nportremap:2000000:65536\n",
		"passwd": read(t, "/etc/passwd") + "portremap:x:1234567:1234567::/:/bin/false\n", "group": read(t, "/etc/group") + "portremap:x:1234567:\n",
	}
	bridge := newBridge(t)
	const start = `set -e
dir=$1; shift
for name in subuid subgid passwd group; do
	mount --bind "$dir/$name" "/etc/$name"
done
exec dockerd "$@"
`
	for name, text := range users {
		write(t, filepath.Join(dir, name), text)
		if _, err := os.Stat(filepath.Join("/etc", name)); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	socket := filepath.Join(dir, "docker.sock")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{
		"--mount", "sh", "-c", start, "sh", dir, "--bridge", bridge, "--iptables=false", "--ip-forward=false", "--ip-masq=false", "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"), "-H", "unix://" + socket,
	}, options...)
	daemon := exec.Command("unshare", args...)
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM) // it may have ended already
		select {
		case <-ended:
		case <-time.After(patience / 2):
			t.Error("the engine does not end")
			_ = syscall.Kill(-daemon.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return privateEngine{socket}
		}
		select {
		case err := <-ended:
			ended <- err
			testbed.Missing(t, fmt.Sprintf("dockerd %v: %v\n%s", options, err, read(t, log.Name())))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("dockerd %v was not ready within %s\n%s", options, patience, read(t, log.Name()))
		}
	}
}

// newBridge creates a bridge for an engine that needs none. With --bridge=none the
// engine would remove docker0, which belongs to the other engine.
func newBridge(t *testing.T) string {
	t.Helper()
	name := "acc" + strings.ToLower(rand.Text()[:8])
	ip := func(args ...string) {
		t.Helper()
		if out, err := shell("ip", args...); err != nil {
			t.Errorf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("link", "add", name, "type", "bridge")
	t.Cleanup(func() { ip("link", "del", name) })
	ip("addr", "add", fmt.Sprintf("198.18.%d.%d/29", mathrand.IntN(256), 8*mathrand.IntN(32)+1), "dev", name)
	return name
}

// load copies an image from the machine's engine.
func (e privateEngine) load(t *testing.T, image string) {
	t.Helper()
	files := filepath.Join(temp(t), "image.tar")
	docker(t, "save", "-o", files, image)
	docker(t, "-H", "unix://"+e.socket, "load", "-q", "-i", files)
}

// step runs a step in a container without network. It checks a port that is taken
// on the machine and one that is free.
func (e privateEngine) step(t *testing.T, image string, ports []int, adjust func(*step)) outcome {
	t.Helper()
	s := step{
		image: image, socket: e.socket, flags: []string{"--network", "none"},
		manifest: manifest(need("web", ports[0], ""), need("spare", ports[1], "")),
	}
	s.prepare(t)
	if adjust != nil {
		adjust(&s)
	}
	s.launch(t, "-H", "unix://"+e.socket)
	o := s.wait(t).want(t, 1)
	if target := o.target(t); target.Name != "runner" || target.Namespace.Kind != "host" {
		t.Errorf("target %+v", target)
	}
	o.status(t, "spare", check.Free)
	if left := docker(t, "-H", "unix://"+e.socket, "ps", "-a", "-q"); left != "" {
		t.Errorf("left: %s", left)
	}
	return o
}
