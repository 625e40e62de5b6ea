package advice

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// pool is a server whose workers open sockets of their own, and whose master, which
// has none, replaces a worker that ends. It does not block in wait, which a signal that
// comes just before does not end in Python.
const pool = `
import os, signal, socket, sys, time
def work():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("0.0.0.0", 8080))
    s.listen()
    os.write(1, b"." if started < int(sys.argv[1]) else b"\n")
    while True:
        s.accept()
workers = []
def start():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work()
    workers.append(pid)
def stop(*_):
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
started = 0
r, w = os.pipe()
out = os.dup(1)
os.dup2(w, 1)
for started in range(int(sys.argv[1])):
    start()
    os.read(r, 1)
os.write(out, b"ready\n")
while True:
    pid, _ = os.waitpid(-1, os.WNOHANG)
    if pid:
        workers.remove(pid)
        start()
    else:
        time.sleep(0.01)`

// gracefulPool is a pool whose master waits for its workers to end.
var gracefulPool = strings.Replace(pool, "signal.SIGKILL)\n", "signal.SIGTERM)\n    while workers:\n        workers.remove(os.wait()[0])\n", 1)

// deafPool is a pool whose master ignores SIGTERM.
var deafPool = strings.Replace(pool, "SIGTERM, stop)", "SIGTERM, signal.SIG_IGN)", 1)

// copies shares a socket with three forked copies of itself. It handles no signal, so
// they outlive it. With an argument it ends, and leaves them orphans.
const copies = `
import os, socket, sys, time
s = socket.create_server(("", 8080))
for _ in range(3):
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(600)
print("ready", flush=True)
if len(sys.argv) == 1:
    time.sleep(600)`

// leaver is a process without a socket of its own. Its forked copies have one each and
// outlive it.
const leaver = `
import os, socket, time
r, w = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("", 8080))
        s.listen()
        os.write(w, b".")
        time.sleep(600)
    os.read(r, 1)
print("ready", flush=True)
time.sleep(600)`

// What a script does about SIGTERM.
const (
	ignoring = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
	handling = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit())\n"
)

// sessions makes each forked copy leave its master's session.
func sessions(script string) string {
	for _, at := range []string{"    if pid == 0:\n", "    if os.fork() == 0:\n"} {
		script = strings.ReplaceAll(script, at, at+"        os.setsid()\n")
	}
	return script
}

func TestRemediesOfProcesses(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(t *testing.T) (pid int)
		want  []string // of the remedy; PID stands for the one that start returns
	}{
		{"a process", func(t *testing.T) int { return python(t, listenScript, "8080") }, []string{"stop python3: `kill PID`"}},
		{"a process that is stopped", func(t *testing.T) int {
			pid := python(t, listenScript, "8080")
			suspend(t, pid)
			return pid
		}, []string{"suspended", "`kill -CONT PID && kill PID`"}},
		{"workers with sockets of their own", func(t *testing.T) int { return python(t, pool, "3") }, []string{"stop the master of python3", "`kill PID`"}},
		{"workers with sockets and sessions of their own", func(t *testing.T) int { return python(t, sessions(pool), "3") }, []string{"stop the master of python3", "`kill PID`"}},
		{"copies with sessions of their own, which outlive their process", func(t *testing.T) int { return python(t, sessions(leaver)) }, []string{"stop the processes of python3", "of which they are copies: `kill PID "}},
		{"copies that outlive their process", func(t *testing.T) int { return python(t, copies) }, []string{"stop python3", "and 3 more: `kill PID "}},
		{"orphans that share a socket", func(t *testing.T) int {
			pid := python(t, copies, "end")
			awaitEnd(t, pid)
			return pid
		}, []string{"stop python3", "and 2 more: `kill "}},
		{"orphans with sessions of their own that share a socket", func(t *testing.T) int {
			pid := python(t, sessions(copies), "end")
			awaitEnd(t, pid)
			return pid
		}, []string{"stop python3", "and 2 more: `kill "}},
		{"copies with sockets of their own", func(t *testing.T) int { return python(t, leaver) }, []string{"stop the processes of python3", "of which they are copies: `kill PID ", "not", "starts another"}},
		{"nginx", startNginx, []string{"stop nginx: `kill PID`", "not", "more"}},
		{"a server that is suspended with its workers", func(t *testing.T) int {
			pid := startNginx(t)
			suspend(t, pid)
			suspendChildren(t, pid)
			return pid
		}, []string{"suspended", "`kill -CONT PID ", " && kill PID`"}},
		{"a server with suspended workers", func(t *testing.T) int {
			pid := startNginx(t)
			suspendChildren(t, pid)
			return pid
		}, []string{"workers are suspended", "`kill -CONT PID ", " && kill PID`"}},
		{"suspended workers with sockets of their own", func(t *testing.T) int {
			pid := python(t, gracefulPool, "3")
			suspend(t, pid)
			suspendChildren(t, pid)
			return pid
		}, []string{"stop the master of python3", "`kill -CONT PID ", " && kill PID`"}},
		{"a suspended master of workers with sockets of their own", func(t *testing.T) int {
			pid := python(t, gracefulPool, "3")
			suspend(t, pid)
			return pid
		}, []string{"stop the master of python3", "`kill -CONT PID && kill PID`"}},
		{"a master without a socket that ignores SIGTERM", func(t *testing.T) int { return python(t, deafPool, "3") }, []string{"at once the one of which they are copies, since it ignores SIGTERM: `kill -KILL PID && kill "}},
		{"copies with sockets of their own of a suspended process", func(t *testing.T) int {
			pid := python(t, leaver)
			suspend(t, pid)
			return pid
		}, []string{"of which some are suspended and have to be continued first: `kill -CONT PID ", " && kill PID "}},
		{"suspended copies with sockets of their own", func(t *testing.T) int {
			pid := python(t, leaver)
			suspendChildren(t, pid)
			return pid
		}, []string{"of which some are suspended and have to be continued first: `kill -CONT PID ", " && kill PID "}},
		{"a process that ignores SIGTERM", func(t *testing.T) int { return python(t, ignoring+listenScript, "8080") }, []string{"stop python3 by its own means", "ignores SIGTERM: `kill -KILL PID`"}},
		{"the first process of a PID namespace", func(t *testing.T) int {
			cmd, line := testbed.Start(t, "unshare", "--pid", "--fork", "--kill-child", "/usr/bin/python3", "-u", "-c", listenScript, "8080")
			if line != "ready" {
				t.Fatal(line)
			}
			return childrenOf(t, cmd.Process.Pid)[0]
		}, []string{"stop python3 by its own means", "ignores SIGTERM: `kill -KILL PID`"}},
		{"one of a PID namespace that handles SIGTERM", func(t *testing.T) int {
			cmd, line := testbed.Start(t, "unshare", "--pid", "--fork", "--kill-child", "/usr/bin/python3", "-u", "-c", handling+listenScript, "8080")
			if line != "ready" {
				t.Fatal(line)
			}
			return childrenOf(t, cmd.Process.Pid)[0]
		}, []string{"stop python3: `kill PID`"}},
		{"copies that ignore SIGTERM, as their process does", func(t *testing.T) int { return python(t, ignoring+copies) }, []string{"ignore SIGTERM: `kill -KILL PID "}},
		{"copies with sockets of their own that ignore SIGTERM", func(t *testing.T) int { return python(t, ignoring+leaver) }, []string{"of which they are copies by their own means", "ignore SIGTERM: `kill -KILL PID "}},
		{"processes that share a socket", func(t *testing.T) int {
			return python(t, "import os, subprocess, sys\nimport socket\ns = socket.create_server(('', 8080))\nchild = subprocess.Popen(['sleep', '600'], pass_fds=[s.fileno()])\nprint('ready', flush=True)\nchild.wait()")
		}, []string{"and 1 more", "`kill PID "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			bystander(t)
			pid := c.start(t)
			r := place{}.taken(t, "8080")
			for i, part := range c.want {
				c.want[i] = strings.ReplaceAll(part, "PID", fmt.Sprint(pid))
			}
			wants(t, remedy(t, r).Text, c.want...)
			place{}.follow(t, "8080", r)
		})
	}
}

// otherServer has forked two servers and serves another port itself. It handles SIGTERM
// without ending them.
const otherServer = `
import os, signal, socket, sys, time
s = socket.create_server(("", 8080))
for _ in range(2):
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(600)
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
s.close()
other = socket.create_server(("", 8081))
print("ready", flush=True)
time.sleep(600)`

// A process that serves another port, and not this one, goes on.
func TestRemedyOfServersOfAnotherServer(t *testing.T) {
	for name, c := range map[string]struct{ script, protocol string }{
		"handles SIGTERM": {otherServer, "tcp"},
		"default signals": {strings.Replace(otherServer, "signal.signal(signal.SIGTERM, lambda *_: sys.exit())\n", "", 1), "tcp"},
		"a single server": {strings.Replace(otherServer, "range(2)", "range(1)", 1), "tcp"},
		"serves by UDP":   {strings.Replace(otherServer, `socket.create_server(("", 8081))`, `socket.socket(socket.AF_INET, socket.SOCK_DGRAM); other.bind(("0.0.0.0", 8081))`, 1), "udp"},
	} {
		t.Run(name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			bystander(t)
			parent := python(t, c.script)
			r := place{}.taken(t, "8080")
			wants(t, remedy(t, r).Text, "stop python3", "`kill ", fmt.Sprintf("; if pid %d, of which it is a copy and which serves ", parent), ":8081, too, starts another one: `kill ", "not", "master", fmt.Sprintf("`kill %d ", parent))
			place{}.follow(t, "8080", r)
			other := place{}.taken(t, "8081/"+c.protocol)
			if other.Holders[0].PID != parent {
				t.Errorf("the other port is held by %+v", other.Holders)
			}
			place{}.follow(t, "8081/"+c.protocol, other)
		})
	}
}

// A master that replaces its workers and serves another port, such as that of its metrics,
// is known by the next check.
func TestRemedyOfAMasterWithAnotherPort(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	master := python(t, strings.Replace(pool, "workers = []", `workers = []; metrics = socket.create_server(("127.0.0.1", 8081))`, 1), "3")
	r := place{}.taken(t, "8080")
	wants(t, remedy(t, r).Text, "and 2 more: `kill ", fmt.Sprintf("; if pid %d, of which it is a copy and which serves tcp 127.0.0.1:8081, too, starts another one: `kill %d`, then check again", master, master))
	if out, err := exec.Command("sh", "-ec", fmt.Sprintf("kill %d", master)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r := (place{}).check(t, "--port", "8080", "--wait", "10s")[0]; r.Status != check.Free {
		t.Errorf("%s: %s", r.Status, r.Message)
	}
	// With both ports in one run it is the same.
	master = python(t, strings.Replace(pool, "workers = []", `workers = []; metrics = socket.create_server(("127.0.0.1", 8081))`, 1), "3")
	all := place{}.check(t, "--port", "8080", "--port", "8081")
	wants(t, remedy(t, all[0]).Text, "which serves tcp 127.0.0.1:8081, too")
	wants(t, remedy(t, all[1]).Text, fmt.Sprintf("`kill %d`", master))
}

// A master with a single worker can't be told from a program that has forked a
// server, so the worker comes first.
func TestRemedyOfASingleWorker(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	master := python(t, pool, "1")
	r := place{}.taken(t, "8080")
	worker := r.Holders[0].PID
	wants(t, remedy(t, r).Text, fmt.Sprintf("stop python3: `kill %d`; if pid %d, of which it is a copy, starts another one: `kill %d`", worker, master, master))
	if command := remedy(t, r).Command; command != fmt.Sprintf("kill %d", worker) {
		t.Errorf("command %s", command)
	}
	if out, err := exec.Command("sh", "-ec", fmt.Sprintf("kill %d; kill %d", worker, master)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r = place{}.check(t, "--port", "8080", "--wait", "1s")[0]
	if r.Status == check.InUse && len(r.Holders) == 1 && r.Holders[0].PID != worker { // the master was faster than the second kill
		if out, err := exec.Command("sh", "-ec", remedy(t, r).Command).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		r = place{}.check(t, "--port", "8080", "--wait", "10s")[0]
	}
	if r.Status != check.Free {
		t.Errorf("%s: %s", r.Status, r.Message)
	}
}

// What starts a server again may ignore SIGTERM or be suspended, and its command is one that
// ends it then.
func TestRemedyOfWhatStartsItAgain(t *testing.T) {
	const handlingAgain = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\n" + listenScript
	loop := func(t *testing.T, trap string, words ...string) int {
		script := trap + `; while :; do python3 -u -c "$0" 8080; sleep 0.1; done`
		cmd, line := testbed.Start(t, words[0], append(words[1:], "-c", script, handlingAgain)...)
		if line != "ready" {
			t.Fatal(line)
		}
		return cmd.Process.Pid
	}
	for name, c := range map[string]struct {
		start func(t *testing.T) (pid int)
		want  string // PID stands for the one that start returns
	}{
		"a master that ignores SIGTERM": {func(t *testing.T) int { return python(t, deafPool, "1") }, "which ignores SIGTERM, starts another one: `kill -KILL PID`"},
		"a suspended master": {func(t *testing.T) int {
			pid := python(t, gracefulPool, "1")
			suspend(t, pid)
			return pid
		}, "which is suspended, starts another one: `kill -CONT PID && kill PID`"},
		"a script that ignores SIGTERM": {func(t *testing.T) int { return loop(t, `trap "" TERM`, "bash") }, "which ignores SIGTERM, starts another one: `kill -KILL PID`"},
		"a script that is the first process of a PID namespace": {func(t *testing.T) int {
			return childrenOf(t, loop(t, ":", "unshare", "--pid", "--fork", "--kill-child", "bash"))[0]
		}, "which ignores SIGTERM, starts another one: `kill -KILL PID`"},
		"a suspended script": {func(t *testing.T) int {
			pid := loop(t, ":", "bash")
			suspend(t, pid)
			return pid
		}, "which is suspended, starts another one: `kill -CONT PID && kill PID`"},
	} {
		t.Run(name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			bystander(t)
			pid := c.start(t)
			r := place{}.taken(t, "8080")
			want := strings.ReplaceAll(c.want, "PID", fmt.Sprint(pid))
			wants(t, remedy(t, r).Text, want)
			_, last, _ := strings.Cut(want, "`")
			if out, err := exec.Command("sh", "-ec", strings.TrimSuffix(last, "`")).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if r := (place{}).check(t, "--port", "8080", "--wait", "1s")[0]; r.Status == check.InUse { // the server itself is left
				place{}.follow(t, "8080", r)
			}
		})
	}
}

// A worker that has left its master's session is its worker all the same, a forked copy or
// a program that was started once more.
func TestRemedyOfAWorkerWithASession(t *testing.T) {
	for name, script := range map[string]string{
		"copy": sessions(pool),
		"program": `
import os, signal, subprocess, sys
worker = None
def stop(*_):
    worker.kill()
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
while True:
    worker = subprocess.Popen([sys.executable, "-u", "-c", sys.argv[2], "8080"], start_new_session=True)
    worker.wait()`,
	} {
		t.Run(name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			bystander(t)
			master := python(t, script, "1", listenScript)
			r := place{}.taken(t, "8080")
			worker := r.Holders[0].PID
			wants(t, remedy(t, r).Text, fmt.Sprintf("`kill %d`; if pid %d, ", worker, master), fmt.Sprintf(" starts another one: `kill %d`", master))
			if out, err := exec.Command("sh", "-ec", fmt.Sprintf("kill %d", master)).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if r := (place{}).check(t, "--port", "8080", "--wait", "10s")[0]; r.Status != check.Free {
				t.Errorf("%s: %s", r.Status, r.Message)
			}
		})
	}
}

// A process that its tracer has stopped takes no signal, so the tracer comes first.
func TestRemedyOfATracedProcess(t *testing.T) {
	for name, c := range map[string]struct {
		start func(t *testing.T) (pid int)
		want  []string // PID stands for the one that start returns
	}{
		"a process": {func(t *testing.T) int { return python(t, handling+listenScript, "8080") }, []string{"stop python3, which pid TRACER traces and has stopped (detach or end that first): `kill PID`"}},
		"a master":  {func(t *testing.T) int { return python(t, pool, "3") }, []string{"stop the master of python3", "and which pid TRACER traces and has stopped (detach or end that first): `kill PID`"}},
		"copies":    {func(t *testing.T) int { return python(t, leaver) }, []string{"the one of which they are copies, which pid TRACER traces and has stopped (detach or end that first): `kill PID "}},
	} {
		t.Run(name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			bystander(t)
			pid := c.start(t)
			runtime.LockOSThread() // it is the thread that traces
			defer runtime.UnlockOSThread()
			if err := unix.PtraceAttach(pid); err != nil {
				testbed.Missing(t, err.Error())
			}
			if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
				t.Fatal(err)
			}
			r := place{}.taken(t, "8080")
			for _, part := range c.want {
				wants(t, remedy(t, r).Text, strings.NewReplacer("TRACER", fmt.Sprint(os.Getpid()), "PID", fmt.Sprint(pid)).Replace(part))
			}
			if err := unix.PtraceDetach(pid); err != nil {
				t.Fatal(err)
			}
			place{}.follow(t, "8080", r)
		})
	}
}

// A process that waits in the kernel ends when that returns.
func TestRemedyOfABlockedProcess(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	// posix_spawn blocks signals and waits for the new process, which waits for a writer.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	pid := python(t, `
import os, socket, sys
s = socket.create_server(("", 8080))
print("ready", flush=True)
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_CLOSE, s.fileno()), (os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])
os.read(os.open(sys.argv[2], os.O_RDONLY), 1)`, pipe, pipe)
	var r check.Result
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if r = (place{}).taken(t, "8080"); strings.Contains(remedy(t, r).Text, "the kernel") || time.Now().After(deadline) {
			break
		}
	}
	wants(t, remedy(t, r).Text, fmt.Sprintf("stop python3, which waits in the kernel and ends only when that returns: `kill %d` once, then check again", pid))
	if out, err := exec.Command("sh", "-ec", remedy(t, r).Command).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wants(t, remedy(t, place{}.taken(t, "8080")).Text, "waits in the kernel")
	writer, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if r := (place{}).check(t, "--port", "8080", "--wait", "10s")[0]; r.Status != check.Free {
		t.Errorf("%s: %s", r.Status, r.Message)
	}
}

// A socket that was sent and not yet received has no process. The remedy says that it may be
// so, and where to look for it.
func TestRemedyOfASocketOnItsWay(t *testing.T) {
	if !isolated(t) {
		return
	}
	pid := python(t, `
import socket, time
s = socket.create_server(("", 8080))
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [s.fileno()])
s.close()
print("ready", flush=True)
time.sleep(600)`)
	r := place{}.taken(t, "8080")
	wants(t, remedy(t, r).Text, "sent", "through a unix socket", "nobody has taken it yet", "not", "most likely ended")
	if command, found := strings.CutPrefix(remedy(t, r).Command, "sudo grep "); found { // every process can be read here
		out, _ := exec.Command("sh", "-c", "grep "+command).Output() // with an error if a process ends meanwhile
		wants(t, string(out), fmt.Sprintf("/proc/%d/fdinfo/", pid))
	}
}

// A daemon that has left its parent is nobody's copy, also where a process that runs the same
// file has become its parent.
func TestRemedyOfAnAdoptedDaemon(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	reaper, line := testbed.Python(t, `
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) # PR_SET_CHILD_SUBREAPER
print(subprocess.check_output([sys.executable, "-c", sys.argv[1]], text=True).strip(), flush=True)
os.wait()
os.read(0, 1)`, `
import os, socket, time
if os.fork() == 0:
    os.setsid()
    s = socket.create_server(("", 8080))
    print(os.getpid(), flush=True)
    os.closerange(0, 3)
    time.sleep(600)`)
	r := place{}.taken(t, "8080")
	wants(t, remedy(t, r).Text, "stop python3: `kill "+line+"`", "not", fmt.Sprint("pid ", reaper.Process.Pid), "starts another")
	place{}.follow(t, "8080", r)
}

// Node's cluster starts a program once more, and its workers may listen themselves.
func TestRemedyOfAWorkerOfACluster(t *testing.T) {
	if !isolated(t) {
		return
	}
	if _, err := exec.LookPath("node"); err != nil {
		testbed.Missing(t, err.Error())
	}
	bystander(t)
	script := filepath.Join(t.TempDir(), "cluster.js")
	text := `const cluster = require("cluster")
if (cluster.isPrimary) { cluster.fork(); cluster.on("exit", () => cluster.fork()) } else {
	require("http").createServer().listen({port: 8080, exclusive: true}, () => console.log("ready"))
}`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	primary, line := testbed.Start(t, "node", script)
	if line != "ready" {
		t.Fatal(line)
	}
	r := place{}.taken(t, "8080")
	worker := r.Holders[0].PID
	wants(t, remedy(t, r).Text, fmt.Sprintf("stop node: `kill %d`; if pid %d, which has started it, starts another one: `kill %[2]d`", worker, primary.Process.Pid))
	if out, err := exec.Command("sh", "-ec", fmt.Sprintf("kill %d; kill %d", worker, primary.Process.Pid)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r := (place{}).check(t, "--port", "8080", "--wait", "10s")[0]; r.Status != check.Free {
		t.Errorf("%s: %s", r.Status, r.Message)
	}
}

// A supervisor starts its service again, and may have others.
func TestRemedyOfASupervisedProcess(t *testing.T) {
	if !isolated(t) {
		return
	}
	_, line := testbed.Start(t, "sh", "-ec", `printf runsv >/proc/$$/comm; while :; do /usr/bin/python3 -u -c "$0" 8080 || :; done`, listenScript)
	if line != "ready" {
		t.Fatal(line)
	}
	wants(t, remedy(t, place{}.taken(t, "8080")).Text, "in runsv (pid", "starts it again", "not", "kill")
}

// The name of a process is that by which it was started, if the machine has a link of
// that name to its executable.
func TestNamesOfLinks(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir := t.TempDir()
	if _, err := exec.LookPath("redis-server"); err != nil {
		testbed.Missing(t, err.Error())
	}
	_, _ = testbed.StartWith(t, func(cmd *exec.Cmd) { cmd.Dir = dir }, "redis-server", "--port", "8080", "--save", "", "--daemonize", "no")
	await(t, "8080")
	// A user's own link does not make his program redis-server.
	fake := filepath.Join(dir, "redis-server")
	if err := os.Symlink("/usr/bin/python3", fake); err != nil {
		t.Fatal(err)
	}
	if _, line := testbed.Start(t, fake, "-u", "-c", listenScript, "8081"); line != "ready" {
		t.Fatal(line)
	}
	manifest := filepath.Join(dir, "portcheck.yml")
	text := `version: 1
app: shop
allow: [duplicate]
ports:
  - {name: link, port: 8080, owner: {process: redis-server}}
  - {name: file, port: 8080, owner: {process: redis-check-rdb}}
  - {name: glob, port: 8080, expect: listening, owner: {process: "redis-s*"}}
  - {name: other, port: 8080, owner: {process: redis-cli}}
  - {name: none, port: 8080}
  - {name: fake, port: 8081, owner: {process: redis-server}}
  - {name: python, port: 8081, owner: {process: "python3.*"}}
`
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]check.Status{"link": check.Owned, "file": check.Owned, "glob": check.Listening, "other": check.InUse, "none": check.InUse, "fake": check.InUse, "python": check.Owned}
	for _, r := range (place{}).check(t, manifest) {
		if r.Status != want[r.Name] {
			t.Errorf("%s: %s: %s", r.Name, r.Status, r.Message)
		}
		switch r.Name {
		case "none":
			wants(t, r.Message, "redis-server (pid")
			wants(t, allHints(r), "stop redis-server: `kill", "`owner: {process: redis-server}`")
		case "other":
			wants(t, r.Message, "is not the owner: its process is redis-server, and owner wants redis-cli")
		case "fake":
			wants(t, r.Message, "its process is python3.", "owner wants redis-server")
		}
	}
}

// Each port of a block has a line, with every process.
func TestBlock(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	var pids []int
	for _, port := range []string{"8000", "8001", "8002"} {
		pids = append(pids, python(t, listenScript, port))
	}
	const shared = "import os, socket, subprocess\ns = socket.create_server(('', 8003))\nchild = subprocess.Popen(['sleep', '600'], pass_fds=[s.fileno()])\nprint(child.pid, flush=True)\nchild.wait()"
	parent, child := testbed.Python(t, shared)
	r := place{}.taken(t, "8000-8003")
	hints := allHints(r)
	for i, pid := range pids {
		wants(t, hints, fmt.Sprintf("port %d: python3 (pid %d,", 8000+i, pid))
	}
	wants(t, hints, fmt.Sprintf("port 8003: python3 (pid %d,", parent.Process.Pid), "sleep (pid "+child+",")
	place{}.follow(t, "8000-8003", r)
}

// A client that waits in the queue of a listener belongs to no process.
func TestClientInTheQueue(t *testing.T) {
	if !isolated(t) {
		return
	}
	pid := python(t, listenScript, "8080")
	for range 3 {
		c, err := net.Dial("tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for name, p := range map[string]place{"root": {}, "nobody": asNobody} {
		r := p.taken(t, "8080")
		if len(r.Holders) != 1 || r.Holders[0].State != "listen" {
			t.Errorf("%s: holders %+v", name, r.Holders)
		}
		switch name {
		case "root":
			wants(t, r.Message, fmt.Sprintf("in use by python3 (pid %d, user root)", pid), "not", "can't be seen")
		default:
			wants(t, r.Message, "in use by a process of user root that can't be seen")
			wants(t, remedy(t, r).Text, "run portcheck as root")
		}
	}
}

// A loop of a shell starts a server again that has ended. Its remedy names the shell, and
// ends both.
func TestLoopOfAShell(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	script := filepath.Join(t.TempDir(), "run.sh")
	text := "#!/bin/sh\nwhile true; do \"$@\"; done\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd, line := testbed.Start(t, script, "python3", "-u", "-c", listenScript, "8080")
	if line != "ready" {
		t.Fatal(line)
	}
	first := place{}.taken(t, "8080")
	kill := fmt.Sprintf("kill %d", cmd.Process.Pid)
	again := "; if run.sh (pid " + strconv.Itoa(cmd.Process.Pid) + "), which has started it, starts another one: `" + kill + "`, then check again"
	wants(t, remedy(t, first).Text, "`kill "+strconv.Itoa(first.Holders[0].PID)+"`"+again)
	run := func(command string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	run(remedy(t, first).Command)
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(first.Holders[0].PID, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not end")
		}
	}
	await(t, "8080") // the loop has started another one
	second := place{}.taken(t, "8080")
	wants(t, remedy(t, second).Text, again)
	run(kill)
	_ = cmd.Wait() // it was killed
	place{}.follow(t, "8080", place{}.taken(t, "8080"))
}

// What a person has started at the prompt of a shell is no part of a script.
func TestServerOfAnInteractiveShell(t *testing.T) {
	if !isolated(t) {
		return
	}
	tools := exec.Command("script", "--version")
	if err := tools.Run(); err != nil {
		testbed.Missing(t, "needs script(1)")
	}
	cmd := exec.Command("script", "-qc", "sh -i", "/dev/null")
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := fmt.Fprintf(stdin, "python3 -c '%s' 8080\n", listenScript); err != nil {
		t.Fatal(err)
	}
	await(t, "8080")
	wants(t, remedy(t, place{}.taken(t, "8080")).Text, "`kill ", "not", "starts another one")
}

// Where root itself has no right to look, as in a container of runc alone, running as
// root is no advice.
func TestRightsThatRootDoesNotHave(t *testing.T) {
	testbed.Slow(t, "runs portcheck beside real servers")
	testbed.NeedUsers(t)
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own != "pid:[4026531836]" { // or portcheck sees few processes
		testbed.Missing(t, "needs the PID namespace of the machine")
	}
	cmd, line := testbed.Start(t, "unshare", "--net", "sh", "-ec", `ip link set lo up; exec python3 -c "$0" 8080`, listenScript)
	if line != "ready" {
		t.Fatal(line)
	}
	there := []string{"nsenter", "--net", "-t", strconv.Itoa(cmd.Process.Pid), "setpriv"}
	nobody := []string{"--reuid", "65534", "--regid", "65534", "--clear-groups"}
	for name, flags := range map[string][]string{"root": {"--bounding-set=-all"}, "nobody": append(nobody, "--bounding-set=-all")} {
		r := place{prefix: append(slices.Clone(there), flags...)}.taken(t, "8080")
		wants(t, remedy(t, r).Text, "start portcheck as root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", "on the machine itself", "not", "docker", "--cap-add", "run portcheck as root", "another PID namespace")
		if len(r.Notices) == 0 || !strings.Contains(r.Notices[0].Message, " CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, which root does not have here") {
			t.Errorf("%s: %+v", name, r.Notices)
		}
	}
	with := place{prefix: append(there, "--bounding-set=-all,+sys_ptrace,+dac_read_search")}
	wants(t, with.taken(t, "8080").Message, fmt.Sprintf(" (pid %d, user root)", cmd.Process.Pid))
}

// The kernel's own sockets belong to no process.
func TestKernelSocket(t *testing.T) {
	if !isolated(t) {
		return
	}
	bystander(t)
	for _, args := range [][]string{{"link", "add", "vx0", "type", "vxlan", "id", "5", "dstport", "4789"}, {"link", "set", "vx0", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			testbed.Missing(t, fmt.Sprintf("no VXLAN: %v\n%s", err, out))
		}
	}
	manifest := filepath.Join(t.TempDir(), "portcheck.yml")
	if err := os.WriteFile(manifest, []byte("version: 1\napp: x\nports: [{name: x, port: 4789, protocol: udp, owner: {user: root}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := (place{}).check(t, manifest)[0]; r.Status != check.InUse {
		t.Errorf("with an owner: %s: %s", r.Status, r.Message)
	}
	r := place{}.taken(t, "4789/udp")
	wants(t, r.Message, "in use by the kernel itself (vx0)")
	wants(t, allHints(r), "for the interface vx0", "not", "kill", "root", "owner")
	place{}.follow(t, "4789/udp", r)
}

// The kernel has one address family of the port, and a process that can't be seen the other.
func TestKernelSocketBesideAnother(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, args := range []string{"link set lo up", "link add vx0 type vxlan id 5 dstport 4789 local ::1 remote ::1 dev lo", "link set vx0 up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			testbed.Missing(t, fmt.Sprintf("no VXLAN: %v\n%s", err, out))
		}
	}
	python(t, `
import socket, signal
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 4789))
print("ready", flush=True)
signal.pause()
`)
	r := place{prefix: []string{"unshare", "--pid", "--fork", "--mount-proc"}}.taken(t, "4789/udp")
	wants(t, r.Message, "the kernel itself (vx0)", "a process of user root that can't be seen")
	wants(t, remedy(t, r).Text, "`ip link del vx0`; that does not free 0.0.0.0:4789, which something else holds: find out which process holds it", "not", "check again")
}

// A process that blocks SIGTERM may never take it. The remedy says what ends it then.
func TestRemedyOfAProcessThatBlocksSIGTERM(t *testing.T) {
	if !isolated(t) {
		return
	}
	pid := python(t, "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"+listenScript, "8080")
	for range 2 { // the first signal changes nothing
		r := place{}.taken(t, "8080")
		wants(t, remedy(t, r).Text, fmt.Sprintf("stop python3: `kill %d`; if it does not end: `kill -KILL %[1]d`", pid))
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := (place{}).check(t, "--port", "8080", "--wait", "10s")[0]; r.Status != check.Free {
		t.Errorf("%s: %s", r.Status, r.Message)
	}
}

// python starts a script and returns its PID.
func python(t *testing.T, script string, args ...string) int {
	t.Helper()
	cmd, line := testbed.Python(t, script, args...)
	if line != "ready" {
		t.Fatal(line)
	}
	return cmd.Process.Pid
}

// suspend stops a process and waits until it is.
func suspend(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("%v, %v", status, err)
	}
}

// suspendChildren stops the children of a process and waits until they are.
func suspendChildren(t *testing.T, pid int) {
	t.Helper()
	for _, child := range childrenOf(t, pid) {
		if err := syscall.Kill(child, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("pid %d does not stop: %v", child, err)
			}
			if strings.Contains(string(stat), ") T ") {
				break
			}
		}
	}
}

// childrenOf returns the children of a process, at least one.
func childrenOf(t *testing.T, pid int) (all []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, child)
	}
	if len(all) == 0 {
		t.Fatalf("pid %d has no children", pid)
	}
	return all
}

// awaitEnd waits until a process has ended, and leaves its status to be waited for.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

func startNginx(t *testing.T) int {
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	text := "daemon off; user root; worker_processes 3; pid " + dir + "/pid; error_log stderr;\nevents {}\nhttp { access_log off; client_body_temp_path " + dir + "; proxy_temp_path " + dir + "; fastcgi_temp_path " + dir + "; uwsgi_temp_path " + dir + "; scgi_temp_path " + dir + "; server { listen 8080; } }\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("nginx"); err != nil {
		testbed.Missing(t, err.Error())
	}
	cmd, _ := testbed.Start(t, "sh", "-ec", `echo started; exec nginx -c "$0"`, config)
	await(t, "8080")
	return cmd.Process.Pid
}

// await waits until something listens on a port.
func await(t *testing.T, port string) {
	t.Helper()
	manifest := filepath.Join(t.TempDir(), "portcheck.yml")
	writeManifest(t, manifest, "{name: x, port: "+port+", expect: listening}")
	if r := (place{}).check(t, manifest, "--wait", "20s")[0]; r.Status != check.Listening {
		t.Fatalf("%s: %s", r.Status, r.Message)
	}
}

// A rule that other ports need is not to be deleted for one.
func TestRemediesForRules(t *testing.T) {
	for rules, want := range map[string]string{
		"tcp dport 8080 redirect to :8081":               "delete the rule: ",
		"tcp dport 8000-8080 redirect to :8081":          "take the port out of the rule, which may serve other ports, too: `sudo nft -a list chain ip r c`",
		"tcp dport { 443, 8080 } redirect to :8081":      "take the port out of the set or map of the rule, which may serve other ports, too: ",
		"tcp dport 443 goto a; tcp dport 8080 goto a":    "take the port out of the rules that lead to this one, which names none and may serve other ports, too, or delete it if it does not: `sudo nft -a list table ip r`",
		"tcp dport vmap { 443 : goto a, 8080 : goto a }": "take the port out of the rules that lead to this one, ",
		"tcp dport 8080 goto a":                          "take the port out of the rules that lead to this one, ",
	} {
		t.Run(rules, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			if _, err := exec.LookPath("nft"); err != nil {
				testbed.Missing(t, err.Error())
			}
			cmd := exec.Command("nft", "-f", "-")
			cmd.Stdin = strings.NewReader("table ip r {\nchain a { meta l4proto tcp redirect to :8081; }\nchain c { type nat hook output priority -100; " + rules + "; }\nchain p { type nat hook prerouting priority -100; " + rules + "; }\n}\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			r := place{}.check(t, "--port", "0.0.0.0:8080")[0]
			if r.Status != check.Redirected {
				t.Fatalf("%s: %s", r.Status, r.Message)
			}
			if got := remedy(t, r).Text; !strings.HasPrefix(got, want) {
				t.Error(got)
			}
		})
	}
}
