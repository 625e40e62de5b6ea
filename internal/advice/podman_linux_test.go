package advice

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "rootfs")
	for _, name := range []string{"bin", "lib", "lib64", "usr", "etc", "dev", "proc", "sys", "tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// crun refuses hybrid cgroups, and podman's default limits may exceed ours.
	for name, text := range map[string]string{
		"containers.conf": fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%d:%d\", \"nproc=4096:4096\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"systemd\"\nevents_logger = \"none\"\n", files.Cur, files.Cur),
		"storage.conf":    fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = \"%s/storage\"\nrunroot = \"/run/podman-storage\"\n", dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conf, storage := "CONTAINERS_CONF="+dir+"/containers.conf", "CONTAINERS_STORAGE_CONF="+dir+"/storage.conf"
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
	for _, r := range s.check(t, "/run/portcheck.yml")[:2] {
		wants(t, allHints(r), "not", "kill", "systemctl", "`owner: ")
		if r.Name == "owner" && r.Status != check.Unknown {
			t.Errorf("without the engine: %s: %s", r.Status, r.Message)
		}
	}
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
