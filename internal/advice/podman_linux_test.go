package advice

import (
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

// Podman's cgroup manager systemd puts the container and its conmon into scopes. The
// container is named all the same, and the remedy ends it and neither a unit nor the
// other container.
func TestPodmanWithSystemd(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, name := range []string{"podman", "runc", "dbus-daemon"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	dir := t.TempDir()
	root := podmanRoot(t, dir)
	env := podmanConfig(t, dir, "systemd", "/run/podman-storage")
	conf, storage := env[0], env[1]
	// As `podman generate systemd --new` writes them: conmon stays in the unit, and the
	// container is in a scope. One publishes its port, the other listens itself.
	unit := func(options, command string) string {
		return "[Service]\nEnvironment=" + conf + " " + storage + " PODMAN_SYSTEMD_UNIT=%n PATH=" + os.Getenv("PATH") + "\nType=notify\nNotifyAccess=all\nRestart=always\nRestartSec=0\n" +
			"ExecStart=/usr/bin/podman run --cgroups=no-conmon --rm --sdnotify=conmon --replace -d --stop-signal KILL --name %N " + options +
			" -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro --rootfs " + root + " " + command + "\nExecStop=/usr/bin/podman stop --ignore %N\n"
	}
	s := startSystemd(t, map[string]string{
		"published.service": unit("-p 8082:80", "/bin/sleep 600"),
		"listens.service":   unit("--network host", "/usr/bin/python3 -m http.server 8083"),
		"dbus.socket":       "[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
		"dbus.service":      "Requires=dbus.socket\n[Service]\nExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only\n",
		"podman.service":    "[Service]\nEnvironment=" + conf + " " + storage + " PATH=" + os.Getenv("PATH") + "\nExecStart=/usr/bin/podman system service --time 0 unix:///run/podman.sock\n",
		"test.target":       "Wants=dbus.socket dbus.service podman.service\nAfter=dbus.socket dbus.service\n",
	})
	s.env = []string{conf, storage, "DOCKER_HOST=unix:///run/podman.sock"}
	podman := func(args ...string) string {
		t.Helper()
		words := append(s.prefix[1:len(s.prefix):len(s.prefix)], append([]string{"podman", "--log-level", "error"}, args...)...)
		cmd := exec.Command("nsenter", words...)
		cmd.Env = append(os.Environ(), s.env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("podman %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for name, port := range map[string]string{"web": "8080", "other": "8081"} {
		podman("run", "-d", "--stop-signal", "KILL", "--name", name, "-p", port+":80", "-v", "/bin:/bin:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro", "-v", "/usr:/usr:ro", "--rootfs", root, "/bin/sleep", "600")
	}
	id := podman("inspect", "--format", "{{.Id}}", "web")
	wants(t, s.systemctl(t, "list-units", "--type", "scope", "--plain", "--no-legend"), "libpod-"+id+".scope", "libpod-conmon-"+id+".scope")
	manifest := fmt.Sprintf("/proc/%d/root/run/portcheck.yml", s.pid)
	text := `version: 1
app: shop
allow: [duplicate]
ports:
  - {name: web, port: 8080}
  - {name: owner, port: 8080, owner: {container: web}}
  - {name: wrong, port: 8080, owner: {container: other}}
  - {name: unit, port: 8080, owner: {unit: "*.scope"}}
  - {name: listens, port: 8080, expect: listening, owner: {container: web}}
`
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := map[string]check.Status{"web": check.InUse, "owner": check.Owned, "wrong": check.InUse, "unit": check.InUse, "listens": check.Listening}
	results := map[string]check.Result{}
	for _, r := range s.check(t, "/run/portcheck.yml") {
		results[r.Name] = r
		if r.Status != want[r.Name] {
			t.Errorf("%s: %s: %s %+v", r.Name, r.Status, r.Message, r.Notices)
		}
	}
	wants(t, results["web"].Message, "in use by conmon (pid ", "container web)")
	wants(t, results["wrong"].Message, "its container is web, and owner wants other")
	wants(t, allHints(results["web"]), "`podman stop web`", "`owner: {container: \"web\"}`", "not", "kill", "systemctl", "scope")
	engine := s.env
	s.env = []string{"DOCKER_HOST=unix:///run/none.sock"}
	for _, r := range s.check(t, "/run/portcheck.yml") {
		if r.Status != want[r.Name] {
			t.Errorf("without the engine: %s: %s: %s", r.Name, r.Status, r.Message)
		}
		if r.Name == "web" {
			wants(t, r.Message, "container web)")
			wants(t, allHints(r), "`podman stop web`", "`owner: {container: \"web\"}`", "not", "kill", "systemctl", "scope")
		}
	}
	s.systemctl(t, "start", "published.service")
	published := s.check(t, "--port", "8082", "--wait", "1s")[0]
	wants(t, allHints(published), "stop its container: `podman stop published`; but if published.service has started it, stop that unit", "not", "kill")
	s.systemctl(t, "stop", "published.service")
	s.env = engine
	s.follow(t, "8080", results["web"])
	wants(t, s.systemctl(t, "is-active", "podman.service"), "active", "not", "inactive")
	for name, port := range map[string]string{"published": "8082", "listens": "8083"} {
		s.systemctl(t, "start", name+".service")
		text := "version: 1\napp: x\nports: [{name: x, port: " + port + ", expect: listening}]\n"
		if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := s.check(t, "/run/portcheck.yml", "--wait", "20s")[0]; r.Status != check.Listening {
			t.Fatalf("%s: %s: %s", name, r.Status, r.Message)
		}
		r := s.taken(t, port)
		wants(t, r.Message, "container "+name+")")
		wants(t, allHints(r), "stop its container's service: `systemctl stop "+name+".service`", "not", "kill", "podman stop")
		s.follow(t, port, r)
	}
	if left := podman("ps", "--format", "{{.Names}}"); left != "other" {
		t.Errorf("containers that run: %q", left)
	}
}

// Podman needs no service, and most machines have none: the command line of a conmon
// names the container.
func TestPodmanWithoutService(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, name := range []string{"podman", "runc", "conmon"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	dir := t.TempDir()
	root := podmanRoot(t, dir)
	here := place{env: append(podmanConfig(t, dir, "cgroupfs", dir+"/run"), "DOCKER_HOST=")}
	podman := func(args ...string) {
		t.Helper()
		cmd := exec.Command("podman", append([]string{"--log-level", "error"}, args...)...)
		cmd.Env = append(os.Environ(), here.env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("podman %q: %v\n%s", args, err, out)
		}
	}
	for name, published := range map[string]string{
		"web": "8080:80", "other": "8081:80", "first": "127.0.0.1:8082:80", "second": "127.0.0.2:8082:80", "udp": "127.0.0.1:8082:80/udp",
	} {
		podman("run", "-d", "--stop-signal", "KILL", "--name", name, "-p", published, "-v", "/bin:/bin:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro", "-v", "/usr:/usr:ro", "--rootfs", root, "/bin/sleep", "600")
		t.Cleanup(func() { podman("rm", "--force", "--ignore", name) })
	}
	manifest := filepath.Join(dir, "portcheck.yml")
	text := `version: 1
app: shop
allow: [duplicate]
ports:
  - {name: web, port: 8080}
  - {name: owner, port: 8080, owner: {container: web}}
  - {name: wrong, port: 8080, owner: {container: other}}
  - {name: image, port: 8080, owner: {image: nginx}}
  - {name: listens, port: 8080, expect: listening, owner: {container: web}}
`
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := map[string]check.Status{"web": check.InUse, "owner": check.Owned, "wrong": check.InUse, "image": check.Unknown, "listens": check.Listening}
	for _, r := range here.check(t, "-t", "local", manifest) {
		if r.Status != want[r.Name] {
			t.Errorf("%s: %s: %s %+v", r.Name, r.Status, r.Message, r.Notices)
		}
		if r.Name == "image" && !slices.ContainsFunc(r.Notices, func(n check.Notice) bool {
			return strings.Contains(n.Message, "of container web only the name is known")
		}) {
			t.Errorf("%+v", r.Notices)
		}
	}
	r := here.taken(t, "8080")
	wants(t, r.Message, "in use by conmon (pid ", "container web)")
	wants(t, allHints(r), "stop its container: `podman stop web`", "not", "kill", "podman ps")
	here.follow(t, "8080", r)
	// One port of several containers, at different addresses and with different protocols.
	r = here.taken(t, "8082")
	wants(t, r.Message, "container first)", "container second)", "not", "container udp)")
	wants(t, allHints(r), "stop its containers: `podman stop ", " first", " second", "not", "udp")
	here.follow(t, "8082", r)
	r = here.taken(t, "8082/udp")
	wants(t, allHints(r), "stop its container: `podman stop udp`")
	here.follow(t, "8082/udp", r)
	if r := here.taken(t, "8081"); !strings.Contains(r.Message, "container other)") {
		t.Error(r.Message)
	}
}

// The forwarders of a user's Podman name no container, and his conmons do.
func TestPodmanOfAUserWithoutService(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, name := range []string{"podman", "runc", "conmon", "slirp4netns", "newuidmap", "setpriv"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	const uid = 61000
	dir, err := os.MkdirTemp("/tmp", "p") // the path of a socket there may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in a temporary directory
	root := podmanRoot(t, dir)
	env := append(podmanConfig(t, dir, "cgroupfs", dir+"/run"), "DOCKER_HOST=", "HOME="+dir, "XDG_RUNTIME_DIR="+dir+"/r")
	if err := os.Mkdir(dir+"/r", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": fmt.Sprintf("root:x:0:0::/root:/bin/sh\ntester:x:%d:%d::%s:/bin/sh\n", uid, uid, dir), "group": fmt.Sprintf("root:x:0:\ntester:x:%d:\n", uid),
		"subuid": "tester:3100000:65536\n", "subgid": "tester:3100000:65536\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The user's files and the devices that he may open are those of this mount namespace.
	const script = `
chown -R $1:$1 "$0"
chmod 755 "$0"
for name in passwd group subuid subgid; do
	[ -e "/etc/$name" ] || : >"/etc/$name"
	mount --bind "$0/$name" "/etc/$name"
done
mknod -m 666 "$0/tun" c 10 200
mount --bind "$0/tun" /dev/net/tun`
	if out, err := exec.Command("sh", "-ec", script, dir, fmt.Sprint(uid)).CombinedOutput(); err != nil {
		testbed.Missing(t, fmt.Sprintf("the user's files can't be mounted: %v\n%s", err, out))
	}
	user := place{prefix: []string{"setpriv", "--reuid", fmt.Sprint(uid), "--regid", fmt.Sprint(uid), "--clear-groups"}, env: env}
	podman := func(args ...string) {
		t.Helper()
		words := append(slices.Clone(user.prefix), append([]string{"podman", "--log-level", "error"}, args...)...)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("podman %q: %v\n%s", args, err, out)
		}
	}
	for name, options := range map[string][]string{
		"web": {"-p", "8080:80"}, "other": {"-p", "8081:80"}, "direct": {"-p", "8082:80", "--network", "slirp4netns:port_handler=slirp4netns"},
	} {
		words := append([]string{"run", "-d", "--stop-signal", "KILL", "--name", name}, options...)
		podman(append(words, "-v", "/bin:/bin:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro", "-v", "/usr:/usr:ro", "--rootfs", root, "/bin/sleep", "600")...)
	}
	rooted := place{env: env}
	manifest := filepath.Join(dir, "portcheck.yml")
	text := "version: 1\napp: shop\nallow: [duplicate]\nports: [{name: owner, port: 8080, owner: {container: web}}, {name: wrong, port: 8080, owner: {container: other}}, {name: image, port: 8080, owner: {image: nginx}}, {name: user, port: 8080, owner: {container: web, user: tester}}, {name: another, port: 8080, owner: {container: web, user: root}}]\n"
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at   place
		want map[string]check.Status
	}{
		// To root it is the word of a user that the container is web.
		"root":     {rooted, map[string]check.Status{"owner": check.Unknown, "wrong": check.InUse, "image": check.Unknown, "user": check.Owned, "another": check.InUse}},
		"the user": {user, map[string]check.Status{"owner": check.Owned, "wrong": check.InUse, "image": check.Unknown, "user": check.Owned, "another": check.InUse}},
	} {
		for _, r := range c.at.check(t, "-t", "local", manifest) {
			if r.Status != c.want[r.Name] {
				t.Errorf("%s, %s: %s: %s %+v", name, r.Name, r.Status, r.Message, r.Notices)
			}
			if r.Name == "owner" && r.Status == check.Unknown && !slices.ContainsFunc(r.Notices, func(n check.Notice) bool {
				return strings.Contains(n.Message, "only a process of user tester says that pid ") && strings.Contains(n.Message, "add 'user' to the owner to accept that")
			}) {
				t.Errorf("%+v", r.Notices)
			}
		}
	}
	for port, want := range map[string][2]string{"8080": {"rootlessport", "web"}, "8082": {"slirp4netns", "direct"}} {
		for _, at := range []place{rooted, user} {
			r := at.taken(t, port)
			wants(t, r.Message, "in use by "+want[0]+" (pid ", "container "+want[1]+")")
			wants(t, allHints(r), "as user tester, stop its container: `podman stop "+want[1]+"`", "not", "kill", "podman ps")
		}
		user.follow(t, port, user.taken(t, port))
	}
	wants(t, rooted.taken(t, "8081").Message, "container other)")
}

// podmanRoot makes the root file system of a container, in which directories of the
// machine are mounted.
func podmanRoot(t *testing.T, dir string) string {
	t.Helper()
	root := filepath.Join(dir, "rootfs")
	for _, name := range []string{"bin", "lib", "lib64", "usr", "etc", "dev", "proc", "sys", "tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// podmanConfig writes the files of Podman's configuration and returns the environment that
// leads to them.
func podmanConfig(t *testing.T, dir, cgroups, runroot string) []string {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	// crun refuses hybrid cgroups, and podman's default limits may exceed ours.
	for name, text := range map[string]string{
		"containers.conf": fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%d:%d\", \"nproc=4096:4096\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"%s\"\nevents_logger = \"none\"\n", files.Cur, files.Cur, cgroups),
		"storage.conf":    fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = \"%s/storage\"\nrunroot = \"%s\"\n", dir, runroot),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"CONTAINERS_CONF=" + dir + "/containers.conf", "CONTAINERS_STORAGE_CONF=" + dir + "/storage.conf"}
}
