//go:build !filelocks

package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// mechanismPrograms are the programs of the tests below.
var mechanismPrograms = map[string]func([]string) error{
	"look": func(more []string) error {
		var ports []Held
		for n := range lookedFor {
			ports = append(ports, Held{Protocol: port.UDP, Port: uint16(8000 + n)})
		}
		for _, n := range more {
			ports = append(ports, Held{Protocol: port.TCP, Port: atoi(n)})
		}
		all, err := LookAll(ports, soon())
		if errors.As(err, new(Listed)) {
			fmt.Print("listed: ")
		}
		_, leased := Look(port.UDP, 8000, soon())
		fmt.Println(len(all), leased, err)
		return nil
	},
	"squatter": func(args []string) error {
		fd, err := bindName(lockName(port.TCP, atoi(args[0])))
		if err == nil && args[1] == "listen" {
			err = unix.Listen(fd, 128)
		}
		if err != nil {
			return err
		}
		fmt.Println("ready")
		select {}
	},
}

func TestList(t *testing.T) {
	if !isolated(t) {
		return
	}
	both := want(8000, 8000)
	both.Protocols = []port.Protocol{port.TCP, port.UDP}
	mustStart(t, request("a", both, want(9000, 9000)))
	mustStart(t, request("b", want(8001, 8001)))
	testbed.StartProgram(t, "squatter", testbed.Faults{}, "8002", "bind") // no lease yet
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("@portcheck/1/tcp", 0o700); err != nil {
		t.Fatal(err)
	}
	// Python takes this for the path of a file, and /proc/net/unix shows it as a lock's.
	testbed.Python(t, "import socket; s = socket.socket(socket.AF_UNIX); s.bind('@portcheck/1/tcp/8003'); s.listen(); print('ready'); s.accept()")
	all, err := List(soon())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range all {
		got = append(got, fmt.Sprintf("%s %d %s", h.Protocol, h.Port, h.ID))
	}
	if want := []string{"tcp 8000 a", "tcp 8001 b", "tcp 9000 a", "udp 8000 a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHostileHoldersOfLocks(t *testing.T) {
	if !isolated(t) {
		return
	}
	answer := func(n uint16, do func(*net.UnixConn)) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: "@" + lockName(port.TCP, n)[1:]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.AcceptUnix()
				if err != nil {
					return
				}
				go do(c)
			}
		}()
	}
	answer(8001, func(c *net.UnixConn) { _, _ = c.Write([]byte("\x1b[31m garbage \xff\n")); c.Close() })
	answer(8002, func(c *net.UnixConn) {
		for {
			if _, err := c.Write([]byte(strings.Repeat("x", 4096))); err != nil {
				return
			}
		}
	})
	answer(8003, func(*net.UnixConn) {}) // silent
	answer(8004, func(c *net.UnixConn) { c.Close() })
	answer(8005, func(c *net.UnixConn) {
		_, _ = c.Write([]byte(`{"id":"` + strings.Repeat("y", 900) + `","job":"\u001b[2J\n","since":"no"}` + "\n"))
	})
	full, err := bindName(lockName(port.TCP, 8006))
	if err == nil {
		err = unix.Listen(full, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = connect(lockName(port.TCP, 8006))
	}
	mustStart(t, request("stopped", want(8007, 8007)))
	pid := keeperOf(t, 8007).PID
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for n := uint16(8001); n <= 8007; n++ {
		start := time.Now()
		l, leased := Look(port.TCP, n, time.Now().Add(time.Second/5))
		if took := time.Since(start); !leased || took > time.Second || l.ID != "" || l.Job != "" {
			t.Errorf("port %d: leased %t after %s, %+v", n, leased, took, l)
		}
	}
	var among []Held // of free ports
	for n := uint16(7990); n <= 8020; n++ {
		among = append(among, Held{Protocol: port.TCP, Port: n})
	}
	var leased []uint16
	answered, err := LookAll(among, time.Now().Add(time.Second/5))
	if err != nil {
		t.Error(err)
	}
	for _, h := range answered {
		leased = append(leased, h.Port)
	}
	if want := []uint16{8001, 8002, 8003, 8004, 8005, 8006, 8007}; !slices.Equal(leased, want) {
		t.Errorf("leased among free ports: %d, want %d", leased, want)
	}
	if l, _ := Look(port.TCP, 8007, time.Now()); l.PID != pid {
		t.Errorf("the stopped keeper is %d, want %d", l.PID, pid)
	}
	start := time.Now()
	if Release(port.TCP, 8007, start.Add(time.Second/5)) || time.Since(start) > time.Second {
		t.Error("a stopped keeper was released, or held its caller up")
	}
	// Its ports stay its own, and others go on.
	if reply := mustStart(t, request("next", want(8001, 8008))); !slices.Equal(reply.First, []uint16{8008}) {
		t.Errorf("got %+v", reply)
	}
	if reply := mustStart(t, request("none", want(8001, 8007))); reply.Unmet == nil {
		t.Errorf("got %+v, but all are taken", reply)
	}
}

// Clients of a keeper that send nothing, garbage or too much neither end it nor keep
// others from it.
func TestHostileClientsOfKeepers(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := request("a", want(8000, 8000))
	r.UntilExit = os.Getpid()
	mustStart(t, r)
	for i := range 200 {
		c, err := net.Dial("unix", "@"+lockName(port.TCP, 8000)[1:])
		if err != nil {
			continue // the backlog is full for a moment
		}
		defer c.Close()
		_ = c.SetWriteDeadline(soon())
		_, _ = c.Write([]byte([]string{"", "\n", `{"release":`, `{"release":1}` + "\n", strings.Repeat("[", 5000) + "\n"}[i%5])) // it may hang up
	}
	if l := keeperOf(t, 8000); l.ID != "a" {
		t.Errorf("got %+v", l)
	}
	if !Release(port.TCP, 8000, soon()) {
		t.Error("not released")
	}
}

// A client that has to go for another one, in the moment in which it sends, does not end
// the lease.
func TestClientsThatHaveToGo(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := request("a", want(8000, 8000))
	r.UntilExit = os.Getpid()
	mustStart(t, r)
	pid := keeperOf(t, 8000).PID
	dial := func() net.Conn {
		c, err := net.Dial("unix", "@"+lockName(port.TCP, 8000)[1:])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var clients []net.Conn
	for range mostClients {
		c := dial()
		if _, err := c.Read(make([]byte, mostLine)); err != nil { // it is accepted
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := soon(); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || time.Now().After(deadline) {
			t.Fatal("the keeper does not stop", err)
		}
		if strings.Contains(string(stat), ") T ") {
			break
		}
	}
	dial() // for which the first has to go
	if _, err := clients[0].Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if l := keeperOf(t, 8000); l.ID != "a" {
		t.Errorf("got %+v", l)
	}
}

func TestUsersOfOneHost(t *testing.T) {
	testbed.NeedUsers(t)
	if !isolated(t) {
		return
	}
	mustStart(t, request("root", want(8000, 8000)))
	if out := testbed.RunProgram(t, "release", testbed.Faults{UID: 1234}, "8000"); string(out) != "false\n" {
		t.Errorf("another user has released root's lease: %s", out)
	}
	if keeperOf(t, 8000).ID != "root" {
		t.Error("the lease of root is gone")
	}
	testbed.StartProgram(t, "squatter", testbed.Faults{UID: 1234}, "80", "listen")
	if l, leased := Look(port.TCP, 80, time.Now().Add(time.Second/5)); leased {
		t.Errorf("a user has leased port 80: %+v", l)
	}
	text, err := json.Marshal(request("user", want(8001, 8001)))
	if err != nil {
		t.Fatal(err)
	}
	testbed.RunProgram(t, "caller", testbed.Faults{UID: 1234}, string(text))
	if l := keeperOf(t, 8001); l.UID != 1234 {
		t.Errorf("got %+v, want the user 1234", l)
	}
	if reply := mustStart(t, request("b", want(8000, 8001))); reply.Unmet == nil {
		t.Errorf("root got %+v", reply)
	}
	// Another user, and root of a container on the host's network.
	for name, others := range map[string]testbed.Faults{"user": {UID: 1235}, "container": {OwnPIDs: true}, "user of a container": {OwnPIDs: true, UID: 1235}} {
		text, err := json.Marshal(request(name, want(8000, 8001)))
		if err != nil {
			t.Fatal(err)
		}
		if out := testbed.RunProgram(t, "caller", others, string(text)); !strings.Contains(string(out), `"unmet":0`) {
			t.Errorf("the %s gets %s", name, out)
		}
		if out := testbed.RunProgram(t, "release", others, "8001"); (string(out) == "true\n") != (others.UID == 0) {
			t.Errorf("the %s releases the lease of 1234: %s", name, out)
		} else if others.UID == 0 { // root may
			text, err := json.Marshal(request("user", want(8001, 8001)))
			if err != nil {
				t.Fatal(err)
			}
			testbed.RunProgram(t, "caller", testbed.Faults{UID: 1234}, string(text))
		}
	}
	if out := testbed.RunProgram(t, "release", testbed.Faults{UID: 1234}, "8001"); string(out) != "true\n" {
		t.Errorf("the user can't release the own lease: %s", out)
	}
}

// A name that is bound for good without listening is no lease, holds nobody up for
// long, and is not taken.
func TestNamesThatNeverListen(t *testing.T) {
	if !isolated(t) {
		return
	}
	testbed.StartProgram(t, "squatter", testbed.Faults{}, "8000", "bind")
	if _, leased := Look(port.TCP, 8000, soon()); leased {
		t.Error("leased")
	}
	start := time.Now()
	if reply := mustStart(t, request("a", want(8000, 8000))); reply.Unmet == nil || time.Since(start) > 5*time.Second {
		t.Errorf("got %+v after %s", reply, time.Since(start))
	}
	if reply := mustStart(t, request("a", want(8000, 8001))); !slices.Equal(reply.First, []uint16{8001}) {
		t.Errorf("got %+v", reply)
	}
}

func TestKeeperEnds(t *testing.T) {
	if !isolated(t) {
		return
	}
	child, _ := testbed.StartProgram(t, "squatter", testbed.Faults{}, "9000", "bind")
	until := request("until", want(8000, 8000))
	until.UntilExit = child.Process.Pid
	mustStart(t, until)
	short := request("short", want(8001, 8001))
	short.Expires = time.Now().Add(time.Second)
	mustStart(t, short)
	past := request("past", want(8002, 8002))
	past.Expires = time.Now()
	mustStart(t, past)
	for n, end := range map[uint16]func(){8000: func() { _ = child.Process.Kill() }, 8001: func() {}, 8002: func() {}} {
		c, err := net.Dial("unix", "@"+lockName(port.TCP, n)[1:])
		end()
		if err != nil {
			continue // it has ended
		}
		_ = c.SetReadDeadline(soon())
		for err == nil {
			_, err = c.Read(make([]byte, mostLine))
		}
		c.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the keeper of port %d does not end", n)
		}
	}
}

// Anybody may connect to the lock of a job. That takes a bounded number of descriptors, and
// who waits for the lock gets it when it ends.
func TestConnectionsToAJob(t *testing.T) {
	if !isolated(t) {
		return
	}
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if _, ok := LockJob(t.Context(), "shop", "first", soon()); !ok {
		t.Fatal("not locked")
	}
	before := open()
	got := make(chan bool)
	go func() {
		_, ok := LockJob(t.Context(), "shop", "second", time.Now().Add(time.Minute))
		got <- ok
	}()
	for range 4 * mostWaiting {
		c, err := net.Dial("unix", fmt.Sprintf("@%sjob/%d/%s", lockPrefix[1:], os.Geteuid(), jobHash("shop")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if more := open() - before; more > mostWaiting+16 {
		t.Errorf("%d descriptors more", more)
	}
	select {
	case ok := <-got:
		t.Fatalf("another one got the lock: %t", ok)
	default:
	}
	UnlockJob("first")
	if !<-got {
		t.Error("who waits did not get the lock")
	}
	UnlockJob("second")
}

// lookedFor is how many ports the program "look" asks for. Half of them are leased.
const lookedFor = 400

// What can't be asked for is not taken for free: a process with few descriptors asks for
// one port after the other, and one without AF_UNIX finds in the kernel's list which ports
// are leased. Without that, and for a port that not all may lease, it gets an error.
func TestLeasesThatCantBeAskedFor(t *testing.T) {
	if !isolated(t) {
		return
	}
	mustStart(t, request("a", wantUDP(8000, 8000, lookedFor/2, false), want(80, 80)))
	files := func(n int) testbed.Faults { return testbed.Faults{MoreFiles: &n} }
	deny := func(call uintptr, arg int, errno syscall.Errno) testbed.Faults {
		return testbed.Faults{Deny: []testbed.Denial{{Call: call, Arg: arg, Errno: errno}}}
	}
	noUnix := deny(unix.SYS_SOCKET, unix.AF_UNIX, syscall.EAFNOSUPPORT)
	noList := noUnix
	noList.HideProc = true
	for name, c := range map[string]struct {
		faults testbed.Faults
		more   string // a TCP port that is asked for as well
		want   string
	}{
		"nothing denied":        {testbed.Faults{}, "80", "201 true <nil>"},
		"100 descriptors":       {files(100), "80", "201 true <nil>"},
		"10 descriptors":        {files(10), "80", "201 true <nil>"},
		"no descriptor":         {files(0), "8080", "0 true socket: too many open files; raise the limit of open files ('ulimit -n')"},
		"no AF_UNIX":            {noUnix, "8080", "listed: 200 true socket: address family not supported by protocol; allow portcheck AF_UNIX sockets"},
		"AF_UNIX is denied":     {deny(unix.SYS_SOCKET, unix.AF_UNIX, syscall.EPERM), "81", "listed: 200 true socket: operation not permitted; allow portcheck AF_UNIX sockets"},
		"connects forbidden":    {deny(unix.SYS_CONNECT, -1, syscall.EACCES), "8080", "listed: 200 true connect: permission denied; allow portcheck connections"},
		"a port of root's":      {noUnix, "80", "200 true socket: address family not supported by protocol; allow portcheck AF_UNIX sockets"},
		"no list of the kernel": {noList, "8080", "0 true socket: address family not supported by protocol; allow portcheck AF_UNIX sockets"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.faults.HideProc {
				testbed.NeedRoot(t)
			}
			if got := strings.TrimSpace(string(testbed.RunProgram(t, "look", c.faults, c.more))); !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Where nothing is leased, no lock has to be asked.
func TestNoLeasesWithoutUnixSockets(t *testing.T) {
	if !isolated(t) {
		return
	}
	deny := testbed.Denial{Call: unix.SYS_SOCKET, Arg: unix.AF_UNIX, Errno: syscall.EAFNOSUPPORT}
	got := strings.TrimSpace(string(testbed.RunProgram(t, "look", testbed.Faults{Deny: []testbed.Denial{deny}}, "80")))
	if want := "0 false <nil>"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
