package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

func TestMain(m *testing.M) {
	programs := map[string]func([]string) error{
		"keeper": func([]string) error {
			CloseInherited()
			return Keep(context.Background(), os.Stdin, os.Stdout, Detach)
		},
		"caller": func(args []string) error { return runCaller(args[0]) },
		"release": func(args []string) error {
			fmt.Println(Release(port.TCP, atoi(args[0]), soon()))
			return nil
		},
	}
	for name, run := range mechanismPrograms {
		programs[name] = run
	}
	testbed.Main(m, programs)
}

// isolated is testbed.Isolated with a directory for temporary files of its own.
func isolated(t *testing.T) bool {
	t.Helper()
	if !testbed.Isolated(t) {
		return false
	}
	t.Setenv("TMPDIR", t.TempDir())
	return true
}

func atoi(s string) uint16 {
	n, _ := strconv.Atoi(s)
	return uint16(n)
}

// runCaller starts a keeper as portcheck does and prints its PID and reply.
func runCaller(text string) error {
	var r Request
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	reply, err := startKeeper(r)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(reply)
}

func startKeeper(r Request) (Reply, error) {
	env := append(Environment(os.Environ()), testbed.ProgramEnv+"=keeper")
	return Start(context.Background(), "/proc/self/exe", nil, env, r)
}

func soon() time.Time { return time.Now().Add(10 * time.Second) }

func request(id string, wants ...Want) Request {
	return Request{ID: id, Job: "job " + id, App: "shop", Expires: time.Now().Add(time.Minute), Wants: wants}
}

func want(first, last uint16) Want {
	return Want{Name: "web", Protocols: []port.Protocol{port.TCP}, Ports: port.Set{{First: first, Last: last}}, Length: 1, Guard: true}
}

func mustStart(t *testing.T, r Request) Reply {
	t.Helper()
	reply, err := startKeeper(r)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// keeperOf returns the keeper of a port, which has to be leased.
func keeperOf(t *testing.T, n uint16) Lease {
	t.Helper()
	l, leased := Look(port.TCP, n, soon())
	if !leased {
		t.Fatalf("port %d is not leased", n)
	}
	return l
}

// kill kills a process and waits until its sockets are closed.
func kill(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// bindable reports whether a server that sets SO_REUSEADDR or not can listen.
func bindable(t *testing.T, n uint16, reuse bool) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if reuse {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			t.Fatal(err)
		}
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: int(n)}) == nil && unix.Listen(fd, 1) == nil
}

func TestLeaseIsHeldUntilReleased(t *testing.T) {
	if !isolated(t) {
		return
	}
	pair := want(8000, 8009)
	pair.Protocols, pair.Length, pair.Name = []port.Protocol{port.TCP, port.UDP}, 2, "pair"
	reply := mustStart(t, request("a", want(8000, 8000), pair))
	if !slices.Equal(reply.First, []uint16{8000, 8001}) {
		t.Fatalf("got %v", reply)
	}
	l := keeperOf(t, 8002)
	if l.ID != "a" || l.Job != "job a" || l.App != "shop" || l.Name != "pair" || l.UID != os.Geteuid() || l.Since.IsZero() || l.Expires.IsZero() {
		t.Errorf("got %+v", l)
	}
	if _, leased := Look(port.UDP, 8002, soon()); !leased {
		t.Error("the UDP port is not leased")
	}
	if _, leased := Look(port.UDP, 8000, soon()); leased {
		t.Error("a UDP port is leased that nobody wants")
	}
	if !bindable(t, 8000, true) || bindable(t, 8000, false) {
		t.Error("a server with SO_REUSEADDR can't listen on a leased port, or one without can")
	}
	if !Release(port.TCP, 8000, soon()) {
		t.Fatal("not released")
	}
	for _, n := range []uint16{8000, 8001, 8002} {
		if _, leased := Look(port.TCP, n, soon()); leased || !bindable(t, n, false) {
			t.Errorf("port %d is still held", n)
		}
	}
}

// A second lease of one port fails, and nothing that it took on the way is left.
func TestAllOrNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	mustStart(t, request("a", want(8005, 8005)))
	taken, err := net.Listen("tcp4", "127.0.0.1:8006")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// A server that has bound and does not listen yet.
	starting, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(starting, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(starting, &unix.SockaddrInet4{Port: 8007, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(starting)
	for _, n := range []uint16{8005, 8006, 8007} {
		reply := mustStart(t, request("b", want(8000, 8003), want(n, n)))
		if reply.Unmet == nil || *reply.Unmet != 1 {
			t.Fatalf("got %+v, but port %d is taken", reply, n)
		}
		if _, leased := Look(port.TCP, 8000, soon()); leased || !bindable(t, 8000, false) {
			t.Error("port 8000 is still held")
		}
	}
	// The one with the least choice comes first.
	if reply := mustStart(t, request("c", want(8000, 8001), want(8000, 8000))); !slices.Equal(reply.First, []uint16{8001, 8000}) {
		t.Errorf("got %+v", reply)
	}
}

// As many callers as there are ports for: each gets its own, at once.
func TestManyCallersForExactlyAllPorts(t *testing.T) {
	if !isolated(t) {
		return
	}
	const callers, each = 64, 3
	last := uint16(20000 + callers*each - 1)
	holders := map[uint16]int{}
	var lock sync.Mutex
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			text, err := json.Marshal(request(strconv.Itoa(i), want(20000, last), want(20000, last), want(20000, last)))
			if err != nil {
				t.Error(err)
				return
			}
			out, err := testbed.TryProgram("caller", testbed.Faults{}, string(text))
			var reply Reply
			if err == nil {
				err = json.Unmarshal(out, &reply)
			}
			if err != nil || len(reply.First) != each {
				t.Errorf("caller %d: %s, %v", i, out, err)
				return
			}
			lock.Lock()
			defer lock.Unlock()
			for _, n := range reply.First {
				if other, taken := holders[n]; taken {
					t.Errorf("port %d is held by %d and %d", n, other, i)
				}
				holders[n] = i
			}
		})
	}
	wait.Wait()
	pids := map[string]int{}
	for n, i := range holders {
		l := keeperOf(t, n)
		if l.ID != strconv.Itoa(i) {
			t.Errorf("port %d is leased to %s, want %d", n, l.ID, i)
		}
		pids[l.ID] = l.PID
	}
	if t.Failed() {
		return
	}
	// Killed keepers give their ports back at once, and nobody else's.
	killed := map[int]bool{}
	for _, i := range rand.Perm(callers)[:16] {
		kill(t, pids[strconv.Itoa(i)])
		killed[i] = true
	}
	for n, i := range holders {
		if _, leased := Look(port.TCP, n, soon()); leased == killed[i] {
			t.Errorf("port %d of keeper %d: leased %t, killed %t", n, i, leased, killed[i])
		}
		if bindable(t, n, false) != killed[i] {
			t.Errorf("port %d of keeper %d: killed %t, and the kernel says otherwise", n, i, killed[i])
		}
	}
}

// Neither connections nor binds to port 0 get a leased port, even if there is hardly
// another. Without a guard they do.
func TestKernelGivesNoLeasedPortAway(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		t.Run(fmt.Sprint(guarded), func(t *testing.T) {
			if isolated(t) {
				askKernelForPorts(t, guarded)
			}
		})
	}
}

func askKernelForPorts(t *testing.T, guarded bool) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40019"), 0o600); err != nil {
		testbed.Missing(t, err.Error())
	}
	w := want(40000, 40019)
	w.Length, w.Guard = 16, guarded
	mustStart(t, request("a", w))
	leased, others := map[string]int{}, map[string]int{}
	note := func(how string, a net.Addr) {
		if a.(*net.TCPAddr).Port < 40016 {
			leased[how]++
		} else {
			others[how]++
		}
	}
	testbed.Serve(t, "tcp4", "127.0.0.1:9000", func(net.Conn) {})
	for range 200 {
		for _, address := range []string{":0", "127.0.0.1:0"} {
			if l, err := net.Listen("tcp4", address); err == nil {
				note("bind", l.Addr())
				l.Close()
			}
		}
		if c, err := net.Dial("tcp4", "127.0.0.1:9000"); err == nil {
			note("connect", c.LocalAddr())
			_ = c.(*net.TCPConn).SetLinger(0) // else the port is in TIME_WAIT
			c.Close()
		}
	}
	for _, how := range []string{"bind", "connect"} {
		if guarded && others[how] == 0 || (leased[how] == 0) != guarded {
			t.Errorf("%s: %d got other ports, and %d leased ones", how, others[how], leased[how])
		}
	}
}

// 8 callers of 100 ports, of which there are 192: one is served, and the others learn
// that there is no room.
func TestCallersForMoreThanThereIs(t *testing.T) {
	if !isolated(t) {
		return
	}
	served := make(chan bool, 8)
	for i := range 8 {
		go func() {
			wants := make([]Want, 100)
			for k := range wants {
				wants[k] = want(20000, 20191)
			}
			reply, err := startKeeper(request(strconv.Itoa(i), wants...))
			if err != nil {
				t.Error(err)
			}
			served <- err == nil && reply.Unmet == nil
		}()
	}
	count := 0
	for range 8 {
		if <-served {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d were served", count)
	}
}

// The same callers, of which each tries until it is served and then gives its ports back:
// nobody starves.
func TestNobodyStarves(t *testing.T) {
	if !isolated(t) {
		return
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			wants := make([]Want, 100)
			for k := range wants {
				wants[k] = want(20000, 20191)
			}
			for deadline := soon().Add(50 * time.Second); time.Now().Before(deadline); {
				reply, err := startKeeper(request(strconv.Itoa(i), wants...))
				if err != nil {
					t.Error(err)
					return
				}
				if reply.Unmet == nil {
					if !Release(port.TCP, reply.First[0], soon()) {
						t.Errorf("%d is not released", i)
					}
					return
				}
			}
			t.Errorf("%d is never served", i)
		})
	}
	wait.Wait()
}

// A context that ends while the keeper is chosen ends it; one that ends later does not.
func TestStartAndItsContext(t *testing.T) {
	if !isolated(t) {
		return
	}
	env := []string{testbed.ProgramEnv + "=keeper"}
	ctx, cancel := context.WithCancel(context.Background())
	if reply, err := Start(ctx, "/proc/self/exe", nil, env, request("a", want(8000, 8000))); err != nil || len(reply.First) != 1 {
		t.Fatal(reply, err)
	}
	cancel()
	if _, err := Start(ctx, "/proc/self/exe", nil, env, request("b", want(8001, 8001))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if l := keeperOf(t, 8000); l.ID != "a" {
		t.Errorf("got %+v", l)
	}
	if _, err := Start(context.Background(), "/proc/self/exe", nil, env, Request{Wants: []Want{{}}}); err == nil || !strings.Contains(err.Error(), "want 0 of the request has no ports") {
		t.Errorf("got %v", err)
	}
	if _, err := Start(context.Background(), "/bin/true", nil, env, request("c", want(8001, 8001))); err == nil {
		t.Error("a program that is no keeper has leased a port")
	}
}

// A CI step ends once nobody has its streams, and the CI's clean-up finds a keeper by
// its environment.
func TestKeeperIsDetached(t *testing.T) {
	if !isolated(t) {
		return
	}
	t.Setenv("RUNNER_TRACKING_ID", "github_1")
	t.Setenv("SECRET", "s3cret")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	inherited, err := unix.Dup(int(w.Fd())) // without FD_CLOEXEC, as a shell leaves it
	if err != nil {
		t.Fatal(err)
	}
	reply, err := startKeeper(request("a", want(8000, 8000)))
	if err != nil || len(reply.First) != 1 {
		t.Fatal(reply, err)
	}
	w.Close()
	unix.Close(inherited)
	_ = r.SetReadDeadline(soon())
	if n, err := r.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the keeper has a descriptor of the process that started it")
	}
	proc := fmt.Sprintf("/proc/%d/", keeperOf(t, 8000).PID)
	for _, fd := range []string{"0", "1", "2"} {
		if to, err := os.Readlink(filepath.Join(proc, "fd", fd)); err != nil || to != "/dev/null" {
			t.Errorf("descriptor %s is %s, %v", fd, to, err)
		}
	}
	if to, err := os.Readlink(proc + "cwd"); err != nil || to != "/" {
		t.Errorf("its directory is %s, %v", to, err)
	}
	env, err := os.ReadFile(proc + "environ")
	if err != nil || !strings.Contains(string(env), "RUNNER_TRACKING_ID=github_1\x00") || strings.Contains(string(env), "s3cret") {
		t.Errorf("its environment is %q, %v", env, err)
	}
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ")")+1:]))
	if pid := strings.Fields(string(stat))[0]; fields[3] != pid {
		t.Errorf("its session is %s, want its own, %s", fields[3], pid)
	}
}

func TestEnvironment(t *testing.T) {
	freestyle := []string{"BUILD_ID=7", "BUILD_NUMBER=7", "BUILD_TAG=jenkins-a-7", "HUDSON_SERVER_COOKIE=c", "JOB_BASE_NAME=a", "JOB_NAME=a"}
	for name, c := range map[string]struct{ env, want []string }{
		"none":      {[]string{"PATH=/bin", "HUDSON_COOKIE=x", "BUILD_ID=7"}, nil},
		"github":    {[]string{"RUNNER_TRACKING_ID=g", "TOKEN=x"}, []string{"RUNNER_TRACKING_ID=g"}},
		"azure":     {[]string{"VSTS_PROCESS_LOOKUP_ID=v"}, []string{"VSTS_PROCESS_LOOKUP_ID=v"}},
		"freestyle": {append([]string{"JENKINS_SERVER_COOKIE=c", "HUDSON_COOKIE=x"}, freestyle...), append([]string{"JENKINS_SERVER_COOKIE=c"}, freestyle...)},
		"pipeline":  {append([]string{"JENKINS_SERVER_COOKIE=durable-1", "JENKINS_NODE_COOKIE=n"}, freestyle...), []string{"JENKINS_NODE_COOKIE=n"}},
	} {
		got := Environment(c.env)
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestNamesStayDifferentAndShort(t *testing.T) {
	seen := map[string]string{}
	for _, text := range []string{"", "job 7", "a\nb", "a?b", "a\x1bb", strings.Repeat("x", 121), strings.Repeat("x", 122), strings.Repeat("é", 200), "\xff", strings.Repeat(`"`, 120)} {
		name := Name(text)
		if len(name) > mostName || strings.ContainsAny(name, "\n\x1b") {
			t.Errorf("%q: %q", text, name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%q and %q are both %q", text, other, name)
		}
		seen[name] = text
	}
	for _, text := range []string{`"`, "<", "é", "\u2028"} {
		worst := Name(strings.Repeat(text, mostName/len(text)))
		now := time.Now()
		if said, err := line(Lease{ID: worst, Job: worst, App: worst, Name: worst, Since: now, Expires: now}); err != nil || len(said) > mostLine {
			t.Errorf("%q: %d bytes, %v", text, len(said), err)
		}
	}
}

// Wants that fit get their ports wherever a job starts to look.
func TestBlocksThatJustFit(t *testing.T) {
	if !isolated(t) {
		return
	}
	const first, last = 8000, 8011
	for at := uint16(first); at <= last; at++ {
		var wants []Want
		for _, length := range []int{1, 5, 5} {
			w := want(at, last)
			if at > first {
				w.Ports = append(w.Ports, port.Range{First: first, Last: at - 1})
			}
			w.Ports = w.Ports.Without(func(p uint16) bool { return int(p)+length-1 > last })
			w.Length = length
			wants = append(wants, w)
		}
		if reply := mustStart(t, request("a", wants...)); reply.Unmet != nil {
			t.Errorf("from %d on, want %d gets nothing", at, *reply.Unmet)
			continue
		}
		for n := uint16(first); n <= last; n++ {
			if _, leased := Look(port.TCP, n, soon()); leased && !Release(port.TCP, n, soon()) {
				t.Fatal("not released")
			}
		}
	}
}
