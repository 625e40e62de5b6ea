//go:build linux

package overssh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

func TestMain(m *testing.M) { testbed.MainWithProgram(m) }

// slow skips a test under -short, where there is no program to test.
func slow(t *testing.T) {
	t.Helper()
	testbed.Slow(t, "runs portcheck against SSH servers")
}

// isolated is testbed.Isolated, but skips the test under -short.
func isolated(t *testing.T) bool {
	t.Helper()
	slow(t)
	return testbed.Isolated(t)
}

// overBoth does a test over both SSH clients.
func overBoth(t *testing.T, do func(t *testing.T, client string)) {
	t.Helper()
	for _, client := range []string{"builtin", "openssh"} {
		t.Run(client, func(t *testing.T) { do(t, client) })
	}
}

// patience bounds waits for events that happen at once on an idle machine.
const patience = 10 * time.Second

// run is the result of one run of the program.
type run struct {
	stdout, stderr string
	code           int
	took           time.Duration
	memory         int64 // peak resident size in bytes
}

// portcheck runs the program. env are additional variables of its environment,
// as "KEY=value".
func portcheck(t *testing.T, env []string, args ...string) run {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, testbed.Program(), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("portcheck %q: %v\n%s", args, err, stderr.String())
	}
	r := run{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(start)}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.memory = int64(usage.Maxrss) << 10
	}
	return r
}

// reach returns the flags that log in to s.
func reach(t *testing.T, s *testbed.SSHD) []string {
	t.Helper()
	return []string{"--identity", s.UserKey, "--known-hosts", s.KnownHosts(t)}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// report is the part of a JSON report that the tests read.
type report struct {
	Targets []struct {
		Name    string
		Notices []struct{ Code, Message string }
	}
	Results []result
	Summary map[string]int
}

type result struct {
	ID, Target, Status, Method, Message string
	OK                                  bool
	Alternatives                        []int
	Holders                             []struct{ PID int }
	Notices                             []struct{ Code, Message string }
}

func parse(t *testing.T, r run) (parsed report) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.stdout), &parsed); err != nil {
		t.Fatalf("exit code %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	return parsed
}

// leftovers lists portcheck's processes and temporary files on this machine.
func leftovers(t *testing.T) []string {
	t.Helper()
	var left []string
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		text, err := os.ReadFile(p + "/cmdline")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Split(string(text), "\x00")
		if strings.Contains(string(text), "portcheck-hello") || len(words) > 1 && words[1] == "probe" {
			left = append(left, fmt.Sprintf("%s: %.200q", p, words))
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp", home} {
		files, err := filepath.Glob(dir + "/portcheck.??????????")
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, files...)
	}
	return left
}

// nothingLeft waits until the host has cleaned up after a run.
func nothingLeft(t *testing.T, after string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if left = leftovers(t); len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: left on the host: %q", after, left)
		}
	}
}

// nextClient returns the address of the first client that waits to be accepted by a
// listener, or "" if there is none. It connects a client of its own, which is
// accepted after all others. A deadline does not work, because after it Accept
// returns an error even if a client waits.
func nextClient(t *testing.T, l net.Listener) string {
	t.Helper()
	_, number, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	own, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", number))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if from := first.RemoteAddr().String(); from != own.LocalAddr().String() {
		return from
	}
	return ""
}

// users replaces the users of this mount namespace. Beside root there is one for
// each entry of shells, which maps names to login shells. Their homes are below
// dir.
func users(t *testing.T, dir string, shells map[string]string) {
	t.Helper()
	passwd := "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
	shadow := "root:*:20000:0:99999:7:::\n"
	uid := 3000
	for name, shell := range shells {
		uid++
		home := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(home, 0o755), os.Chown(home, uid, uid)); err != nil {
			t.Fatal(err)
		}
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:%s\n", name, uid, uid, home, shell)
		shadow += name + ":*:20000:0:99999:7:::\n"
	}
	replace(t, "/etc/passwd", passwd, 0o644)
	replace(t, "/etc/shadow", shadow, 0o600)
}

// replace replaces the content of a file in this mount namespace.
func replace(t *testing.T, file, text string, mode fs.FileMode) {
	t.Helper()
	source := write(t, "source", text)
	if err := os.Chmod(source, mode); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(source, file, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(file, 0); err != nil {
			t.Error(err)
		}
	})
}

// root creates a directory that every user can enter.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "overssh-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in a temporary directory
	return dir
}

// install copies the program to dir, where every user can run it.
func install(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(testbed.Program())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "portcheck")
	if err := os.WriteFile(file, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
