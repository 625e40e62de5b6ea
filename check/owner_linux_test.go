package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

const (
	nobody = 65534
	// victim is a file of root's that every system has.
	victim = "/usr/bin/tar"
)

// listenScript is a program of Python that listens. With arguments it then executes
// them, with the socket as their standard input.
const listenScript = `
import os, socket, sys, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
print("ready", flush=True)
if sys.argv[1:]:
    os.dup2(s.fileno(), 0)
    os.execv(sys.argv[1], sys.argv[1:])
time.sleep(600)`

// ownerWant is an owner, and the status that a need has with it if it has to be
// free.
type ownerWant struct {
	config.Owner
	want Status
}

// whenListening is the status of the same need if it has to be served.
var whenListening = map[Status]Status{Owned: Listening, InUse: WrongOwner, Unknown: Unknown}

// A process of a user does not pass as an owner, whatever that user can do. One that
// is the owner does, also from a mount namespace of its own and after an update.
func TestForgedOwners(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	python, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		testbed.Missing(t, err.Error())
	}
	listen := []string{python, "-c", listenScript}
	// byFile are the owners that name an executable.
	byFile := func(want Status, path string) []ownerWant {
		return []ownerWant{{config.Owner{Executable: path}, want}, {config.Owner{Process: filepath.Base(path)}, want}}
	}
	// own makes a copy of Python that belongs to nobody.
	own := func(t *testing.T) string {
		path := filepath.Join(directory(t, nobody), "own")
		copyFile(t, python, path)
		return path
	}
	// cover puts the file $0 over the path $1 and executes it.
	const cover = `mount --bind "$0" "$1"; exec "$1" -c "$2"`
	for _, c := range []struct {
		name   string
		start  func(t *testing.T)
		owners []ownerWant
	}{
		{"his own file over the path of another", func(t *testing.T) {
			start(t, nobody, "", "unshare", "-Urm", "sh", "-ec", cover, own(t), victim, listenScript)
		}, byFile(InUse, victim)},
		{"a file of root's over the path of another", func(t *testing.T) {
			start(t, nobody, "", "unshare", "-Urm", "sh", "-ec", cover, python, victim, listenScript)
		}, byFile(InUse, victim)},
		{"the same, removed", func(t *testing.T) {
			path := own(t)
			start(t, nobody, "", "unshare", "-Urm", "sh", "-ec", cover, path, victim, "import os\nos.remove('"+path+"')"+listenScript)
		}, byFile(InUse, victim)},
		{"a file of root's over the path of another, replaced by an update", func(t *testing.T) {
			path := filepath.Join(directory(t, 0), "updated")
			copyFile(t, python, path)
			start(t, nobody, "", "unshare", "-Urm", "sh", "-ec", cover, path, victim, listenScript)
			removeFile(t, path)
		}, byFile(InUse, victim)},
		{"a directory that was detached", func(t *testing.T) { detached(t, own(t), "") }, byFile(InUse, victim)},
		{"a directory that was detached, and a file that was removed", func(t *testing.T) {
			detached(t, own(t), "\nos.remove(path)")
		}, byFile(Unknown, victim)},
		{"a root directory of his own", func(t *testing.T) {
			start(t, nobody, "", "unshare", "-Urm", "sh", "-ec",
				`d=$(dirname "$0")/root; mkdir "$d"; mount --rbind / "$d"; mount --bind "$0" "$d$1"; cd "$d"; pivot_root . mnt; exec "$1" -c "$2"`, own(t), victim, listenScript)
		}, byFile(InUse, victim)},
		{"a name that it gave itself", func(t *testing.T) {
			start(t, nobody, "", "bash", "-c", `exec -a tar "$@"`, "bash", python, "-c", "import ctypes\nctypes.CDLL(None).prctl(15, b'tar', 0, 0, 0)"+listenScript)
		}, append(byFile(InUse, victim), byFile(Owned, python)...)},
		{"a file that is named as if it were removed", func(t *testing.T) {
			path := filepath.Join(directory(t, nobody), "tar (deleted)")
			copyFile(t, python, path)
			start(t, nobody, "", path, "-c", listenScript)
		}, []ownerWant{{config.Owner{Process: "tar"}, InUse}, {config.Owner{Process: "tar (deleted)"}, Owned}}},
		{"root of his user namespace", func(t *testing.T) {
			start(t, nobody, "", "unshare", append([]string{"-Ur"}, listen...)...)
		}, append(byFile(Owned, python), ownerWant{config.Owner{User: "root"}, InUse}, ownerWant{config.Owner{User: "nobody"}, Owned})},
		{"a setuid program that has his socket", func(t *testing.T) {
			path := filepath.Join(directory(t, 0), "setuid")
			copyFile(t, "/usr/bin/sleep", path)
			if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
				t.Fatal(err)
			}
			pid := start(t, nobody, "", python, "-c", listenScript, path, "600")
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == path {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("the setuid program did not start")
				}
			}
		}, []ownerWant{{config.Owner{User: "root"}, Unknown}, {config.Owner{User: "nobody"}, InUse}, {config.Owner{Process: "setuid"}, Owned}}},

		{"a cgroup of his named like a unit", func(t *testing.T) { inOwnCgroup(t, "app.slice/postgresql.service", listen) }, []ownerWant{
			{config.Owner{Unit: "postgresql.service"}, InUse},
			{config.Owner{Unit: "*.service"}, InUse},
			{config.Owner{Unit: "user@65534.service"}, InUse},
			{config.Owner{Unit: "user@1.service/postgresql.service"}, InUse},
			{config.Owner{Unit: "user@65534.service/postgresql.service"}, Owned},
			{config.Owner{Unit: "user@*.service/postgresql.service"}, Owned},
		}},
		{"a cgroup of his named like a container's", func(t *testing.T) { inOwnCgroup(t, "docker-"+id+".scope", listen) }, []ownerWant{
			{config.Owner{Container: id}, Unknown},
			{config.Owner{Container: id[:12], Process: "python*"}, Unknown},
			{config.Owner{Container: "web"}, Unknown},
			{config.Owner{Image: "postgres:*"}, Unknown},
		}},
		{"a cgroup of his named like an engine's", func(t *testing.T) { inOwnCgroup(t, "docker/"+id, listen) }, []ownerWant{{config.Owner{Container: id}, Unknown}}},

		{"a service", func(t *testing.T) { start(t, 0, testbed.Cgroup(t, "postgresql.service", 0), python, listen[1:]...) }, []ownerWant{
			{config.Owner{Unit: "postgresql.service"}, Owned}, {config.Owner{Unit: "nginx.service"}, InUse},
		}},
		{"a container of root's engine", func(t *testing.T) { start(t, 0, testbed.Cgroup(t, "docker-"+id+".scope", 0), python, listen[1:]...) }, []ownerWant{
			{config.Owner{Container: id}, Owned}, {config.Owner{Container: id[:12], Process: "python*"}, Owned},
		}},
		{"a service with a mount namespace of its own", func(t *testing.T) {
			start(t, 0, "", "unshare", append([]string{"-m", "sh", "-ec", `mount -t tmpfs none /tmp; exec "$@"`, "sh"}, listen...)...)
		}, byFile(Owned, python)},
		{"a service that was replaced by an update", func(t *testing.T) {
			path := "/opt/portcheck-test-server"
			copyFile(t, python, path)
			t.Cleanup(func() { _ = os.Remove(path) }) // it is removed below
			start(t, nobody, "", path, "-c", listenScript)
			replaceFile(t, path)
		}, byFile(Owned, "/opt/portcheck-test-server")},
		{"the same with a mount namespace of its own", func(t *testing.T) {
			path := "/opt/portcheck-test-server2"
			copyFile(t, python, path)
			t.Cleanup(func() { _ = os.Remove(path) })
			start(t, 0, "", "unshare", "-m", "sh", "-ec", `mount -t tmpfs none /tmp; exec "$@"`, "sh", path, "-c", listenScript)
			replaceFile(t, path)
		}, byFile(Owned, "/opt/portcheck-test-server2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !testbed.Isolated(t) {
				return
			}
			testbed.NeedUsers(t)
			c.start(t)
			var needs []Need
			for _, o := range c.owners {
				for _, expect := range []config.Expect{config.Free, config.Listening} {
					needs = append(needs, Need{Target: "local", Port: config.Port{
						Name: fmt.Sprintf("n%d", len(needs)), Ports: port.One(8080), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{"127.0.0.1"},
						Expect: expect, Owner: []config.Owner{o.Owner}, Allow: []config.NoticeCode{config.Duplicate},
					}})
				}
			}
			report, err := Run(t.Context(), needs, []Target{targetOf("local", host.Local{})}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range report.Results {
				o := c.owners[i/2]
				want := o.want
				if r.Expect == config.Listening {
					want = whenListening[o.want]
				}
				if r.Status != want {
					t.Errorf("owner %+v, expect %s: %s, want %s: %s %+v", o.Owner, r.Expect, r.Status, want, r.Message, r.Notices)
				}
				unexplained := !slices.ContainsFunc(r.Notices, func(n Notice) bool { return n.Code == config.Degraded })
				if r.Status == Unknown && unexplained {
					t.Errorf("owner %+v: no notice has the reason", o.Owner)
				}
			}
		})
	}
}

// start starts a command as a user, in a cgroup unless that is empty, and waits
// until it listens.
func start(t *testing.T, uid uint32, cgroup, name string, args ...string) (pid int) {
	t.Helper()
	cmd, line := testbed.StartWith(t, func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), "PYTHONHOME=/usr")
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
		if cgroup != "" {
			dir, err := os.Open(cgroup)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = dir.Close() }) // only read from
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		}
	}, name, args...)
	if line != "ready" {
		t.Fatal(line)
	}
	return cmd.Process.Pid
}

// detached starts a file from a directory that shows the machine's paths and is
// then unmounted, so that the kernel has no other path of it.
func detached(t *testing.T, own, then string) {
	t.Helper()
	dir := filepath.Dir(own)
	fake := filepath.Join(dir, "fake")
	start(t, nobody, "", "unshare", "-Urm", "sh", "-ec", `mkdir -p "$1/usr/bin"; cp "$0" "$1$2"; mount --bind "$1" /mnt; exec "/mnt$2" -c "$3"`,
		own, fake, victim, "import os, subprocess\nsubprocess.run(['umount', '-l', '/mnt'], check=True)\npath='"+fake+victim+"'"+then+listenScript)
}

// inOwnCgroup starts a command as nobody in a cgroup that nobody makes, in the part
// that systemd would leave to his service manager.
func inOwnCgroup(t *testing.T, path string, command []string) {
	t.Helper()
	manager := testbed.Cgroup(t, fmt.Sprintf("user-%d.slice/user@%d.service", nobody, nobody), nobody)
	start(t, nobody, manager, "sh", append([]string{"-ec", testbed.JoinCgroup, filepath.Join(manager, path)}, command...)...)
}

// directory makes a directory that every user can read and one owns.
func directory(t *testing.T, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "owner-") // t.TempDir is readable by root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in a temporary directory
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyFile makes an executable copy, which belongs to the owner of its directory.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	code, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, code, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Dir(to))
	if err != nil {
		t.Fatal(err)
	}
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	if err := os.Chown(to, uid, uid); err != nil {
		t.Fatal(err)
	}
}

func removeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// replaceFile puts another file in the place of one, as an update does.
func replaceFile(t *testing.T, path string) {
	t.Helper()
	copyFile(t, "/usr/bin/true", path+".new")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
