//go:build linux

package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// publisher is an engine that runs containers with published ports.
type publisher struct {
	socket string
	// inside starts the command lines of its user, where the engine's client is set up
	// for the engine.
	inside []string
	env    []string
	client string // docker or podman
	flags  []string
}

// run runs the engine's client.
func (p publisher) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.try(append(append([]string{p.client}, p.flags...), args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p publisher) try(words ...string) (string, error) {
	words = append(slices.Clone(p.inside), words...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%q: %w\n%s", words, err, errs.String())
	}
	return strings.TrimSpace(string(out)), err
}

// publish starts a container with a published port.
func (p publisher) publish(t *testing.T, name string, number int, flags ...string) {
	t.Helper()
	// As the first process of its container the server ignores SIGTERM.
	args := append([]string{"run", "-d", "--stop-signal", "KILL", "--name", name, "-p", fmt.Sprintf("%d:80", number)}, flags...)
	p.run(t, append(args, serverName, "/server", "80")...)
}

// probe runs portcheck on the machine, as root, with an engine, or without a DOCKER_HOST
// for "".
func probe(t *testing.T, socket string, args ...string) map[string]check.Result {
	t.Helper()
	binary, err := portcheckBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{"check", "-f", "json"}, args...)...)
	if cmd.Env = os.Environ(); socket != "" {
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+socket)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal(errs.String())
	}
	all := map[string]check.Result{}
	for _, r := range readReport(t, string(out)).Results {
		all[r.Name] = r
	}
	return all
}

var portcheckBinary = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(scratch, "portcheck")
	build := exec.Command("go", "build", "-o", binary, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

// serverLayer writes the layer of the server's image.
func serverLayer(t *testing.T) string {
	t.Helper()
	binary, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := testbed.Layer("server", []byte(read(t, binary)))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(temp(t), "layer.tar")
	write(t, file, string(layer))
	return file
}

// forwards checks a forwarder of an engine: its container is named, it matches the
// owner, and the remedy ends it and nothing else. Without the engine, and with another
// one, there is no advice that would end anything else.
func (p publisher) forwards(t *testing.T, forwarder string, flags ...string) {
	t.Helper()
	ports := freePorts(t, 2)
	p.publish(t, "web", ports[0], flags...)
	p.publish(t, "other", ports[1], flags...)
	image := serverName
	if p.client == "podman" {
		image = "localhost/" + image
	}
	manifestFile := filepath.Join(temp(t), "portcheck.yml")
	write(t, manifestFile, manifest(
		need("web", ports[0], ""), need("name", ports[0], ", allow: [duplicate], owner: {container: web}"), need("image", ports[0], `, allow: [duplicate], owner: {image: "`+image+`"}`),
		need("wrong", ports[0], ", allow: [duplicate], owner: {container: other}"), need("listens", ports[0], ", allow: [duplicate], expect: listening, owner: {container: web}"),
	))
	results := probe(t, p.socket, manifestFile)
	for name, want := range map[string]check.Status{"web": check.InUse, "name": check.Owned, "image": check.Owned, "wrong": check.InUse, "listens": check.Listening} {
		if r := results[name]; r.Status != want {
			t.Errorf("%s: %s, want %s: %s %s", name, r.Status, want, r.Message, degraded(r.Notices))
		}
	}
	web := results["web"]
	for _, h := range web.Holders {
		if h.Process != forwarder || h.Container == nil || h.Container.Name != "web" || h.Container.Engine != p.client {
			t.Errorf("holder %+v, container %+v", h, h.Container)
		}
	}
	if !strings.Contains(web.Message, forwarder+" (pid ") || !strings.Contains(web.Message, "container web") {
		t.Errorf("message: %s", web.Message)
	}
	remedy, owner := hint(web, check.HintRemedy), hint(web, check.HintOwner)
	if !strings.Contains(owner.Text, "`owner: {container: \"web\"}`") || !strings.HasSuffix(remedy.Command, " stop web") {
		t.Errorf("remedy %+v, owner %+v", remedy, owner)
	}
	if mismatch := "its container is web, and owner wants other"; !strings.Contains(results["wrong"].Message, mismatch) {
		t.Errorf("%s, want %s", results["wrong"].Message, mismatch)
	}
	for _, socket := range []string{filepath.Join(temp(t), "none.sock"), engineSocket} {
		if socket == p.socket {
			continue
		}
		without := probe(t, socket, manifestFile)
		want, bad := check.Unknown, []string{"kill", "systemctl", "`owner: "}
		switch forwarder { // the command line of a conmon names the container
		case "conmon":
			want, bad = check.Owned, []string{"kill", "systemctl", "`owner: {process"}
		case "rootlessport", "slirp4netns": // but a user has written it
			bad = []string{"kill", "systemctl", "`owner: {process", "`owner: {container: \"web\"}"}
		}
		if r := without["name"]; r.Status != want {
			t.Errorf("without its engine: %s, want %s: %s", r.Status, want, r.Message)
		}
		for _, h := range without["web"].Hints {
			if slices.ContainsFunc(bad, func(s string) bool { return strings.Contains(h.Text, s) }) {
				t.Errorf("without its engine: %s", h.Text)
			}
		}
	}
	if _, err := p.try("sh", "-ec", remedy.Command); err != nil {
		t.Fatal(err)
	}
	after := probe(t, p.socket, "--port", strconv.Itoa(ports[0]), "--wait", "10s")
	if r := after["tcp-"+strconv.Itoa(ports[0])]; r.Status != check.Free {
		t.Errorf("after `%s`: %s: %s", remedy.Command, r.Status, r.Message)
	}
	if names := p.run(t, "ps", "--format", "{{.Names}}"); names != "other" {
		t.Errorf("containers that run after `%s`: %q", remedy.Command, names)
	}
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[1])))
	if err != nil {
		t.Fatalf("the other container: %v", err)
	}
	c.Close()
	p.run(t, "rm", "-f", "web", "other")
}

// hint returns the first hint of a kind.
func hint(r check.Result, kind check.HintKind) check.Hint {
	for _, h := range r.Hints {
		if h.Kind == kind {
			return h
		}
	}
	return check.Hint{}
}

func TestForwardersOfRootfulPodman(t *testing.T) {
	t.Parallel()
	imageUnderTest(t)
	engine := startPodman(t)
	engine.run(t, 0, "import", serverLayer(t), serverName)
	// Followed to the letter, the remedy calls podman without the flags of this
	// installation.
	bin := temp(t)
	real, err := exec.LookPath("podman")
	if err != nil {
		t.Fatal(err)
	}
	own := engine.command()
	write(t, filepath.Join(bin, "podman"), fmt.Sprintf("#!/bin/sh\nexec env CONTAINERS_CONF=%s/containers.conf %s %s \"$@\"\n", engine.dir, real, strings.Join(own.Args[1:], " ")))
	if err := os.Chmod(filepath.Join(bin, "podman"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := publisher{socket: engine.socket, client: "podman", inside: []string{"env", "PATH=" + bin + ":" + os.Getenv("PATH")}}
	p.forwards(t, "conmon")
}

func TestForwardersOfRootfulDocker(t *testing.T) {
	t.Parallel()
	imageUnderTest(t)
	if _, err := serverImage(); err != nil {
		t.Fatal(err)
	}
	id := strings.ToLower(filepath.Base(temp(t)))
	// The engine has containers of other tests, so these have names of their own.
	p := publisher{socket: engineSocket, client: "docker"}
	ports := freePorts(t, 2)
	for i, name := range []string{"web-" + id, "other-" + id} {
		p.publish(t, name, ports[i], "--rm")
		t.Cleanup(func() { _, _ = try("rm", "-f", name) }) // it may be gone
	}
	file := filepath.Join(temp(t), "portcheck.yml")
	write(t, file, manifest(need("web", ports[0], ""), need("name", ports[0], ", allow: [duplicate], owner: {container: web-"+id+"}")))
	results := probe(t, engineSocket, file)
	if r := results["name"]; r.Status != check.Owned {
		t.Errorf("%s: %s", r.Status, r.Message)
	}
	remedy := hint(results["web"], check.HintRemedy)
	if remedy.Command != "docker stop web-"+id {
		t.Fatalf("remedy %+v", remedy)
	}
	if _, err := p.try("sh", "-ec", remedy.Command); err != nil {
		t.Fatal(err)
	}
	if r := probe(t, engineSocket, file, "--wait", "10s")["web"]; r.Status != check.Free {
		t.Errorf("after `%s`: %s: %s", remedy.Command, r.Status, r.Message)
	}
	if out := docker(t, "inspect", "--format", "{{.State.Running}}", "other-"+id); out != "true" {
		t.Errorf("the other container runs: %s", out)
	}
}

// Without its proxies, Docker's engine itself listens on the ports of containers.
func TestForwardersWithoutProxies(t *testing.T) {
	t.Parallel()
	imageUnderTest(t)
	e := startEngine(t, "--userland-proxy=false")
	p := publisher{socket: e.socket, client: "docker", env: []string{"DOCKER_HOST=unix://" + e.socket}}
	p.run(t, "import", serverLayer(t), serverName)
	p.forwards(t, "dockerd")
}

func TestForwardersOfRootlessPodman(t *testing.T) {
	t.Parallel()
	imageUnderTest(t)
	u := newUser(t, "podman", "slirp4netns", "newuidmap", "runc")
	u.start(t, u.dir+"/run/podman.sock", "podman", "--log-level", "error", "system", "service", "--time", "0", "unix://"+u.dir+"/run/podman.sock")
	p := publisher{socket: u.dir + "/run/podman.sock", client: "podman", flags: []string{"--log-level", "error"}, inside: u.inside()}
	p.run(t, "import", serverLayer(t), serverName)
	for forwarder, network := range map[string]string{"rootlessport": "slirp4netns:port_handler=rootlesskit", "slirp4netns": "slirp4netns:port_handler=slirp4netns"} {
		p.forwards(t, forwarder, "--network", network)
	}
}

func TestForwardersOfRootlessDocker(t *testing.T) {
	t.Parallel()
	imageUnderTest(t)
	const script = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
	u := newUser(t, script, "dockerd", "rootlesskit", "slirp4netns", "newuidmap")
	socket := u.dir + "/run/docker.sock"
	u.env = append(u.env, "DOCKER_HOST=unix://"+socket, "DOCKERD_ROOTLESS_ROOTLESSKIT_NET=slirp4netns")
	u.start(t, socket, script, "--data-root", u.dir+"/home/data", "--exec-root", u.dir+"/run/exec", "--storage-driver", "vfs", "-H", "unix://"+socket)
	p := publisher{socket: socket, client: "docker", inside: u.inside()}
	p.run(t, "import", serverLayer(t), serverName)
	p.forwards(t, "rootlesskit")

	// Without a DOCKER_HOST, root's portcheck asks the engine of the forwarder's user.
	home := filepath.Join("/run/user", strconv.Itoa(u.uid))
	if err := errors.Join(os.MkdirAll(filepath.Dir(home), 0o755), os.Symlink(u.dir+"/run", home)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(home) }) // the link that was made
	number := freePorts(t, 1)[0]
	p.publish(t, "named", number)
	r := probe(t, "", "--port", strconv.Itoa(number))["tcp-"+strconv.Itoa(number)]
	remedy := hint(r, check.HintRemedy)
	if !strings.Contains(r.Message, "container named") || !strings.HasSuffix(remedy.Command, " stop named") {
		t.Fatalf("%s; remedy %+v", r.Message, remedy)
	}
	if _, err := p.try("sh", "-ec", remedy.Command); err != nil {
		t.Fatal(err)
	}
	if r := probe(t, "", "--port", strconv.Itoa(number), "--wait", "10s")["tcp-"+strconv.Itoa(number)]; r.Status != check.Free {
		t.Errorf("after `%s`: %s: %s", remedy.Command, r.Status, r.Message)
	}
}

// user is a user of the machine who may run engines without root. His name, his ranges
// of users and the devices that he may open are only in a mount namespace of his own.
type user struct {
	dir    string
	uid    int
	env    []string
	keeper int // of the mount namespace
}

func newUser(t *testing.T, programs ...string) *user {
	t.Helper()
	for _, name := range append(programs, "setpriv", "nsenter", "unshare") {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, fmt.Sprintf("needs %s: %v", name, err))
		}
	}
	u := &user{dir: temp(t), uid: 60000 + os.Getpid()%2000}
	if programs[0] != "podman" {
		u.uid += 2000
	}
	// The cleanup of the directory comes after that of what runs in it.
	t.Cleanup(func() { u.end(t) })
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": read(t, "/etc/passwd") + fmt.Sprintf("tester:x:%d:%d::%s/home:/bin/sh\n", u.uid, u.uid, u.dir),
		"group":  read(t, "/etc/group") + fmt.Sprintf("tester:x:%d:\n", u.uid),
		"subuid": "tester:3000000:65536\n", "subgid": "tester:3000000:65536\n",
		"containers.conf": fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%d:%d\", \"nproc=4096:4096\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n", files.Cur, files.Cur),
	} {
		write(t, filepath.Join(u.dir, name), text)
	}
	for _, name := range []string{"/etc/subuid", "/etc/subgid"} {
		if _, err := os.Stat(name); err == nil {
			continue // it is mounted over
		}
		write(t, name, "")
		t.Cleanup(func() { _ = os.Remove(name) }) // the other test may have made it, too
	}
	for _, name := range []string{"home", "run"} {
		dir := filepath.Join(u.dir, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, u.uid, u.uid)); err != nil {
			t.Fatal(err)
		}
	}
	u.env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + u.dir + "/home", "XDG_RUNTIME_DIR=" + u.dir + "/run", "CONTAINERS_CONF=" + u.dir + "/containers.conf",
	}
	const mounts = `
mount --make-rprivate /
for name in passwd group subuid subgid; do
	mount --bind "$0/$name" "/etc/$name"
done
for device in net/tun:10:200 fuse:10:229; do
	name=${device%%:*} numbers=${device#*:}
	[ -e "/dev/$name" ] || continue
	file=$0/$(basename "$name")
	mknod -m 666 "$file" c "${numbers%:*}" "${numbers#*:}"
	mount --bind "$file" "/dev/$name"
done
echo ready
exec sleep 3600`
	keeper, line := testbed.Start(t, "unshare", "-m", "sh", "-ec", mounts, u.dir)
	if line != "ready" {
		testbed.Missing(t, "the user's files can't be mounted: "+line)
	}
	u.keeper = keeper.Process.Pid
	return u
}

// inside returns the start of a command line of the user's.
func (u *user) inside() []string {
	id := strconv.Itoa(u.uid)
	words := []string{"nsenter", "-t", strconv.Itoa(u.keeper), "-m", "setpriv", "--reuid", id, "--regid", id, "--clear-groups", "env", "-i"}
	return append(words, u.env...)
}

// start starts an engine of the user's and waits for its socket.
func (u *user) start(t *testing.T, socket string, command ...string) {
	t.Helper()
	words := append(u.inside(), command...)
	cmd := exec.Command(words[0], words[1:]...)
	log, err := os.Create(filepath.Join(u.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return
		}
		select {
		case err := <-ended:
			testbed.Missing(t, fmt.Sprintf("%q: %v\n%s", command, err, read(t, log.Name())))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is not ready within %s\n%s", command, patience, read(t, log.Name()))
		}
	}
}

// end ends every process of the user's, and of the users in his range.
func (u *user) end(t *testing.T) {
	for deadline := time.Now().Add(patience / 2); ; time.Sleep(20 * time.Millisecond) {
		left := 0
		entries, err := os.ReadDir("/proc")
		if err != nil {
			t.Error(err)
			return
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			info, err := os.Stat("/proc/" + e.Name())
			if err != nil {
				continue // it has ended
			}
			uid := int(info.Sys().(*syscall.Stat_t).Uid)
			status, _ := os.ReadFile("/proc/" + e.Name() + "/status") // empty if it has ended
			own := strings.Contains(string(status), fmt.Sprintf("Uid:\t%d\t", u.uid))
			if uid == u.uid || own {
				left++
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d processes of uid %d remain", left, u.uid)
			return
		}
	}
}

// A port of the engine's own is nobody else's, and no reason to end the engine.
func TestPortOfTheEngine(t *testing.T) {
	t.Parallel()
	imageUnderTest(t)
	number := freePorts(t, 1)[0]
	e := startEngine(t, "-H", fmt.Sprintf("tcp://127.0.0.1:%d", number), "--tls=false")
	file := filepath.Join(temp(t), "portcheck.yml")
	write(t, file, manifest(need("up", number, ", expect: listening")))
	if r := probe(t, e.socket, file, "--wait", "30s")["up"]; r.Status != check.Listening {
		t.Fatalf("%s: %s", r.Status, r.Message)
	}
	write(t, file, manifest(need("api", number, ""), need("wrong", number, ", allow: [duplicate], owner: {container: web}")))
	results := probe(t, e.socket, file)
	if r := results["wrong"]; r.Status != check.InUse {
		t.Errorf("with an owner: %s: %s", r.Status, r.Message)
	}
	api := results["api"]
	if h := holder(t, api); h.Forwarder == nil || !h.Forwarder.Own {
		t.Errorf("holder %+v, forwarder %+v", h, h.Forwarder)
	}
	for _, h := range api.Hints {
		if strings.Contains(h.Text, "kill") || strings.Contains(h.Text, "`owner: ") || strings.Contains(h.Text, "`systemctl") || strings.Contains(h.Text, "docker ps") {
			t.Errorf("hint %s", h.Text)
		}
	}
	if remedy := hint(api, check.HintRemedy).Text; !strings.Contains(remedy, "dockerd has this port for itself") {
		t.Errorf("remedy %s", remedy)
	}
}
