//go:build linux

package testbed

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	isolatedEnv = "PORTCHECK_TEST_ISOLATED" // name of the test that runs in its own namespace
	patience    = 20 * time.Second          // for what happens within a second on an idle machine
)

// Isolated re-executes the calling test in a fresh network namespace with lo as
// its only interface, and in a fresh PID namespace with its own /proc. There the
// test can inspect every process, and no process outlives it. Isolated returns
// true in the child. In the parent it returns false once the child has ended,
// with the child's outcome set on t:
//
//	if !testbed.Isolated(t) {
//		return
//	}
//
// Without root it also creates a user namespace. The test is skipped on systems
// that forbid that.
func Isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolatedEnv) == t.Name() {
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			Missing(t, fmt.Sprintf("a /proc of its own can't be mounted: %v", err))
		}
		bringUpLoopback(t)
		return true
	}
	parts := strings.Split(t.Name(), "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	args := []string{"-test.run=" + strings.Join(parts, "/"), "-test.v", "-test.timeout=" + timeLeft(t).String()}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.Command("/proc/self/exe", args...)
	for _, arg := range os.Args[1:] {
		if !strings.HasPrefix(arg, "-test.") {
			cmd.Args = append(cmd.Args, arg) // a flag of the test's own, such as -update
		}
	}
	cmd.Env = append(environ(), isolatedEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := fork(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if cmd.Process == nil {
		Missing(t, fmt.Sprintf("a network namespace can't be made here: %v", err))
	}
	report(t, err, out.String())
	return false
}

// timeLeft returns the timeout for a child of a test. It ends before the test's
// own, so that the output has the child's goroutines. Zero is no timeout.
func timeLeft(t *testing.T) time.Duration {
	deadline, ok := t.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline)-5*time.Second, time.Second)
}

// report sets the outcome of a test that ran in a process of its own. The
// arguments are that process's error and the output of its verbose run.
func report(t testing.TB, err error, output string) {
	t.Helper()
	switch {
	case err != nil:
		t.Errorf("in its own network namespace: %v\n%s", err, output)
	case strings.Contains(output, outcome("SKIP", t)):
		if !testing.Short() {
			Missing(t, output)
		}
		t.Skip(output)
	case !strings.Contains(output, outcome("PASS", t)):
		t.Errorf("did not run in its own network namespace:\n%s", output)
	case strings.Contains(output, "--- SKIP: "):
		t.Logf("passed, but not all of its subtests ran:\n%s", output)
	}
}

// outcome returns the start of the line that reports how t itself ended. The
// name of a subtest goes on after the name of its parent.
func outcome(word string, t testing.TB) string {
	return "--- " + word + ": " + t.Name() + " ("
}

func bringUpLoopback(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	ifreq.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifreq); err != nil {
		t.Fatalf("bring up lo: %v", err)
	}
}

// environ returns the environment for another run of the test binary. It leaves
// out the variables of a CI job, because portcheck derives its target from them.
// It also stops the race detector from sleeping for a second before each exit.
func environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc([]string{"CI=", "CI_", "GITHUB_", "GITLAB_CI=", "JENKINS_URL=", "CHANGE_ID=", "INPUT_"}, func(p string) bool { return strings.HasPrefix(v, p) })
	})
	return append(env, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
}

var (
	forks     chan func()
	forksOnce sync.Once
)

// fork starts a command from a thread that ends with the process, not before.
// Pdeathsig kills a child when the thread that forked it ends, and the probe
// ends threads on purpose.
func fork(cmd *exec.Cmd) error {
	forksOnce.Do(func() {
		forks = make(chan func())
		go func() {
			runtime.LockOSThread()
			for do := range forks {
				do()
			}
		}()
	})
	done := make(chan error)
	forks <- func() { done <- cmd.Start() }
	return <-done
}

// NeedRoot skips a test that needs root.
func NeedRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "needs root")
	}
}

// NeedUsers skips a test that has to switch to other users. Root of a user
// namespace that maps only root can't do that.
func NeedUsers(t *testing.T) {
	t.Helper()
	NeedRoot(t)
	if !HaveUsers() {
		Missing(t, "needs the users of the whole system")
	}
}

// HaveUsers reports whether this process can switch to other users.
func HaveUsers() bool {
	var inside, outside, count int64
	text, err := os.ReadFile("/proc/self/uid_map")
	if err == nil {
		_, err = fmt.Sscan(string(text), &inside, &outside, &count)
	}
	return err == nil && os.Geteuid() == 0 && count > 65534
}

// Start runs a program until the test ends and waits for its first line of
// output, which means that it is ready. It returns the process and that line.
func Start(t *testing.T, name string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	return StartWith(t, func(*exec.Cmd) {}, name, args...)
}

// StartWith is like Start, but calls adjust on the command before it runs.
func StartWith(t *testing.T, adjust func(*exec.Cmd), name string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, fmt.Sprintf("needs %s: %v", name, err))
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	// The cleanup kills the whole group: a holder may have children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	adjust(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := fork(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended already
		_ = cmd.Wait()                                      // killed: the error is expected
	})
	lines := make(chan string, 1)
	go func() {
		scanner := bufio.NewScanner(out)
		if scanner.Scan() {
			lines <- scanner.Text()
		}
		close(lines)
		for scanner.Scan() { // keep the pipe from filling up
		}
	}()
	select {
	case line, ok := <-lines:
		if !ok {
			t.Fatalf("%s ended before it was ready", name)
		}
		return cmd, line
	case <-time.After(patience):
		t.Fatalf("%s was not ready within %s", name, patience)
	}
	return nil, ""
}

// Python runs a script until the test ends. The script prints a line when it is
// ready.
func Python(t *testing.T, script string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	python := "python3"
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		python = "/usr/bin/python3" // the one in PATH may be a slow shim
	}
	return Start(t, python, append([]string{"-u", "-c", script}, args...)...)
}
