package cli

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestServersStartOnLeasedPorts starts real servers on the ports that their job holds.
// One that does not set SO_REUSEADDR says so in its manifest.
func TestServersStartOnLeasedPorts(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	for _, name := range []string{"node", "nginx", "redis-server", "java", "dnsmasq"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	dir := t.TempDir()
	// nginx writes as another user.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(dir, "portcheck.yml"), `version: 1
app: shop
range: 20000-20099
ports:
  - {name: python, port: 8001, owner: {process: "python3*"}}
  - {name: node, port: 8002, owner: {process: node}}
  - {name: nginx, port: 8003, owner: {process: nginx}}
  - {name: redis, port: 8004, owner: {process: redis-server}}
  - {name: plain, port: 8005, socket: {reuse_address: false}}
  - {name: java, port: 8006, owner: {process: java}}
  - {name: go, port: 8007}
  - {name: udp, port: 5300, protocol: udp}
  - {name: dns, port: 5301, protocol: udp, guard: true, owner: {process: dnsmasq}}
  - {name: both, port: 5302, protocol: [tcp, udp], guard: true}
`)
	// The first port is taken, so that python gets another.
	taken, err := net.Listen("tcp", ":8001")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	start := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s: %s", name, out.String())
			}
		})
	}
	ports := map[string]string{}
	for line := range strings.Lines(mustInDir(t, dir, "assign", "--job", "one", "-f", "env")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ports[name] = value
	}
	if ports["PYTHON_PORT"] == "8001" || ports["NODE_PORT"] != "8002" {
		t.Fatalf("got %v", ports)
	}
	start("python3", "-m", "http.server", ports["PYTHON_PORT"])
	start("node", "-e", "require('http').createServer(() => {}).listen("+ports["NODE_PORT"]+")")
	writeText(t, filepath.Join(dir, "nginx.conf"), "daemon off; master_process off; pid nginx.pid; error_log stderr; events {}\nhttp { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; server { listen "+ports["NGINX_PORT"]+"; } }\n")
	start("nginx", "-e", "stderr", "-p", dir, "-c", "nginx.conf")
	start("redis-server", "--port", ports["REDIS_PORT"], "--save", "")
	start("python3", "-c", "import socket, time\ns = socket.socket()\ns.bind(('', "+ports["PLAIN_PORT"]+"))\ns.listen()\ntime.sleep(1000)")
	start("python3", "-c", "import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('', "+ports["UDP_PORT"]+"))\ntime.sleep(1000)")
	writeText(t, filepath.Join(dir, "Server.java"), "public class Server { public static void main(String[] a) throws Exception { new java.net.ServerSocket("+ports["JAVA_PORT"]+"); Thread.sleep(1000000); } }\n")
	start("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "Server.java")
	goServer, err := net.Listen("tcp", ":"+ports["GO_PORT"])
	if err != nil {
		t.Fatal(err)
	}
	defer goServer.Close()
	start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--user=root", "--pid-file", "--bind-interfaces", "--address=/shop.test/192.0.2.7", "--port="+ports["DNS_PORT"])
	start("python3", "-c", `
import socket, threading, time
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    s = socket.socket(type=kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('', `+ports["BOTH_PORT"]+`))
    if kind == socket.SOCK_STREAM:
        s.listen()
        threading.Thread(target=lambda s=s: time.sleep(1000), daemon=True).start()
while True:
    text, peer = s.recvfrom(100)
    s.sendto(text, peer)
`)
	out := mustInDir(t, dir, "verify", "--job", "one", "--wait", "60s", "--no-color")
	if !strings.Contains(out, "10 ok") {
		t.Errorf("got %s", out)
	}
	for _, name := range []string{"DNS", "BOTH"} { // datagrams reach the servers beside the guards
		c, err := net.Dial("udp", "127.0.0.1:"+ports[name+"_PORT"])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		const query = "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x04test\x00\x00\x01\x00\x01" // the address of shop.test: RFC 1035
		if _, err := c.Write([]byte(query)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 512)
		if n, err := c.Read(answer); err != nil || n < len(query) || answer[1] != 7 {
			t.Errorf("%s: got %q, %v", name, answer[:n], err)
		}
	}
	// Nobody else gets the ports while the servers run.
	if out, err := inDir(dir, nil, "assign", "--job", "two", "--range", "8001-8005"); err == nil {
		t.Errorf("another job gets\n%s", out)
	}
}

// TestRestartsBesideOthers restarts a server again and again on its leased port, while
// others check that port and look for ports near it. It can always bind.
func TestRestartsBesideOthers(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	mustInDir(t, dir, "assign", "--job", "one", "-p", "8080")
	var others sync.WaitGroup
	var done atomic.Bool
	checks, assigns := 2, 1
	if often(1) > 1 {
		checks, assigns = 64, 8
	}
	for i := range checks + assigns {
		others.Go(func() {
			for !done.Load() {
				args := []string{"-p", "8080", "-p", "8081", "--range", "8080-8090"}
				if i < assigns {
					args = append([]string{"assign", "--job", fmt.Sprint("other ", i), "--for", "100ms"}, args...)
				}
				_, _ = inDir(dir, nil, args...) // a check fails: the port is taken
			}
		})
	}
	for range often(200) {
		syscall.ForkLock.RLock() // a new process has the listener, too, until it executes a program
		l, err := net.Listen("tcp", ":8080")
		if err == nil {
			err = l.Close()
		}
		syscall.ForkLock.RUnlock()
		if err != nil {
			t.Errorf("a restart: %v", err)
			break
		}
		time.Sleep(time.Millisecond) // others get a share of the processor
	}
	done.Store(true)
	others.Wait()
}

// TestSocketsOutliveARestart restarts a server that has its socket from exec, while
// clients connect. None is refused.
func TestSocketsOutliveARestart(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string]string{"Python": "python3 server.py", "Node": "node server.js", "Go": "env " + socketServerEnv + "=1 " + self} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testbed.Isolated(t) {
				restartBehindSocket(t, command)
			}
		})
	}
}

// socketServerEnv is set for the program that is socketServer.
const socketServerEnv = "PORTCHECK_TEST_SOCKET_SERVER"

// socketServer is a server in Go that has its socket from exec, and ends after a while.
func socketServer() {
	if os.Getenv("LISTEN_PID") != fmt.Sprint(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		os.Exit(1)
	}
	l, err := net.FileListener(os.NewFile(3, "web"))
	for i := 0; i < 50 && err == nil; i++ {
		var c net.Conn
		if c, err = l.Accept(); err == nil {
			_, _ = c.Write([]byte("x")) // the client may have gone
			c.Close()
		}
	}
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func restartBehindSocket(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath(strings.Fields(command)[0]); err != nil {
		testbed.Missing(t, err.Error())
	}
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "server.py"), `
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
s = socket.socket(fileno=3)
for _ in range(50):
    c, _ = s.accept()
    c.sendall(b"x")
    c.close()
`)
	writeText(t, filepath.Join(dir, "server.js"), `
const {LISTEN_PID, LISTEN_FDS} = process.env
if (LISTEN_PID != process.pid || LISTEN_FDS != "1") process.exit(1)
let left = 50
require("net").createServer(c => {
    c.on("error", () => {})
    c.end("x", () => { if (--left == 0) process.exit(0) })
}).listen({fd: 3})
`)
	writeText(t, filepath.Join(dir, "loop.sh"), "while :; do sh -c 'LISTEN_PID=$$ exec "+command+"' || exit 1; done\n")
	cmd := program([]string{"PATH=" + os.Getenv("PATH")}, "exec", "-p", "8080", "--pass-sockets", "--", "sh", "loop.sh")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
		_ = cmd.Wait()
	}()
	deadline := time.Now().Add(20 * time.Second)
	for {
		l, leased := lease.Look(port.TCP, 8080, deadline)
		if c, err := net.Dial("tcp", "127.0.0.1:8080"); err == nil && leased {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no server: %+v, %s", l, stderr.String())
		}
		time.Sleep(time.Millisecond)
	}
	for i := range often(200) {
		c, err := net.Dial("tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatalf("connect %d: %v\n%s", i, err, stderr.String())
		}
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 1 {
			t.Fatalf("connect %d: %v\n%s", i, err, stderr.String())
		}
		c.Close()
	}
}

// TestWorkTreesAndLegs checks which jobs are the same: a work tree and a leg of a matrix
// keep their ports, and two of them never share one.
func TestWorkTreesAndLegs(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	const manifest = "version: 1\napp: shop\nrange: 20000-20099\nports: [{name: web, port: 8080}]\n"
	dir := t.TempDir()
	main, linked := filepath.Join(dir, "main"), filepath.Join(dir, "linked")
	for _, args := range [][]string{
		{"init", "-q", main},
		{"-C", main, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "--allow-empty", "-m", "x"},
		{"-C", main, "worktree", "add", "-q", linked},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	leg := func(runner string) []string {
		return []string{"GITHUB_ACTIONS=true", "GITHUB_RUN_ID=7", "GITHUB_RUN_ATTEMPT=1", "GITHUB_JOB=e2e", "RUNNER_NAME=" + runner}
	}
	type asker struct {
		dir string
		env []string
	}
	askers := []asker{{main, nil}, {linked, nil}, {main, leg("a")}, {main, leg("b")}}
	got := map[string]int{}
	for round := range 2 {
		for i, a := range askers {
			writeText(t, filepath.Join(a.dir, "portcheck.yml"), manifest)
			out, err := inDir(a.dir, a.env, "assign", "-f", "env")
			if err != nil {
				t.Fatal(err)
			}
			if other, known := got[out]; known != (round == 1) || known && other != i {
				t.Errorf("round %d: %v gets %s, as %d does", round, a, out, other)
			}
			got[out] = i
		}
	}
}

// TestCleanUpOfCI plays how CI systems end the processes of a step that is aborted and of
// a job that is over: by variables in their environment. A lease ends with its job, not
// with a step, and not with another job of this host. A step that starts a keeper ends at
// once.
func TestCleanUpOfCI(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	// cleanUp ends the processes that have all of these variables, except those that were
	// there before the job: JobExtension.cs of actions/runner, and ProcessTree.java of
	// Jenkins, which is called with one cookie or with all variables of a build.
	cleanUp := func(before []string, signal syscall.Signal, variables ...string) (pids []int) {
		files, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil || slices.Contains(before, f) {
				continue // the process has ended
			}
			all := strings.Split(string(text), "\x00")
			if slices.ContainsFunc(variables, func(v string) bool { return !slices.Contains(all, v) }) {
				continue
			}
			var pid int
			if _, err := fmt.Sscanf(f, "/proc/%d/environ", &pid); err != nil || pid == os.Getpid() {
				continue
			}
			if err := syscall.Kill(pid, signal); err != nil {
				t.Error(err)
			}
			pids = append(pids, pid)
		}
		return pids
	}
	keeperOf := func(p int) int {
		l, _ := lease.Look(port.TCP, uint16(p), time.Now().Add(10*time.Second))
		return l.PID
	}
	freestyle := func(n string) []string {
		return []string{"JENKINS_SERVER_COOKIE=s1", "HUDSON_SERVER_COOKIE=s1", "JOB_NAME=e2e", "JOB_BASE_NAME=e2e", "BUILD_NUMBER=" + n, "BUILD_ID=" + n, "BUILD_TAG=jenkins-e2e-" + n}
	}
	pipeline := func(node, step string) []string {
		return append([]string{"JENKINS_NODE_COOKIE=" + node, "JENKINS_SERVER_COOKIE=durable-" + step}, freestyle(node)[2:]...)
	}
	for i, c := range []struct {
		name        string
		env, second []string // of the job's steps
		other       []string // of a step of another job
		aborted     []string // the variables by which an aborted first step is ended
		job         []string // those by which the job is ended
		signal      syscall.Signal
	}{
		{
			"GitHub",
			[]string{"RUNNER_TRACKING_ID=github_1"},
			[]string{"RUNNER_TRACKING_ID=github_1"},
			[]string{"RUNNER_TRACKING_ID=github_2"},
			nil,
			[]string{"RUNNER_TRACKING_ID=github_1"},
			syscall.SIGKILL,
		},
		{
			"Azure",
			[]string{"VSTS_PROCESS_LOOKUP_ID=vsts_1"},
			[]string{"VSTS_PROCESS_LOOKUP_ID=vsts_1"},
			[]string{"VSTS_PROCESS_LOOKUP_ID=vsts_2"},
			nil,
			[]string{"VSTS_PROCESS_LOOKUP_ID=vsts_1"},
			syscall.SIGKILL,
		},
		{
			"Jenkins pipeline", pipeline("n1", "1"), pipeline("n1", "2"), pipeline("n2", "3"),
			[]string{"JENKINS_SERVER_COOKIE=durable-1"},
			[]string{"JENKINS_NODE_COOKIE=n1"},
			syscall.SIGTERM,
		},
		{"Jenkins freestyle", freestyle("1"), freestyle("1"), freestyle("2"), nil, freestyle("1"), syscall.SIGTERM},
	} {
		before, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			t.Fatal(err)
		}
		mine, others := 8080+2*i, 8081+2*i
		// Output waits until nothing has the step's stdout open.
		for name, p := range map[string]int{c.name: mine, "other": others} {
			env := map[string][]string{c.name: c.env, "other": c.other}[name]
			if _, err := inDir(dir, env, "assign", "--job", name, "-p", fmt.Sprint(p)); err != nil {
				t.Fatal(err)
			}
		}
		keeper, other := keeperOf(mine), keeperOf(others)
		if len(c.aborted) > 0 {
			if pids := cleanUp(before, c.signal, c.aborted...); len(pids) > 0 {
				t.Errorf("%s: an aborted step ends %v", c.name, pids)
			}
		}
		if _, err := inDir(dir, append(c.second, "PORTCHECK_JOB="+c.name), "check", "-p", fmt.Sprint(mine)); err != nil || keeperOf(mine) != keeper {
			t.Errorf("%s: the second step: %v", c.name, err)
		}
		if pids := cleanUp(before, c.signal, c.job...); len(pids) != 1 || pids[0] != keeper {
			t.Fatalf("%s: the clean-up finds %v, the keeper is %d", c.name, pids, keeper)
		}
		if _, err := inDir(dir, nil, "assign", "--job", "next", "--wait", "20s", "-p", fmt.Sprint(mine)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if keeperOf(others) != other {
			t.Errorf("%s: the lease of another job has ended", c.name)
		}
	}
}
