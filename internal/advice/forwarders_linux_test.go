package advice

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// A docker-proxy that has outlived its engine serves nobody.
func TestProxyLeftOver(t *testing.T) {
	if !isolated(t) {
		return
	}
	if _, err := exec.LookPath("docker-proxy"); err != nil {
		testbed.Missing(t, err.Error())
	}
	bystander(t)
	// PID 1 of a machine is called init or systemd, and gets the proxy once what
	// started it has ended.
	const script = `
printf init >/proc/$$/comm
setsid sh -ec 'docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 127.0.0.9 -container-port 80 >/dev/null 2>&1 3>/dev/null & exit 0'
echo ready
while :; do sleep 600; done`
	const subreaper = "import ctypes, os, sys\nctypes.CDLL(None).prctl(36, 1)\nos.execvp('sh', ['sh', '-c', sys.argv[1]])" // PR_SET_CHILD_SUBREAPER
	if _, line := testbed.Start(t, "/usr/bin/python3", "-c", subreaper, script); line != "ready" {
		t.Fatal(line)
	}
	await(t, "8080")
	r := place{}.taken(t, "8080")
	h := r.Holders[0]
	if h.Forwarder == nil || h.Forwarder.Name != "docker-proxy" || !h.Forwarder.LeftOver {
		t.Errorf("forwarder %+v", h.Forwarder)
	}
	wants(t, r.Message, "docker-proxy", "left over")
	wants(t, allHints(r), "left over from a container that is gone", fmt.Sprintf("`kill %d`", h.PID), "not", "owner", "docker ps")
	place{}.follow(t, "8080", r)
}

// Programs that hold ports for others are never to be killed, and never an owner.
func TestForwardersWithoutAnEngine(t *testing.T) {
	for name, want := range map[string]string{
		"docker-proxy": "docker ps --filter publish=8080/tcp", "rootlesskit": "which one is not known", "rootlessport": "podman ps", "slirp4netns": "which one is not known",
		"pasta": "which one is not known", "passt.avx2": "which one is not known", "conmon": "podman ps", "containerd-shim-runc-v2": "which one is not known",
		"dockerd": "docker ps --filter publish=8080/tcp", "xinetd": "take the line of port 8080 out",
	} {
		t.Run(name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			dir, err := os.MkdirTemp("", "advice-") // t.TempDir is readable by root alone
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in a temporary directory
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			code, err := os.ReadFile("/usr/bin/python3")
			if err != nil {
				testbed.Missing(t, err.Error())
			}
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, code, 0o755); err != nil {
				t.Fatal(err)
			}
			_, line := testbed.StartWith(t, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "PYTHONHOME=/usr") }, "sh", "-ec", `printf dockerd >/proc/$$/comm; "$@"; exit`, "sh", file, "-u", "-c", listenScript, "8080")
			if line != "ready" {
				t.Fatal(line)
			}
			nobodyAnswers := place{env: []string{"DOCKER_HOST=unix://" + dir + "/none.sock"}}
			manifest := filepath.Join(dir, "portcheck.yml")
			if err := os.WriteFile(manifest, []byte("version: 1\napp: x\nports: [{name: x, port: 8080}, {name: y, port: 8080, owner: {container: web}, allow: [duplicate]}]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			all := nobodyAnswers.check(t, manifest)
			wants(t, allHints(all[0]), want, "not", "`kill", "owner: {")
			wantOwner := check.Unknown
			if name == "xinetd" {
				wantOwner = check.InUse
			}
			if all[1].Status != wantOwner {
				t.Errorf("with an owner: %s: %s", all[1].Status, all[1].Message)
			}
		})
	}
}

// systemd is a service manager in namespaces of its own.
type systemd struct {
	place
	pid int
}

// startSystemd starts systemd as PID 1 of a PID namespace, with units by their names.
func startSystemd(t *testing.T, units map[string]string) systemd {
	t.Helper()
	const path = "/lib/systemd/systemd"
	for _, name := range []string{path, "systemctl", "nsenter", "unshare"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	dir := t.TempDir()
	for name, text := range units {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("[Unit]\nDefaultDependencies=no\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const script = `
for group in $1; do
	mount --bind "$group" "${group%/*}"
done
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /etc/systemd/system
cp "$0"/* /run/systemd/system/
mount -t tmpfs tmpfs /etc/systemd/system
container=test exec ` + path + ` --system --unit=test.target --log-target=null --show-status=false`
	groups := cgroups(t)
	outer, _ := testbed.StartWith(t, func(cmd *exec.Cmd) { cmd.Stderr = nil }, "sh", "-ec", `
for group in $2; do
	echo $$ >"$group/cgroup.procs"
done
echo starting
exec unshare --pid --fork --kill-child --mount --mount-proc --cgroup --ipc sh -ec "$0" "$1" "$2"`, script, dir, strings.Join(groups, " "))
	s := systemd{}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", outer.Process.Pid, outer.Process.Pid)) // empty before it has one
		if _, err := fmt.Sscan(string(children), &s.pid); err == nil {
			s.prefix = []string{"nsenter", "-t", fmt.Sprint(s.pid), "-m", "-p", "-C", "-i", "-n"}
			if out, err := exec.Command("nsenter", append(s.prefix[1:], "systemctl", "is-active", "test.target")...).Output(); err == nil && strings.TrimSpace(string(out)) == "active" {
				return s
			}
		}
		if time.Now().After(deadline) {
			testbed.Missing(t, "systemd does not start in a PID namespace here")
		}
	}
}

// cgroups makes a cgroup in each hierarchy that systemd uses, so that what it makes
// below is removed with the test.
func cgroups(t *testing.T) []string {
	t.Helper()
	var made []string
	for _, hierarchy := range []string{".", "unified", "systemd", "memory", "pids", "devices"} {
		parent := filepath.Join("/sys/fs/cgroup", hierarchy)
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
			continue
		}
		group, err := os.MkdirTemp(parent, "portcheck-advice-")
		if err != nil {
			testbed.Missing(t, err.Error())
		}
		if err := os.Chmod(group, 0o755); err != nil { // for managers of users
			t.Fatal(err)
		}
		made = append(made, group)
		t.Cleanup(func() { removeCgroups(t, group) })
	}
	return made
}

// removeCgroups removes a cgroup and those below, once their processes have left.
func removeCgroups(t *testing.T, group string) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var all []string
		_ = filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		if len(all) == 0 {
			return
		}
		for _, dir := range slices.Backward(all) {
			_ = os.Remove(dir) // what remains is tried again
		}
		if time.Now().After(deadline) {
			t.Errorf("cgroups remain: %q", all)
			return
		}
	}
}

func (s systemd) systemctl(t *testing.T, args ...string) string {
	t.Helper()
	words := append(append(s.prefix[1:len(s.prefix):len(s.prefix)], "systemctl"), args...)
	out, err := exec.Command("nsenter", words...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestSocketUnits(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	s := startSystemd(t, map[string]string{
		"shop.socket":   "[Socket]\nListenStream=8080\nListenDatagram=127.0.0.1:5300\n",
		"shop.service":  "[Service]\nExecStart=/bin/sleep 600\n",
		"busy.socket":   "[Socket]\nListenStream=0.0.0.0:8081\n",
		"busy.service":  "[Service]\nExecStart=/bin/sleep 600\n",
		"other.socket":  "[Socket]\nListenStream=8082\n",
		"other.service": "[Service]\nExecStart=/bin/sleep 600\n",
		"test.target":   "Wants=shop.socket busy.socket other.socket\nAfter=shop.socket busy.socket other.socket\n",
	})
	s.systemctl(t, "start", "busy.service")
	manifest := filepath.Join(t.TempDir(), "portcheck.yml")
	text := `version: 1
app: shop
allow: [duplicate]
ports:
  - {name: unit, port: 8080, owner: {unit: shop.socket}}
  - {name: service, port: 8080, owner: {unit: shop.service}}
  - {name: listening, port: 5300, protocol: udp, address: 127.0.0.1, expect: listening, owner: {unit: "shop.*"}}
  - {name: wrong, port: 8080, owner: {unit: busy.socket}}
  - {name: activated, port: 8081, owner: {unit: busy.socket}}
  - {name: none, port: 8080}
  - {name: both, port: 8081}
`
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	inside := fmt.Sprintf("/proc/%d/root", s.pid)
	if err := os.WriteFile(inside+"/run/portcheck.yml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := map[string]check.Status{
		"unit": check.Owned, "service": check.Owned, "listening": check.Listening, "wrong": check.InUse, "activated": check.Owned, "none": check.InUse, "both": check.InUse,
	}
	results := map[string]check.Result{}
	for _, r := range s.check(t, "/run/portcheck.yml") {
		results[r.Name] = r
		if r.Status != want[r.Name] {
			t.Errorf("%s: %s: %s %+v", r.Name, r.Status, r.Message, r.Notices)
		}
	}
	wants(t, results["wrong"].Message, "systemd (pid 1, shop.socket)", "its unit is shop.socket, and owner wants busy.socket")
	wants(t, allHints(results["none"]), "`systemctl stop shop.socket`", "`owner: {unit: shop.socket}`", "not", "kill", "process")
	wants(t, allHints(results["both"]), "`systemctl stop busy.socket busy.service`", "`owner: {unit: busy.socket}`", "not", "kill", "process")
	s.follow(t, "8080", results["none"])
	s.follow(t, "8081", results["both"])
	for unit, want := range map[string]string{"other.socket": "active", "test.target": "active"} {
		if got := s.systemctl(t, "is-active", unit); got != want {
			t.Errorf("%s is %s", unit, got)
		}
	}
	if err := syscall.Kill(s.pid, 0); err != nil {
		t.Errorf("systemd has ended: %v", err)
	}
}

// A user may not examine that user's own service manager, which says itself what it has.
func TestSocketUnitsOfAUser(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	const start = `mkdir -p $XDG_RUNTIME_DIR/systemd/user && cd $XDG_RUNTIME_DIR/systemd/user && for u in web other; do printf "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 600\n" >$u.service; done && printf "[Unit]\nDefaultDependencies=no\nWants=other.socket\n[Socket]\nListenStream=127.0.0.1:8080\n" >web.socket && printf "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=127.0.0.1:8081\n" >other.socket`
	s := startSystemd(t, map[string]string{
		"user@65534.service": "[Service]\nType=notify\nUser=65534\nGroup=65534\nDelegate=yes\nAmbientCapabilities=CAP_WAKE_ALARM\n" +
			"RuntimeDirectory=user/65534\nEnvironment=XDG_RUNTIME_DIR=/run/user/65534 HOME=/run/user/65534\n" +
			"ExecStartPre=/bin/sh -ec '" + start + "'\nExecStart=/lib/systemd/systemd --user --unit=web.socket\n",
		"test.target": "Wants=user@65534.service\nAfter=user@65534.service\n",
	})
	user := s.place
	user.prefix = append(slices.Clone(s.prefix), "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all")
	user.env = append(user.env, "XDG_RUNTIME_DIR=/run/user/65534")
	r := user.taken(t, "8080")
	wants(t, r.Message, "user@65534.service/web.socket")
	wants(t, allHints(r), "`systemctl --user stop web.socket`", "not", "kill", "process")
	user.follow(t, "8080", r)
	if err := syscall.Kill(s.pid, 0); err != nil {
		t.Errorf("systemd has ended: %v", err)
	}
}
