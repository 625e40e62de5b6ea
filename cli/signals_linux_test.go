package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// fullPipe returns a pipe that takes nothing more.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	return r, w
}

// waits reports whether a thread of a process is in a system call with the given
// first argument. Without an argument, any will do.
func waits(t *testing.T, pid int, number uintptr, argument ...int) bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d ", number)
	for _, a := range argument {
		want += fmt.Sprintf("%#x ", a)
	}
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if os.IsPermission(err) {
			testbed.Missing(t, err.Error())
		}
		if strings.HasPrefix(string(text), want) {
			return true
		}
	}
	return false
}

// pipeIsFull reports whether the pipe of a file holds as much as it can.
func pipeIsFull(t *testing.T, f *os.File) bool {
	t.Helper()
	size, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	return err == nil && n == size
}

// TestSignalWhileNobodyReads sends a signal to runs that wait for the reader of a
// pipe. They end with the exit code of the signal.
func TestSignalWhileNobodyReads(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	if _, err := os.ReadFile("/proc/self/syscall"); err != nil {
		testbed.Missing(t, err.Error())
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, "  - {name: n%d, port: %d}\n", i, 10000+i)
	}
	for name, text := range map[string]string{
		"free.yml":  "version: 1\nports:\n  - {name: web, port: 8081}\n",
		"taken.yml": "version: 1\nports:\n  - {name: web, port: 8080}\n",
		"many.yml":  "version: 1\nports:\n" + many.String(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	report, err := func() ([]byte, error) {
		cmd := program(nil, "-t", "local", "-f", "json", "free.yml")
		cmd.Dir = dir
		return cmd.Output()
	}()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), report, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fifo", "unread"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unread, err := os.OpenFile(filepath.Join(dir, "unread"), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()

	const stdout, stderr = 1, 2
	onStdout := func(pid int) bool { return waits(t, pid, unix.SYS_WRITE, stdout) }
	onStderr := func(pid int) bool { return waits(t, pid, unix.SYS_WRITE, stderr) }
	onOpen := func(pid int) bool { return waits(t, pid, unix.SYS_OPENAT) }
	onFull := func(int) bool { return pipeIsFull(t, unread) }
	github := []string{"GITHUB_ACTIONS=true", "RUNNER_TEMP=" + dir}
	for _, c := range []struct {
		name  string
		env   []string
		args  string
		stuck int // the stream that nobody reads
		in    func(pid int) bool
	}{
		{"check on stdout", nil, "-t local free.yml", stdout, onStdout},
		{"unmet on stdout", nil, "-t local taken.yml", stdout, onStdout},
		{"JSON on stdout", nil, "-t local many.yml -f json", stdout, onStdout},
		{"lint on stdout", nil, "lint free.yml", stdout, onStdout},
		{"problems on stdout", nil, "lint report.json", stdout, onStdout},
		{"merge on stdout", nil, "merge report.json", stdout, onStdout},
		{"list on stdout", nil, "list -t local", stdout, onStdout},
		{"JSON of list on stdout", nil, "list -t local -f json", stdout, onStdout},
		{"free on stdout", nil, "free -t local --range 9000-9009", stdout, onStdout},
		{"version on stdout", nil, "version", stdout, onStdout},
		{"help on stdout", nil, "--help", stdout, onStdout},
		{"completion on stdout", nil, "completion bash", stdout, onStdout},
		{"probe on stdout", nil, "probe --ready", stdout, onStdout},
		{"annotations on stderr", github, "-t local taken.yml -f json", stderr, onStderr},
		{"a note on stderr", nil, "lint free.yml -o json=report2.json", stderr, onStderr},
		{"progress on stderr", nil, "-t local taken.yml --wait 10m", stderr, onStderr},
		{"an error on stderr", nil, "--nonsense", stderr, onStderr},
		{"a file of check without a reader", nil, "-t local taken.yml -o json=fifo", 0, onOpen},
		{"a file of lint without a reader", nil, "lint free.yml -o json=fifo -o html=fifo", 0, onOpen},
		{"a file of merge without a reader", nil, "merge report.json -o json=fifo", 0, onOpen},
		{"a report without a writer", nil, "merge fifo", 0, onOpen},
		{"a file that is not read", nil, "lint many.yml -o html=unread", 0, onFull},
		{"a descriptor that is not read", nil, "lint many.yml -o html=/dev/fd/3", 0, func(int) bool { return pipeIsFull(t, r) }},
	} {
		cmd := program(c.env, strings.Fields(c.args)...)
		cmd.Dir, cmd.ExtraFiles = dir, []*os.File{w}
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		switch c.stuck {
		case stdout:
			_, cmd.Stdout = fullPipe(t)
		case stderr:
			_, cmd.Stderr = fullPipe(t)
		}
		endsBySignal(t, c.name, cmd, c.in)
		if c.stuck != stderr && !strings.HasSuffix(errs.String(), "portcheck: cancelled by signal: terminated\n") {
			t.Errorf("%s: stderr:\n%s", c.name, errs.String())
		}
	}
	// A file of the runner that is a pipe is not waited for.
	cmd := program(append(github, "GITHUB_OUTPUT="+filepath.Join(dir, "fifo"), "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "fifo")), "lint", "free.yml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "warning: the step's summary or outputs can't be written") {
		t.Errorf("%v\n%s", err, out)
	}
}

// endsBySignal starts a command, sends SIGTERM as soon as it waits, and checks that it
// ends as by that signal.
func endsBySignal(t *testing.T, name string, cmd *exec.Cmd, in func(pid int) bool) {
	t.Helper()
	cmd.Stdin = nil
	if strings.Contains(name, "probe") {
		r, w := fullPipe(t) // its stdin has no end
		defer w.Close()
		cmd.Stdin = r
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // ProcessState has what matters
	}()
	defer func() { _ = cmd.Process.Kill() }() // it may have ended
	for deadline := time.Now().Add(patience); !in(cmd.Process.Pid); {
		if time.Now().After(deadline) {
			t.Errorf("%s: waits for nothing", name)
			return
		}
		select {
		case <-ended:
			t.Errorf("%s: has ended with %s before the signal", name, cmd.ProcessState)
			return
		case <-time.After(time.Millisecond): // between two looks
		}
	}
	before := processorTime(cmd.Process.Pid)
	_ = cmd.Process.Signal(syscall.SIGTERM) // it runs
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
		t.Errorf("%s: still runs 20 s after the signal", name)
		return
	}
	if code := cmd.ProcessState.ExitCode(); code != exitTerminated || used(cmd)-before > time.Second {
		t.Errorf("%s: ended with %s after %s, want exit code %d", name, cmd.ProcessState, used(cmd)-before, exitTerminated)
	}
}

// TestProbeEndsWhileNobodyReads checks that a probe does not outlive --for if nobody
// reads what it writes.
func TestProbeEndsWhileNobodyReads(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"probe --for 500ms", "probe --for 500ms --ready"} {
		stdin, requests, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		defer requests.Close()
		if _, err := requests.WriteString("{}\n"); err != nil {
			t.Fatal(err)
		}
		cmd := program(nil, strings.Fields(args)...)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stderr = stdin, &stderr
		_, cmd.Stdout = fullPipe(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		watchdog := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // ExitCode is all that matters
		watchdog.Stop()
		if code := cmd.ProcessState.ExitCode(); code != exitUnknown || !strings.Contains(stderr.String(), "this probe's lifetime is over") {
			t.Errorf("%s: %s\n%s", args, cmd.ProcessState, stderr.String())
		}
	}
}
