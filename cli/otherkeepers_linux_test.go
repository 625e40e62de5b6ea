package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestKeepersThatDoNotAnswer checks that others go on in time, and say what they could
// not learn. Nobody who does not answer hides what a keeper says that does.
func TestKeepersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	const script = `
import socket, sys, threading
def serve(port, say):
    s = socket.socket(socket.AF_UNIX)
    s.bind("\0portcheck/1/tcp/%d" % port)
    s.listen(0 if say is None else 64)
    if say is None: # a full backlog
        for _ in range(2):
            c = socket.socket(socket.AF_UNIX)
            c.setblocking(False)
            try:
                c.connect("\0portcheck/1/tcp/%d" % port)
            except BlockingIOError:
                pass
            kept.append(c)
        kept.append(s)
        return
    def answer():
        while True:
            c, _ = s.accept()
            threading.Thread(target=talk, args=(c,)).start()
    def talk(c):
        try:
            c.sendall(say)
            while say.startswith(b"x"):
                c.sendall(say)
        except OSError:
            pass
        kept.append(c)
    threading.Thread(target=answer).start()
kept = []
serve(8001, b"")
serve(8002, b"\xff\xfe\n")
serve(8003, b"x" * 4096)
serve(8004, None)
serve(8005, b'{"id": "odd", "expires": "9999-12-31T23:59:59-23:00", "since": "0000-01-01T00:00:00+23:00"}\n')
serve(8006, b'{"job": "\\u001b[31m::error::x\\u202e"}\n')
print("ready", flush=True)
threading.Event().wait()
`
	mustInDir(t, ".", "assign", "--job", "stopped", "-p", "8007")
	l, _ := lease.Look(port.TCP, 8007, time.Now().Add(10*time.Second))
	if err := syscall.Kill(l.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	mustInDir(t, ".", "assign", "--job", "mine", "-p", "9000")
	testbed.Python(t, script)
	// 8 of them would take 8 s one after the other.
	const most = 5 * time.Second
	start := time.Now()
	results := reportOf(t, []string{"PORTCHECK_JOB=mine"}, "-p", "8001", "-p", "8002", "-p", "8003", "-p", "8004", "-p", "8005", "-p", "8006", "-p", "8007", "-p", "9000")
	if took := time.Since(start); took > most {
		t.Errorf("check took %s", took)
	}
	for n := 8001; n <= 8007; n++ {
		x := results[fmt.Sprintf("tcp-%d/tcp", n)]
		if x.Status != check.Leased || x.Lease == nil {
			t.Errorf("%d: %+v", n, x)
		}
		if n != 8006 && !strings.Contains(x.Message, "leased to a job that has not answered") {
			t.Errorf("%d: %q", n, x.Message)
		}
		if strings.ContainsAny(x.Message, "\x1b\u202e") {
			t.Errorf("%d: %q", n, x.Message)
		}
	}
	if x := results["tcp-9000/tcp"]; x.Status != check.Free {
		t.Errorf("the job's own port: %+v", x)
	}
	for _, args := range [][]string{{"leases"}, {"leases", "-f", "json"}, {"assign", "-p", "9001"}, {"free", "--range", "8001-8010"}, {"exec", "-p", "9002", "--", "true"}} {
		start := time.Now()
		out := mustInDir(t, ".", args...)
		if took := time.Since(start); took > most {
			t.Errorf("%v took %s", args, took)
		}
		if args[0] == "free" && out != "8008\n" {
			t.Errorf("free: %s", out)
		}
		if strings.ContainsAny(out, "\x1b\u202e") {
			t.Errorf("%v: %q", args, out)
		}
	}
}

// TestReleaseOfStoppedKeepers checks that release does not pass over what it can't know.
func TestReleaseOfStoppedKeepers(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	mustInDir(t, dir, "assign", "--job", "mine", "-p", "8000", "-p", "8001")
	mustInDir(t, dir, "assign", "--job", "other", "-p", "8002")
	l, _ := lease.Look(port.TCP, 8000, time.Now().Add(10*time.Second))
	if err := syscall.Kill(l.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"release", "--job", "mine"}, fmt.Sprintf("portcheck: not every lease could be asked, so some that were meant may stay: the process that holds 8000/tcp, 8001/tcp (pid %d) does not answer\nif it is stopped, `kill -CONT` it and release again, or end it with `kill -KILL`\n", l.PID)},
		{[]string{"release", l.ID}, fmt.Sprintf("the process that holds 8000/tcp, 8001/tcp (pid %d) does not answer\n", l.PID)},
		{[]string{"release", "--all"}, fmt.Sprintf("portcheck: the lease of 8000/tcp, 8001/tcp can't be ended: the process of user root that holds it (pid %d) does not answer\n", l.PID)},
	} {
		_, err := inDir(dir, nil, c.args...)
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.args, err, c.want)
		}
	}
	// Its job gets other ports, and a word about these.
	want := fmt.Sprintf("portcheck: warning: the process that holds 8000/tcp, 8001/tcp (pid %d) does not answer: if that is a lease of this job, the job has other ports, too\n", l.PID)
	out, err := exec.Command("sh", "-c", `exec portcheck assign -q --job mine -p 9000 2>&1 >/dev/null`).Output()
	if err != nil || string(out) != want {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
	if err := syscall.Kill(l.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	mustInDir(t, dir, "release", "--job", "mine")
	if out := mustInDir(t, dir, "leases"); strings.Count(out, "\n") != 1 {
		t.Errorf("leases are left:\n%s", out)
	}
}

// TestVerifyOfStoppedKeepers checks that a port of which nobody answers is not said to be
// nobody's.
func TestVerifyOfStoppedKeepers(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	mustInDir(t, dir, "assign", "--job", "mine", "-p", "8000")
	l, _ := lease.Look(port.TCP, 8000, time.Now().Add(10*time.Second))
	if err := syscall.Kill(l.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	processIs(t, l.PID, "T")
	want := fmt.Sprintf("the process that holds 8000/tcp (pid %d) does not answer", l.PID)
	if _, err := inDir(dir, nil, "verify", "--job", "mine", "-p", "8000"); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if err := syscall.Kill(l.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := inDir(dir, nil, "verify", "--job", "mine", "-p", "8001"); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("a port that the job does not have: %v", err)
	}
}

// TestKeeperOfAnotherPIDNamespace checks that no process is named by a number that means
// another one here, or none, and that such a keeper can be released all the same.
func TestKeeperOfAnotherPIDNamespace(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	usersMayRun(t)
	elsewhere := func(cmd *exec.Cmd) { cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWPID | syscall.CLONE_NEWNS }
	testbed.StartWith(t, elsewhere, "/bin/sh", "-c", `mount --make-rprivate / && mount -t proc proc /proc && portcheck assign -q --job other -p 8000 > /dev/null && echo ready && sleep 60`)
	ask := exec.Command("/bin/sh", "-c", `mount --make-rprivate / && mount -t proc proc /proc && portcheck -p 8000; portcheck leases; portcheck leases -f json
		setpriv --reuid 65534 --clear-groups portcheck release --job other
		setpriv --reuid 65534 --clear-groups portcheck release --all
		portcheck leases; portcheck release --job other`)
	ask.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	out, err := ask.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"tcp 8000 is leased to other (user root) until ", "  other  ?    ?       root  ", "portcheck: there is no lease that this user may end\n", "portcheck: released 8000/tcp\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "pid") {
		t.Errorf("a PID of another namespace:\n%s", out)
	}
}

// usersMayRun lets all users run the portcheck that scripts find.
func usersMayRun(t *testing.T) {
	t.Helper()
	file, err := exec.LookPath("portcheck")
	if err != nil {
		t.Fatal(err)
	}
	if file, err = filepath.EvalSymlinks(file); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(file); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUsersWithoutANumber checks that a user in a user namespace, where root has no number,
// is not taken for root.
func TestUsersWithoutANumber(t *testing.T) {
	t.Parallel()
	testbed.NeedUsers(t)
	if !testbed.Isolated(t) {
		return
	}
	usersMayRun(t)
	mustInDir(t, t.TempDir(), "assign", "--job", "J", "-p", "39300")
	for _, unshare := range []string{"unshare -U", "unshare -U --map-user=65534"} {
		script := "exec setpriv --reuid 1234 --clear-groups " + unshare + " sh -c '" +
			"portcheck assign --job J -p 39300; portcheck release --job J; portcheck release --all; " +
			"portcheck assign -q --job J -p 39301 >/dev/null && portcheck release --job J'"
		out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput()
		if strings.Contains(string(out), "unshare failed") {
			testbed.Missing(t, "no user namespaces: "+string(out))
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", unshare, err, out)
		}
		for _, want := range []string{"tcp 39300 is leased to J", "there is no lease of this job that this user may end", "there is no lease that this user may end", "released 39301/tcp"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", unshare, want, out)
			}
		}
	}
	if out := mustInDir(t, t.TempDir(), "leases"); !strings.Contains(out, "39300/tcp") {
		t.Errorf("the lease is gone:\n%s", out)
	}
}

// TestLeasesOfLowPorts checks that users can lease the ports below 1024 that they may
// bind, and end these leases.
func TestLeasesOfLowPorts(t *testing.T) {
	t.Parallel()
	testbed.NeedUsers(t)
	if !testbed.Isolated(t) {
		return
	}
	usersMayRun(t)
	const assign, user = "assign --job u -p 80 --range 80-90 | head -n 1; ", "exec setpriv --reuid 1234 --clear-groups "
	for _, c := range []struct{ start, rights string }{{"80", ""}, {"1024", "--inh-caps +net_bind_service --ambient-caps +net_bind_service "}} {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte(c.start), 0o644); err != nil {
			t.Fatal(err)
		}
		script := user + c.rights + "sh -ec 'portcheck " + assign + "portcheck " + assign + "portcheck leases; portcheck verify --job u -p 80 || echo not served; portcheck release --job u'"
		out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if strings.Count(string(out), "tcp-80  80/tcp") != 2 || !strings.Contains(string(out), "tcp-80 80/tcp") || !strings.Contains(string(out), "released 80/tcp\n") || strings.Contains(string(out), "holds none") {
			t.Errorf("from %s on:\n%s", c.start, out)
		}
	}
}

// TestVerifyKnowsOtherUsers checks that a server of another user is not taken for that of
// the job, and one of root, as engines are, may be it.
func TestVerifyKnowsOtherUsers(t *testing.T) {
	t.Parallel()
	testbed.NeedUsers(t)
	if !testbed.Isolated(t) {
		return
	}
	usersMayRun(t)
	as := func(uid, script string) (string, error) {
		out, err := exec.Command("setpriv", "--reuid", uid, "--clear-groups", "sh", "-c", "cd / && "+script).CombinedOutput()
		return string(out), err
	}
	if out, err := as("1234", "portcheck assign --job mine -p 39900"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const serve = "import socket, sys, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', 39900)); s.listen(); print('ready', flush=True); time.sleep(60)"
	for _, c := range []struct {
		uid, want string
		code      int
	}{
		{"1235", "which is a process of another user, uid 1235 (an 'owner' in the manifest allows it)", exitUnmet},
		{"1234", "1 ok", exitOK},
		{"0", "1 ok", exitOK},
	} {
		server, _ := testbed.StartWith(t, func(*exec.Cmd) {}, "setpriv", "--reuid", c.uid, "--clear-groups", "/usr/bin/python3", "-c", serve)
		out, err := as("1234", "portcheck verify --job mine -p 39900")
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("served by %s: exit code %d, want %d with %q\n%s", c.uid, code, c.code, c.want, out)
		}
		_ = server.Process.Kill()
		_ = server.Wait()
	}
}

// TestReleaseFromOutsideOfAUserNamespace checks that root learns how to end a lease that
// its keeper does not end for root, who has no number where the keeper runs.
func TestReleaseFromOutsideOfAUserNamespace(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	usersMayRun(t)
	nobody := []string{"--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}
	if out, err := exec.Command("setpriv", append(nobody, "unshare", "--user", "--map-root-user", "true")...).CombinedOutput(); err != nil {
		testbed.Missing(t, fmt.Sprintf("users can't make user namespaces: %v\n%s", err, out))
	}
	assign := exec.Command("setpriv", append(nobody, "unshare", "--user", "--map-root-user", "portcheck", "assign", "-q", "--job", "other", "-p", "8000")...)
	assign.Dir = "/"
	if out, err := assign.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, _ := lease.Look(port.TCP, 8000, time.Now().Add(10*time.Second))
	kill := fmt.Sprintf("kill %d", l.PID)
	_, err := inDir(t.TempDir(), nil, "release", l.ID)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "`"+kill+"` ends the lease") {
		t.Errorf("release: %v, want %s", err, kill)
	}
	if out, err := exec.Command("sh", "-ec", kill).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", kill, err, out)
	}
	for over := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		l, held := lease.Look(port.TCP, 8000, time.Now().Add(time.Second))
		if !held {
			break
		}
		if time.Now().After(over) {
			t.Fatalf("after %s the lease is there: %+v", kill, l)
		}
	}
}
