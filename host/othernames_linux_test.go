package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// Another name of the executable is found without openat2, too, which old kernels lack and
// filters forbid. Where it can't be found out, that is told.
func TestOtherNamesWithoutOpenat2(t *testing.T) {
	if !inParallel(t) {
		return
	}
	const python = "/usr/bin/python3"
	if _, err := os.Readlink(python); err != nil {
		testbed.Missing(t, python+" is no link")
	}
	testbed.StartWith(t, func(*exec.Cmd) {}, python, "-c", `
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
print("ready", flush=True)
time.sleep(600)`)
	for errno, seen := range map[unix.Errno]bool{0: true, unix.ENOSYS: true, unix.EPERM: true, unix.EACCES: true, unix.EMFILE: false} {
		var faults testbed.Faults
		if errno != 0 {
			faults.Deny = []testbed.Denial{{Call: unix.SYS_OPENAT2, Arg: -1, Errno: errno}}
		}
		s := onlySocket(t, probeWith(t, faults, tries(t, "tcp any 8080")))
		if len(s.Holders) != 1 {
			t.Fatalf("%s: %s", unix.ErrnoName(errno), encode(s))
		}
		h := s.Holders[0]
		if slices.Contains(h.Names, "python3") != seen || slices.Contains(h.Unseen, NamesUnseen) == seen {
			t.Errorf("%s: %s", unix.ErrnoName(errno), encode(h))
		}
	}
}

// A machine that does not let its links be read is not asked again for each of a thousand
// holders, unless that may work then.
func TestOtherNamesAreAskedForOnce(t *testing.T) {
	if !inParallel(t) {
		return
	}
	d := newDetails(t.Context(), false)
	ask := func() error {
		cmd, _ := testbed.Python(t, "import time\nprint(flush=True)\ntime.sleep(600)")
		dir := fmt.Sprintf("/proc/%d/", cmd.Process.Pid)
		executable, file, err := d.executable(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, unseen := d.otherNames(dir, "another", Holder{Executable: executable, File: file})
		return unseen
	}
	// The last filter decides on the error, so it is that of the last question.
	for _, c := range []struct{ errno, want unix.Errno }{{unix.ENFILE, unix.ENFILE}, {unix.EIO, unix.EIO}, {unix.EROFS, unix.EIO}} {
		testbed.Deny(t, testbed.Denial{Call: unix.SYS_OPENAT2, Arg: -1, Errno: c.errno})
		if got := ask(); !errors.Is(got, c.want) {
			t.Errorf("with %v: %v, want %v", c.errno, got, c.want)
		}
	}
}

// Both ways to open a name in a root lead to the same file, or to none.
func TestOpenIn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"usr/bin", "usr/lib/a", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "usr/lib/a/program")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"bin": "usr/bin", "usr/bin/relative": "../lib/a/program", "usr/bin/absolute": "/usr/lib/a/program",
		"usr/bin/above": "../../../../../usr/lib/a/program", "etc/alternative": "/usr/bin/relative", "usr/bin/twice": "/etc/alternative",
		"usr/bin/loop": "loop", "usr/bin/gone": "nothing", "usr/bin/through": "absolute/x", "usr/bin/out": "/etc/passwd",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	var want unix.Stat_t
	if err := unix.Stat(file, &want); err != nil {
		t.Fatal(err)
	}
	for name, leads := range map[string]bool{
		"/usr/bin/relative": true, "/usr/bin/absolute": true, "/usr/bin/above": true, "/usr/bin/twice": true, "/bin/twice": true, "/usr/lib/a/program": true,
		"/usr/bin/loop": false, "/usr/bin/gone": false, "/usr/bin/through": false, "/usr/bin/out": false, "/usr/bin/none": false,
	} {
		for how, open := range map[string]func(int, string) (int, error){"openIn": openIn, "walkIn": walkIn} {
			fd, err := open(root, name)
			if err != nil {
				if leads || !notThere(err) {
					t.Errorf("%s: %s: %v", how, name, err)
				}
				continue
			}
			var got unix.Stat_t
			if err := unix.Fstat(fd, &got); err != nil || !leads || got.Ino != want.Ino {
				t.Errorf("%s: %s leads to another file (%v)", how, name, err)
			}
			_ = unix.Close(fd)
		}
	}
}
