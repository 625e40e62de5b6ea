package host

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

func TestParseOwnContainer(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for name, c := range map[string]struct {
		mountinfo string
		want      []string
	}{
		"a host": {"27 1 254:0 / / rw,relatime - ext4 /dev/root rw\n", nil},
		"docker": {
			"1011 1006 254:0 /var/lib/docker/containers/" + a + "/resolv.conf /etc/resolv.conf rw - ext4 /dev/root rw\n" +
				"1012 1006 254:0 /var/lib/docker/containers/" + a + "/hostname /etc/hostname rw - ext4 /dev/root rw\n", []string{a},
		},
		"podman":                 {"1 2 0:25 /containers/storage/overlay-containers/" + b + "/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw\n", []string{b}},
		"another's directory":    {"1 2 0:25 /var/lib/docker/containers/" + b + "/hostname /mnt/hostname rw - ext4 x rw\n", nil},
		"a name that is no ID":   {"1 2 0:25 /pods/etc-hosts/" + a[:63] + " /etc/hosts rw - ext4 x rw\n", nil},
		"a line that is cut off": {"1 2 0:25 /x", nil},
		"hosts and resolv.conf":  {"1 2 0:25 /c/" + a + "/hosts /etc/hosts rw\n1 2 0:25 /c/" + b + "/resolv.conf /etc/resolv.conf rw\n", []string{a, b}},
		"upper case":             {"1 2 0:25 /c/" + strings.ToUpper(a) + "/hosts /etc/hosts rw\n", nil},
		"65 digits":              {"1 2 0:25 /c/" + a + "a/hosts /etc/hosts rw\n", nil},
		"a mount point alone":    {"1 2 0:25 /c/" + a + "/hosts /etc/hosts\n", []string{a}},
		"no mount point":         {"1 2 0:25 /etc/hosts\n", nil},
		"nothing":                {"", nil},
	} {
		if got := parseOwnContainer(c.mountinfo); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// The file system of a container is recognized by the engine's marker files, or
// by the mounts of the engine alone.
func TestOwnContainer(t *testing.T) {
	if !inParallel(t) {
		return
	}
	const id, hostname = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "fedcba987654"
	source := filepath.Join(t.TempDir(), id)
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{source, root + "/proc", root + "/etc", root + "/run", root + "/source"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{source + "/hostname", root + "/etc/hostname"} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	// Only this process is in these namespaces, so root can become its root directory.
	runtime.LockOSThread() // unshare affects only this thread
	do("unshare", unix.Unshare(unix.CLONE_NEWUTS))
	do("mount root", unix.Mount(root, root, "", unix.MS_BIND, ""))
	do("mount proc", unix.Mount("proc", root+"/proc", "proc", 0, ""))
	do("mount source", unix.Mount(source, root+"/source", "", unix.MS_BIND, ""))
	do("chroot", unix.Chroot(root))
	do("chdir", unix.Chdir("/"))
	check := func(what, name string, inside bool, want ...string) {
		t.Helper()
		do("sethostname", unix.Sethostname([]byte(name)))
		if ids, got := OwnContainer(); got != inside || !slices.Equal(ids, want) {
			t.Errorf("%s, host name %s: IDs %q, inside: %t; want %q, %t", what, name, ids, got, want, inside)
		}
	}
	check("no sign of a container", hostname, false)
	for _, marker := range []string{"/.dockerenv", "/run/.containerenv"} {
		do("write", os.WriteFile(marker, nil, 0o600))
		check(marker, hostname, true, hostname)
		check(marker, "web", true)
		check(marker, hostname[:11], true)
		check(marker, hostname+"0", true)
		check(marker, "webserver123", true)
		do("remove", os.Remove(marker))
	}
	do("mount hostname", unix.Mount("/source/hostname", "/etc/hostname", "", unix.MS_BIND, ""))
	check("no marker file", "web", true, id)
	check("no marker file", hostname, true, id, hostname)
}

// A helper container uses the machine's user names, not those of its own image.
func TestUsersOfAnotherSystem(t *testing.T) {
	etc := t.TempDir()
	for file, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n:x:5:5::/:\n# www-data:x:1:1::/:\nbroken:x\nwww-data:x:33:33:www:/var/www:/bin/sh\n+::::::\napp:x:2000:100::/:\n",
		"group":  "root:x:0:\nwww-data:x:33:www-data\nssl:x:44:app,www-data\nlog:x:45:app\nsix:x:46:apple\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u := etcUsers{etc}
	for uid, want := range map[int]string{0: "root", 33: "www-data", 1: "", 4711: ""} {
		if name, err := u.name(uid); err != nil || name != want {
			t.Errorf("%d: %q, %v", uid, name, err)
		}
	}
	for name, want := range map[string]account{
		"app":        {2000, 100, []uint32{100, 44, 45}},
		"www-data":   {33, 33, []uint32{33, 44}},
		"33":         {33, 33, []uint32{33, 44}},
		"4711":       {4711, 4711, nil},
		"root":       {0, 0, []uint32{0}},
		"0":          {0, 0, []uint32{0}},
		"2147483647": {2147483647, 2147483647, nil},
	} {
		got, err := u.find(name)
		if err != nil || got.uid != want.uid || got.gid != want.gid || !slices.Equal(got.groups, want.groups) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"nobody", "", "-1", "broken", "2147483648", "47a"} {
		if got, err := u.find(name); err == nil {
			t.Errorf("%q: %+v", name, got)
		}
	}
	// Without a group file, the only group is that of passwd.
	group := filepath.Join(etc, "group")
	if err := os.Remove(group); err != nil {
		t.Fatal(err)
	}
	if got, err := u.find("app"); err != nil || !slices.Equal(got.groups, []uint32{100}) {
		t.Errorf("no group file: %+v, %v", got, err)
	}
	if err := os.Mkdir(group, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := u.find("app"); err == nil {
		t.Errorf("a group file that can't be read: no error, but %+v", got)
	}
	missing := etcUsers{filepath.Join(etc, "none")}
	if _, err := missing.name(0); err == nil {
		t.Error("a name without passwd")
	}
	if _, err := missing.find("root"); err == nil || !strings.Contains(err.Error(), "the host's users can't be read") {
		t.Errorf("a user without passwd: %v", err)
	}
}

// In a root directory that is not the machine's, its files are not taken for the
// machine's. An image can hide the other signs of a container.
func TestUsersOfAnImage(t *testing.T) {
	t.Parallel()
	testbed.NeedUsers(t)
	if pids, err := namespaceInode("/proc/self/ns/pid"); err != nil || pids != initialPIDNamespace {
		testbed.Missing(t, "needs the initial PID namespace")
	}
	const script = `mount -t tmpfs none "$0"; mkdir "$0/etc"; echo forged:x:0:0::/:/bin/sh >"$0/etc/passwd"
for d in bin lib lib64 usr proc sys dev tmp root; do
	[ ! -e "/$d" ] || { mkdir "$0/$d"; mount --rbind "/$d" "$0/$d"; }
done
exec chroot "$0" "$@"`
	const listen = "import socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\nprint(s.getsockname()[1], flush=True)\ntime.sleep(600)"
	_, number := testbed.Python(t, listen)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, line := testbed.StartWith(t, func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), testbed.ProgramEnv+"=probe")
	}, "unshare", "-m", "sh", "-ec", script, t.TempDir(), program, encode(tries(t, "tcp 127.0.0.1 "+number)))
	var facts Facts
	if err := json.Unmarshal([]byte(line), &facts); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	for _, h := range onlySocket(t, facts).Holders {
		if h.User != "root" || h.File != FileRoots {
			t.Errorf("holder %s, want root's", encode(h))
		}
	}
}

func TestFilesAreMachines(t *testing.T) {
	const pids = initialPIDNamespace
	for name, c := range map[string]struct {
		pid, own, first uint64
		inContainer     bool
		want            bool
	}{
		"the host":                             {pids, 5, 5, false, true},
		"a container with the host's PIDs":     {pids, 6, 5, true, false},
		"the same, PID 1 can't be read":        {pids, 6, 0, true, false},
		"the same, nothing can be read":        {pids, 0, 0, true, false},
		"a container":                          {7, 6, 6, true, true},
		"a container, PID namespace not shown": {0, 6, 5, true, true},
		"a mount namespace of the host":        {pids, 6, 5, false, true},
		"the files of the host":                {pids, 5, 5, true, true},
	} {
		if got := filesAreMachines(c.pid, c.own, c.first, c.inContainer); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestOwnUsers(t *testing.T) {
	if got, err := (ownUsers{}).find("root"); err != nil || got.uid != 0 || got.gid != 0 || !slices.Contains(got.groups, 0) {
		t.Errorf("root: %+v, %v", got, err)
	}
	for _, name := range []string{"48123", "2147483647"} {
		got, err := ownUsers{}.find(name)
		if want, _ := strconv.Atoi(name); err != nil || got.uid != want || got.gid != want || len(got.groups) > 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "2147483648", "-1", "48a", "portcheck-no-such-user"} {
		if got, err := (ownUsers{}).find(name); err == nil {
			t.Errorf("%q: no error, but %+v", name, got)
		}
	}
}

func TestNewAccount(t *testing.T) {
	if got, err := newAccount("33", "34", []string{"34", "4294967295"}); err != nil || got.uid != 33 || got.gid != 34 || !slices.Equal(got.groups, []uint32{34, 1<<32 - 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range []struct{ uid, gid, group string }{{"x", "1", "1"}, {"1", "x", "1"}, {"1", "1", "x"}, {"1", "1", "4294967296"}, {"1", "1", "-1"}, {"1", "1", "a"}} {
		if got, err := newAccount(c.uid, c.gid, []string{c.group}); err == nil {
			t.Errorf("%+v: no error, but %+v", c, got)
		}
	}
}
