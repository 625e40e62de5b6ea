package cli

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// lostOutput changes to a directory with three manifests: one needs a taken port,
// one a free port, and one has an error. The test must be Isolated, which gives it
// a process of its own.
func lostOutput(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := os.Chdir(t.TempDir()); err != nil { // t.Chdir is not for parallel tests
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"taken.yml": "version: 1\nports:\n  - {name: web, port: 8080}\n",
		"free.yml":  "version: 1\nports:\n  - {name: web, port: 8081}\n",
		"bad.yml":   "version: 1\nports:\n  - {name: web, port: 0}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// verdicts are the manifests of lostOutput, each with the exit code of a run that
// loses some of its output.
var verdicts = map[string]int{"taken.yml": exitUnmet, "free.yml": exitUnknown, "bad.yml": exitUsage}

// runsInto runs portcheck with the given stdout, and returns its exit code and
// stderr.
func runsInto(t *testing.T, stdout *os.File, change func(*exec.Cmd), args ...string) (int, string) {
	t.Helper()
	cmd := program(nil, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if change != nil {
		change(cmd)
	}
	_ = cmd.Run() // ExitCode is all that matters
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, stderr.String()
	}
	t.Errorf("%q: %s\n%s", args, cmd.ProcessState, stderr.String())
	return -1, stderr.String()
}

// files lists what is below a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestStdoutThatTakesNothing(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	lostOutput(t)
	for errno, open := range map[string]func() *os.File{
		"no space left on device": func() *os.File {
			f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			return f
		},
		"broken pipe": func() *os.File {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			return w
		},
	} {
		run := func(want int, what string, args ...string) {
			t.Helper()
			stdout := open()
			defer stdout.Close()
			code, stderr := runsInto(t, stdout, nil, args...)
			line := "portcheck: " + what + " could not be written: write /dev/stdout: " + errno + "\n"
			if code != want || strings.Count(stderr, line) != 1 {
				t.Errorf("%q: exit code %d, want %d, and on stderr %q:\n%s", args, code, want, line, stderr)
			}
		}
		for manifest, want := range verdicts {
			for _, format := range []string{"text", "json", "html", "sarif"} {
				out := filepath.Join(t.TempDir(), "report.json")
				run(want, "the report", manifest, "-f", format, "-o", "json="+out)
				if text, err := os.ReadFile(out); err != nil || !strings.HasSuffix(string(text), "}\n") {
					t.Errorf("%s -f %s: the file beside stdout is lost as well: %v\n%s", manifest, format, err, text)
				}
			}
		}
		for _, args := range [][]string{{"list"}, {"list", "-f", "json"}} {
			if errno != "broken pipe" {
				run(exitUnknown, "the list", args...)
				continue
			}
			stdout := open() // of a reader that has seen enough, such as head
			if code, stderr := runsInto(t, stdout, nil, args...); code != exitOK || strings.Contains(stderr, "written") {
				t.Errorf("%q: exit code %d, stderr %q", args, code, stderr)
			}
			stdout.Close()
		}
		run(exitUnknown, "the ports", "free", "--range", "8000-8009")
		run(exitUnmet, "the ports", "free", "--range", "8080-8081", "-n", "2")
		run(exitUnknown, "the version", "version")
		run(exitUnknown, "the script", "completion", "bash")
	}
}

// TestNoStdoutAtAll checks that a closed stdout is no error, and that the report is
// not written to a file that is opened later and would have the number of stdout.
func TestNoStdoutAtAll(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	lostOutput(t)
	for manifest, want := range map[string]int{"taken.yml": exitUnmet, "free.yml": exitOK, "bad.yml": exitUsage} {
		code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) {
			cmd.Args = []string{"sh", "-c", `exec portcheck "$@" >&-`, "sh", manifest, "-o", "text=report"}
			cmd.Path, cmd.Env = "/bin/sh", []string{"PATH=" + os.Getenv("PATH")}
		})
		text, err := os.ReadFile("report")
		if code != want || err != nil || len(bytes.TrimSpace(text)) == 0 || strings.Count(string(text), "[in-use]") > 1 {
			t.Errorf("%s: exit code %d, want %d; %v\n%s%s", manifest, code, want, err, stderr, text)
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	lostOutput(t)
	var many strings.Builder
	many.WriteString("version: 1\nports:\n")
	for p := 9000; p < 9300; p++ {
		fmt.Fprintf(&many, "  - {name: web-%d, port: %d}\n", p, p)
	}
	if err := os.WriteFile("many.yml", []byte(many.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	full := fullDisk(t)
	old := filepath.Join(full, "old.json")
	if err := os.WriteFile(old, []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		manifests []string
		file      string
		want      int
	}{
		{[]string{"many.yml"}, "new.json", exitUnknown},
		{[]string{"many.yml", "taken.yml"}, "new.json", exitUnmet},
		{[]string{"many.yml"}, "old.json", exitUnknown},
	} {
		file := filepath.Join(full, c.file)
		code, stderr := runsInto(t, nil, nil, append(c.manifests, "-o", "json="+file)...)
		line := "portcheck: json could not be written to " + file + ": no space left on device\n"
		if code != c.want || stderr != line {
			t.Errorf("%v: exit code %d, want %d, and on stderr %q:\n%s", c, code, c.want, line, stderr)
		}
		if got := files(t, full); !slices.Equal(got, []string{"old.json"}) {
			t.Errorf("%v: left behind: %q", c, got)
		}
		if text, err := os.ReadFile(old); err != nil || string(text) != "{}\n" {
			t.Errorf("%v: the file from before is lost: %v %q", c, err, text)
		}
	}

	code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) {
		cmd.Env = []string{"GITHUB_ACTIONS=true", "RUNNER_TEMP=" + full}
	}, "many.yml")
	if code != exitOK || !strings.Contains(stderr, "portcheck: warning: the step's summary or outputs can't be written: ") {
		t.Errorf("on a runner: exit code %d:\n%s", code, stderr)
	}
	if got := files(t, full); !slices.Equal(got, []string{"old.json"}) {
		t.Errorf("on a runner: left behind: %q", got)
	}
}

func TestDirectoryOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	if !testbed.HaveUsers() {
		testbed.Missing(t, "needs the users of the whole system")
	}
	lostOutput(t)
	theirs := t.TempDir()
	if err := os.WriteFile(filepath.Join(theirs, "old.json"), []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := theirs; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for manifest, want := range verdicts {
		for _, file := range []string{"new.json", "old.json", "deep/er/new.json"} {
			file = filepath.Join(theirs, file)
			text, err := os.ReadFile(manifest)
			if err != nil {
				t.Fatal(err)
			}
			code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) {
				cmd.Dir = "/"
				cmd.Stdin = bytes.NewReader(text)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}, "-", "-o", "json="+file)
			line := "portcheck: json could not be written to " + file + ": permission denied\n"
			if code != want || stderr != line {
				t.Errorf("%s: exit code %d, want %d, and on stderr %q:\n%s", manifest, code, want, line, stderr)
			}
		}
	}
	if got := files(t, theirs); !slices.Equal(got, []string{"old.json"}) {
		t.Errorf("left behind: %q", got)
	}
}

// TestPipesAndDevicesAreWrittenInto checks that no file replaces them, which root
// could do.
func TestPipesAndDevicesAreWrittenInto(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	lostOutput(t)
	if err := unix.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile("fifo", os.O_RDWR, 0) // opens both ends, so that no open or write blocks
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if code, stderr := runsInto(t, nil, nil, "taken.yml", "-o", "json=fifo"); code != exitUnmet || stderr != "portcheck: wrote json to fifo\n" {
		t.Errorf("fifo: exit code %d:\n%s", code, stderr)
	}
	if err := fifo.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 65536)
	if n, err := fifo.Read(text); err != nil || !bytes.HasPrefix(text[:n], []byte("{\n")) || !bytes.HasSuffix(text[:n], []byte("}\n")) {
		t.Errorf("fifo: %v\n%s", err, text[:n])
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{w} }, "taken.yml", "-o", "json=/dev/fd/3")
	_ = w.Close()
	if got, err := io.ReadAll(r); code != exitUnmet || err != nil || !bytes.HasPrefix(got, []byte("{\n")) {
		t.Errorf("/dev/fd/3: exit code %d, %v\n%s%s", code, err, stderr, got)
	}

	if err := unix.Mknod("full", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 7))); err != nil {
		testbed.Missing(t, "a device can't be made: "+err.Error())
	}
	for manifest, want := range verdicts {
		code, stderr := runsInto(t, nil, nil, manifest, "-o", "json=full")
		if code != want || stderr != "portcheck: json could not be written to full: no space left on device\n" {
			t.Errorf("%s: exit code %d, want %d:\n%s", manifest, code, want, stderr)
		}
	}
	for name, kind := range map[string]fs.FileMode{"fifo": fs.ModeNamedPipe, "full": fs.ModeDevice} {
		if info, err := os.Lstat(name); err != nil {
			t.Error(err)
		} else if info.Mode()&kind == 0 {
			t.Errorf("%s is now %s", name, info.Mode())
		}
	}
}

// TestFullDiskOnRunner checks that what earlier steps have written for the runner is
// kept, and that nothing is added in part.
func TestFullDiskOnRunner(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	lostOutput(t)
	full := fullDisk(t)
	before := strings.Repeat("x=1\n", 1020) // leaves 16 bytes of a page
	for _, name := range []string{"output", "summary"} {
		if err := os.WriteFile(filepath.Join(full, name), []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.WriteFile(filepath.Join(full, "rest"), make([]byte, 1<<20), 0o644) // as much as there is room for
	for manifest, want := range map[string]int{"taken.yml": exitUnmet, "free.yml": exitOK} {
		code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) {
			cmd.Env = []string{
				"GITHUB_ACTIONS=true", "RUNNER_TEMP=" + t.TempDir(),
				"GITHUB_OUTPUT=" + filepath.Join(full, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(full, "summary"),
			}
		}, manifest)
		if code != want || !strings.Contains(stderr, "portcheck: warning: the step's summary or outputs can't be written: ") || !strings.Contains(stderr, "no space left on device") {
			t.Errorf("%s: exit code %d, want %d:\n%s", manifest, code, want, stderr)
		}
		for _, name := range []string{"output", "summary"} {
			if text, err := os.ReadFile(filepath.Join(full, name)); err != nil || string(text) != before {
				t.Errorf("%s: %s: %v, %d bytes, want %d", manifest, name, err, len(text), len(before))
			}
		}
	}
}

// fullDisk returns a directory with room for 64 KiB.
func fullDisk(t *testing.T) string {
	t.Helper()
	full := t.TempDir()
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=64k"); err != nil {
		testbed.Missing(t, "a tmpfs can't be mounted: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(full, unix.MNT_DETACH) })
	return full
}

// TestFilesForOtherUsers checks that later steps of a job, which are not root, can
// read and replace the files of a run as root: files and directories get the owner
// of the directory that they are made in.
func TestFilesForOtherUsers(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	if !testbed.HaveUsers() {
		testbed.Missing(t, "needs the users of the whole system")
	}
	lostOutput(t)
	for _, owner := range [][2]int{{65534, 65533}, {65534, 0}, {0, 65533}, {0, 0}} {
		dir := t.TempDir()
		if err := os.Chown(dir, owner[0], owner[1]); err != nil {
			t.Fatal(err)
		}
		code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) {
			cmd.Env = []string{"GITHUB_ACTIONS=true", "RUNNER_TEMP=" + dir}
		}, "free.yml", "-o", "text="+dir+"/deep/er/report.txt")
		if code != exitOK {
			t.Errorf("exit code %d:\n%s", code, stderr)
		}
		made := files(t, dir)
		if len(made) != 4 || made[0] != "deep" || made[1] != "deep/er" || made[2] != "deep/er/report.txt" || !strings.HasPrefix(made[3], "portcheck-") {
			t.Fatalf("%q", made)
		}
		for _, name := range made {
			var stat unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, name), &stat); err != nil {
				t.Fatal(err)
			}
			want := uint32(0o644)
			if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
				want = 0o755
			}
			if stat.Mode&0o7777 != want || int(stat.Uid) != owner[0] || int(stat.Gid) != owner[1] {
				t.Errorf("in a directory of %d: %s has mode %o and owner %d:%d, want mode %o", owner, name, stat.Mode&0o7777, stat.Uid, stat.Gid, want)
			}
		}
	}
}

// TestWarnsOfAContainerThatWasNotNamed checks that a CI job in a container gets a
// warning that its container is checked, unless a target was named.
func TestWarnsOfAContainerThatWasNotNamed(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	lostOutput(t)
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "size=64k"); err != nil {
		testbed.Missing(t, "a tmpfs can't be mounted: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount("/run", unix.MNT_DETACH) })
	text := "version: 1\nports: [{name: a, port: 9000}, {name: b, port: 9001, targets: [local]}]\n"
	for name, text := range map[string]string{"/run/.containerenv": "", "one-named.yml": text} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"free.yml"}, 9},
		{[]string{"free.yml", "-t", "auto"}, 9},
		{[]string{"free.yml", "-t", "local"}, exitOK},
		{[]string{"one-named.yml"}, exitOK},
	} {
		code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) { cmd.Env = []string{"GITLAB_CI=true"} }, append(c.args, "--warnings-exit-code", "9")...)
		if code != c.want {
			t.Errorf("%q: exit code %d, want %d:\n%s", c.args, code, c.want, stderr)
		}
	}
	// The commands that print ports warn beside them, for people.
	for _, args := range [][]string{{"free", "--range", "9000-9001"}, {"list"}} {
		for target, want := range map[string]bool{"": true, "auto": true, "local": false} {
			args := args
			if target != "" {
				args = append(args, "-t", target)
			}
			code, stderr := runsInto(t, nil, func(cmd *exec.Cmd) { cmd.Env = []string{"GITLAB_CI=true"} }, args...)
			if code != exitOK || strings.Contains(stderr, "the ports of the container in which GitLab runs this job") != want {
				t.Errorf("%q: exit code %d:\n%s", args, code, stderr)
			}
		}
	}
}

// TestSecondSignalEndsTheProcess checks that a run that takes its time to end, because
// nothing reads its stderr, ends at once with another signal.
func TestSecondSignalEndsTheProcess(t *testing.T) {
	t.Parallel()
	for range 10 { // a slow machine may send the second signal too late
		state := signalledTwice(t)
		if status := state.Sys().(syscall.WaitStatus); status.Signaled() && status.Signal() == syscall.SIGTERM {
			return
		}
		if state.ExitCode() != exitTerminated {
			t.Fatalf("ended with %s", state)
		}
	}
	t.Error("the second signal never ended the process")
}

// signalledTwice runs portcheck with signals until it has ended.
func signalledTwice(t *testing.T) *os.ProcessState {
	t.Helper()
	_, stderr := fullPipe(t)
	stdin, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer feed.Close()
	cmd := program(nil, "-")
	cmd.Stdin, cmd.Stderr = stdin, stderr
	if _, err := feed.WriteString(" "); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState has what matters
		close(ended)
	}()
	deadline := time.After(20 * time.Second)
	read := false // the run has read from stdin, and so handles signals
	for {
		if left, err := unix.IoctlGetInt(int(feed.Fd()), unix.TIOCINQ); err != nil {
			t.Fatal(err)
		} else if read = read || left == 0; read {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		}
		select {
		case <-ended:
			return cmd.ProcessState
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Fatal("still runs after many signals")
		case <-time.After(5 * time.Millisecond): // between two signals
		}
	}
}

// Where nothing can be bound, free says so, and not that all ports are taken.
func TestFreeWhereNothingCanBeBound(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	testbed.Deny(t, testbed.Denial{Call: unix.SYS_BIND, Arg: -1, Errno: unix.EPERM})
	for _, args := range [][]string{{"free", "--range", "8000-8009", "-n", "3"}, {"free", "--range", "8000-8009", "--protocol", "udp", "--address", "loopback"}} {
		code, stderr := runsInto(t, nil, nil, args...)
		if want := "portcheck: ports of the range could not be tried (bind: EPERM)\n"; code != exitUnknown || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d, %s; want %d, %s", args, code, stderr, exitUnknown, want)
		}
	}
}

// Where leases can't be asked for, a leased port is leased all the same, with either
// protocol.
func TestLeasesThatCantBeAskedFor(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	if out, err := program(nil, "assign", "--job", "other", "-p", "8000/udp", "-p", "8001").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testbed.Deny(t, testbed.Denial{Call: unix.SYS_SOCKET, Arg: unix.AF_UNIX, Errno: unix.EAFNOSUPPORT})
	out, err := program(nil, "check", "-p", "8000/udp", "-p", "8001", "-p", "8002/udp", "-p", "8002").CombinedOutput()
	for _, want := range []string{"udp 8000 is leased to", "tcp 8001 is leased to", "address family not supported by protocol; allow portcheck AF_UNIX sockets", "4 ports checked", "2 ok, 2 conflicts"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("check: %v, not %q\n%s", err, want, out)
		}
	}
	for protocol, want := range map[string]string{"udp": "8001\n", "tcp": "8000\n"} {
		var stderr bytes.Buffer
		cmd := program(nil, "free", "--range", "8000-8001", "--protocol", protocol)
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || string(out) != want || stderr.Len() > 0 {
			t.Errorf("free %s: %v, %q, %s", protocol, err, out, &stderr)
		}
	}
	if out, err := program(nil, "assign", "--job", "x", "-p", "8003").CombinedOutput(); err == nil || !strings.Contains(string(out), "allow portcheck AF_UNIX sockets") {
		t.Errorf("assign: %v\n%s", err, out)
	}
}

// Where portcheck may not make IPv6 sockets, what the table shows is in the app's way all the
// same, and the advice is about the filter.
func TestIPv6SocketsAreForbidden(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	l, err := net.Listen("tcp", "[::]:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	testbed.Deny(t, testbed.Denial{Call: unix.SYS_SOCKET, Arg: unix.AF_INET6, Errno: unix.EPERM})
	out, _ := program(nil, "check", "-p", "8080", "-p", "8081").CombinedOutput()
	for _, want := range []string{
		"tcp 8080 is in use by ", fmt.Sprintf("(pid %d,", os.Getpid()),
		"tcp 8081 could not be tried (socket: EPERM)", "portcheck may not make IPv6 sockets (EPERM): add AF_INET6 to RestrictAddressFamilies", "1 conflict, 1 unknown",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("not %q in\n%s", want, out)
		}
	}
}

// A port that is bound is not handed out, even if no table shows it.
func TestFreeWhereBoundSocketsAreHidden(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: 8080})
	}
	if err != nil {
		t.Fatal(err)
	}
	testbed.Deny(t, testbed.Denial{Call: unix.SYS_SOCKET, Arg: unix.AF_NETLINK, Errno: unix.EPERM})
	if err := os.Chdir(t.TempDir()); err != nil { // t.Chdir is not for parallel tests
		t.Fatal(err)
	}
	if err := os.WriteFile("portcheck.yml", []byte("version: 1\nrange: 8080-8082\nports:\n  - {name: web, port: 8081}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:8081")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		args         []string
		want, refuse string
	}{
		{[]string{"free", "--range", "8080-8082"}, "8082\n", "8080"},
		{[]string{"check"}, "use instead: 8082 ", "8080 "},
	} {
		out, _ := program(nil, c.args...).Output() // the exit code of check is 1
		if !strings.Contains(string(out), c.want) || strings.Contains(string(out), c.refuse) {
			t.Errorf("%q: %s, want %q and not %q", c.args, out, c.want, c.refuse)
		}
	}
}
