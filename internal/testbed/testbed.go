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
	mustRunEnv  = "PORTCHECK_TEST_MUST_RUN" // set by .ci/run: nothing may be skipped
	patience    = 20 * time.Second
)

// Isolated re-executes the calling test in a fresh network namespace whose only
// interface is lo, and in a fresh PID namespace with a /proc of its own: there
// every process can be looked into, and none outlives the test. It returns true
// there, and false in the parent, which has nothing left to do:
//
//	if !testbed.Isolated(t) {
//		return
//	}
//
// Without root it takes a user namespace as well; where the system forbids
// that, the test skips.
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
	args := []string{"-test.run=" + strings.Join(parts, "/"), "-test.v", "-test.timeout=120s"}
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
	text := out.String()
	switch {
	case cmd.Process == nil:
		Missing(t, fmt.Sprintf("a network namespace can't be made here: %v", err))
	case err != nil:
		t.Errorf("in its own network namespace: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()):
		t.Skip(text)
	case !strings.Contains(text, "--- PASS: "+t.Name()):
		t.Errorf("did not run in its own network namespace:\n%s", text)
	}
	return false
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

// environ is the environment for another run of the test binary: none of the CI
// job that may run the tests, whose word on where we are the program heeds. Under
// the race detector each would wait a second before it exits.
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

// fork starts a command from a thread that lives as long as the process does:
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

// Missing skips a test for something that this machine lacks, or fails it where
// every test has to run.
func Missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv(mustRunEnv) != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// NeedRoot skips a test that can't work for other users.
func NeedRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "needs root")
	}
}

// NeedUsers skips a test that has to become other users: root of a user
// namespace that maps itself alone can't.
func NeedUsers(t *testing.T) {
	t.Helper()
	NeedRoot(t)
	if !HaveUsers() {
		Missing(t, "needs the users of the whole system")
	}
}

// HaveUsers says whether this process can become other users.
func HaveUsers() bool {
	var inside, outside, count int64
	text, err := os.ReadFile("/proc/self/uid_map")
	if err == nil {
		_, err = fmt.Sscan(string(text), &inside, &outside, &count)
	}
	return err == nil && os.Geteuid() == 0 && count > 65534
}

// Start runs a program until the test ends and waits for its first line, which
// says that it is ready. It returns the process and that line.
func Start(t *testing.T, name string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	return StartWith(t, func(*exec.Cmd) {}, name, args...)
}

// StartWith is Start with a last word on the command before it runs.
func StartWith(t *testing.T, adjust func(*exec.Cmd), name string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, fmt.Sprintf("needs %s: %v", name, err))
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	// The group is ended as a whole: a holder may have children.
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
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
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

// Python runs a script that prints a line when it is ready, and then stays.
func Python(t *testing.T, script string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	python := "python3"
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		python = "/usr/bin/python3" // in PATH there may be a shim that takes its time
	}
	return Start(t, python, append([]string{"-u", "-c", script}, args...)...)
}
