package host

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestHolders probes port 8080 while it is held in many ways, and checks the
// outcome of each bind, the sockets that overlap, and their holders.
func TestHolders(t *testing.T) {
	t.Parallel()
	self := func(*testing.T) []int { return []int{os.Getpid()} }
	child := func(socks ...sock) func(*testing.T) []int {
		return func(t *testing.T) []int { return []int{holder(t, socks...).Process.Pid} }
	}
	type answer struct{ ask, outcomes, sockets string }
	free := func(ask string) answer { return answer{ask, "ok", ""} }
	for _, c := range []struct {
		name    string
		hold    func(*testing.T) []int // returns the holders of the sockets that have an inode
		answers []answer
	}{
		{"not held", func(*testing.T) []int { return nil }, []answer{
			free("tcp any 8080"), free("udp any 8080"), free("tcp any6 8080"), free("tcp ::1 8080 exclusive"),
			{"tcp loopback 8080-8082", "ok ok ok ok ok ok", ""},
			{"tcp any,127.0.0.1 8080 exclusive", "ok in-use", ""}, // they exclude each other
			{"tcp any4,any6 8080", "ok ok", ""},
			{"tcp 192.0.2.1 8080", "no-address", ""},
			{"tcp 2001:db8::1 8080", "no-address", ""},
		}},
		{"python's http.server", func(t *testing.T) []int {
			cmd, _ := testbed.Python(t, `
import http.server
s = http.server.HTTPServer(("127.0.0.1", 8080), http.server.SimpleHTTPRequestHandler)
print("ready")
s.serve_forever()`)
			return []int{cmd.Process.Pid}
		}, []answer{
			{"tcp any 8080", "in-use", "127.0.0.1:8080 listen"},
			{"tcp any 8080 exclusive", "in-use", "127.0.0.1:8080 listen"},
			{"tcp any4 8080", "in-use", "127.0.0.1:8080 listen"},
			{"tcp loopback 8080", "in-use ok", "127.0.0.1:8080 listen"},
			{"tcp 127.0.0.1 8079-8081", "ok in-use ok", "127.0.0.1:8080 listen"},
			{"tcp 127.0.0.1 8080 look", "not-tried", "127.0.0.1:8080 listen"},
			free("tcp 127.0.0.2 8080"), free("tcp any6 8080"), free("tcp ::1 8080"), free("udp any 8080"),
		}},
		{"node", func(t *testing.T) []int {
			cmd, _ := testbed.Start(t, "node", "-e", `require("http").createServer().listen(8080, () => console.log("ready"))`)
			return []int{cmd.Process.Pid}
		}, []answer{
			{"tcp any 8080", "in-use", "[::]:8080 listen"},
			{"tcp 127.0.0.1 8080", "in-use", "[::]:8080 listen"},
			{"tcp ::1 8080", "in-use", "[::]:8080 listen"},
			free("udp any 8080"),
		}},
		{"UDP", child(udpSocket("0.0.0.0:8080")), []answer{
			{"udp any 8080", "in-use", "0.0.0.0:8080 listen"},
			{"udp 127.0.0.1 8080", "in-use", "0.0.0.0:8080 listen"},
			free("tcp any 8080"), free("udp ::1 8080"), free("udp any6 8080"),
		}},
		{"UDP connected", func(t *testing.T) []int {
			fd := udpSocket("127.0.0.1:8080").hold(t)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				t.Fatal(err)
			}
			return self(t)
		}, []answer{{"udp any 8080", "in-use", "127.0.0.1:8080 connected"}, free("udp 127.0.0.2 8080")}},
		{"IPv6 listener on ::1", child(tcpListener("[::1]:8080")), []answer{
			{"tcp any 8080", "in-use", "[::1]:8080 listen"},
			{"tcp any6 8080", "in-use", "[::1]:8080 listen"},
			{"tcp loopback 8080", "ok in-use", "[::1]:8080 listen"},
			free("tcp any4 8080"), free("tcp 127.0.0.1 8080"), free("udp any 8080"),
		}},
		{"bound, not listening", child(sock{Protocol: port.TCP, Addr: "127.0.0.1:8080"}), []answer{
			{"tcp any 8080", "in-use", "127.0.0.1:8080 bound"},
			{"tcp 127.0.0.1 8080 exclusive", "in-use", "127.0.0.1:8080 bound"},
			{"tcp any 8080 look", "not-tried", "127.0.0.1:8080 bound"},
			free("tcp 127.0.0.2 8080"), free("udp 127.0.0.1 8080"),
		}},
		{"bound with SO_REUSEADDR, not listening", child(sock{Protocol: port.TCP, Addr: "127.0.0.1:8080", Reuse: true}), []answer{
			{"tcp any 8080", "ok", "127.0.0.1:8080 bound"}, // an app could still bind: claimed
			{"tcp 127.0.0.1 8080 exclusive", "in-use", "127.0.0.1:8080 bound"},
		}},
		{"127.0.0.2 alone", child(tcpListener("127.0.0.2:8080")), []answer{
			{"tcp any 8080", "in-use", "127.0.0.2:8080 listen"},
			{"tcp 127.0.0.2 8080", "in-use", "127.0.0.2:8080 listen"},
			free("tcp 127.0.0.1 8080"),
			{"tcp loopback 8080", "ok ok", ""},
		}},
		{"shared by a parent and its forked child", func(t *testing.T) []int {
			cmd, line := testbed.Python(t, `
import os, socket, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
pid = os.fork()
if pid == 0:
    time.sleep(600)
files = [open("/dev/null") for _ in range(32)] # so that the child is examined first
print(pid)
time.sleep(600)`)
			forked, err := strconv.Atoi(line)
			if err != nil {
				t.Fatal(err)
			}
			return []int{cmd.Process.Pid, forked}
		}, []answer{{"tcp any 8080", "in-use", "127.0.0.1:8080 listen"}}},
		{"one socket open twice in one process", func(t *testing.T) []int {
			fd, err := unix.FcntlInt(uintptr(tcpListener("127.0.0.1:8080").hold(t)), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeNow(t, fd) })
			return self(t)
		}, []answer{{"tcp any 8080", "in-use", "127.0.0.1:8080 listen"}}},
		{"dual stack", child(tcpListener("[::]:8080")), []answer{
			{"tcp any 8080", "in-use", "[::]:8080 listen"},
			{"tcp any4 8080", "in-use", "[::]:8080 listen"},
			{"tcp any6 8080", "in-use", "[::]:8080 listen"},
			{"tcp 127.0.0.2 8080", "in-use", "[::]:8080 listen"},
			{"tcp loopback 8080", "in-use in-use", "[::]:8080 listen"},
		}},
		{"V6ONLY", child(sock{Protocol: port.TCP, Addr: "[::]:8080", Reuse: true, V6Only: true, Listen: true}), []answer{
			{"tcp any 8080", "in-use", "[::]:8080 listen v6only"},
			{"tcp any6 8080", "in-use", "[::]:8080 listen v6only"},
			{"tcp ::1 8080", "in-use", "[::]:8080 listen v6only"},
			free("tcp any4 8080"), free("tcp 127.0.0.1 8080"),
		}},
		{"both families apart", child(
			sock{Protocol: port.TCP, Addr: "[::]:8080", V6Only: true, Listen: true}, tcpListener("0.0.0.0:8080"),
		), []answer{
			{"tcp any 8080", "in-use", "0.0.0.0:8080 listen, [::]:8080 listen v6only"},
			{"tcp any4,any6 8080", "in-use in-use", "0.0.0.0:8080 listen, [::]:8080 listen v6only"},
		}},
		{"v4-mapped", child(tcpListener("[::ffff:127.0.0.1]:8080")), []answer{
			{"tcp any 8080", "in-use", "127.0.0.1:8080 listen"},
			{"tcp 127.0.0.1 8080", "in-use", "127.0.0.1:8080 listen"},
			free("tcp ::1 8080"), free("tcp 127.0.0.2 8080"), free("tcp any6 8080"),
		}},
		{"outgoing connection from the port", func(t *testing.T) []int {
			tcpListener("127.0.0.1:9000").hold(t)
			connect(t, "127.0.0.1:8080", false, "127.0.0.1:9000")
			return self(t)
		}, []answer{
			{"tcp any 8080", "in-use", "127.0.0.1:8080 connected"},
			{"tcp 127.0.0.1 8080 exclusive", "in-use", "127.0.0.1:8080 connected"},
			free("tcp 127.0.0.2 8080"),
		}},
		{"accepted connection, its listener closed, no SO_REUSEADDR", func(t *testing.T) []int {
			acceptedOnly(t, false)
			return self(t)
		}, []answer{
			{"tcp any 8080", "in-use", "127.0.0.1:8080 connected"},
			{"tcp any 8080 exclusive", "in-use", "127.0.0.1:8080 connected"},
		}},
		{"accepted connection, its listener closed, SO_REUSEADDR", func(t *testing.T) []int {
			acceptedOnly(t, true)
			return self(t)
		}, []answer{
			free("tcp any 8080"), // no socket holds it for good, so the table is not read again
			{"tcp any 8080 exclusive", "in-use", "127.0.0.1:8080 connected"},
		}},
		{"TIME_WAIT, SO_REUSEADDR", func(t *testing.T) []int {
			timeWait(t, true)
			return nil
		}, []answer{
			free("tcp any 8080"),
			{"tcp any 8080 exclusive", "in-use", "127.0.0.1:8080 time-wait"},
			free("tcp 127.0.0.2 8080 exclusive"),
		}},
		{"TIME_WAIT, no SO_REUSEADDR", func(t *testing.T) []int {
			timeWait(t, false)
			return nil
		}, []answer{
			{"tcp any 8080", "in-use", "127.0.0.1:8080 time-wait"},
			{"tcp any 8080 exclusive", "in-use", "127.0.0.1:8080 time-wait"},
		}},
		{"SO_REUSEPORT of the same user", child(sock{Protocol: port.TCP, Addr: "127.0.0.1:8080", ReusePort: true, Listen: true}), []answer{
			{"tcp any 8080", "in-use", "127.0.0.1:8080 listen"},
			{"tcp 127.0.0.1 8080 shared", "not-tried", "127.0.0.1:8080 listen"},
			{"tcp 127.0.0.2 8080 shared", "ok", ""},
		}},
		{"UDP with SO_REUSEADDR", child(sock{Protocol: port.UDP, Addr: "127.0.0.1:8080", Reuse: true}), []answer{
			{"udp any 8080", "in-use", "127.0.0.1:8080 listen"},
			{"udp any 8080 reuse", "not-tried", "127.0.0.1:8080 listen"},
		}},
		{"bound to a device", child(sock{Protocol: port.TCP, Addr: "0.0.0.0:8080", Device: "lo", Listen: true}), []answer{
			{"tcp any 8080", "in-use", "0.0.0.0:8080%lo listen"},
			{"tcp 127.0.0.1 8080", "in-use", "0.0.0.0:8080%lo listen"},
			free("tcp ::1 8080"), free("udp any 8080"),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !inParallel(t) {
				return
			}
			pids := c.hold(t)
			slices.Sort(pids)
			for _, a := range c.answers {
				facts := probeHere(t, tries(t, a.ask))
				if got := outcomes(facts.Tried[0].Attempts); got != a.outcomes {
					t.Errorf("%s: %s, want %s", a.ask, got, a.outcomes)
				}
				if got := describe(facts.Sockets); got != a.sockets {
					t.Errorf("%s: sockets %q, want %q", a.ask, got, a.sockets)
				}
				if !facts.Tried[0].TableOK {
					t.Errorf("%s: no table", a.ask)
				}
				for _, s := range facts.Sockets {
					want := pids
					if s.Inode == 0 {
						want = nil
					}
					if got := pidsOf(s); !slices.Equal(got, want) {
						t.Errorf("%s: %s is held by %v, want %v", a.ask, describe([]Socket{s}), got, want)
					}
					if !slices.IsSortedFunc(s.Holders, func(a, b Holder) int { return a.PID - b.PID }) {
						t.Errorf("%s: the holders of %s are not in order: %+v", a.ask, describe([]Socket{s}), s.Holders)
					}
					if os.Geteuid() == 0 && !s.Complete {
						t.Errorf("%s: the holders of %s are incomplete", a.ask, describe([]Socket{s}))
					}
				}
				if len(facts.Gaps) > 0 {
					t.Errorf("%s: gaps %+v", a.ask, facts.Gaps)
				}
			}
		})
	}
}

// acceptedOnly leaves one side of a connection open on port 8080.
func acceptedOnly(t *testing.T, reuse bool) {
	t.Helper()
	listener := sock{Protocol: port.TCP, Addr: "127.0.0.1:8080", Reuse: reuse, Listen: true}.hold(t)
	connect(t, "", false, "127.0.0.1:8080")
	accept(t, listener)
	closeNow(t, listener)
}

// timeWait leaves nothing but a TIME_WAIT on port 8080.
func timeWait(t *testing.T, reuse bool) {
	t.Helper()
	listener := sock{Protocol: port.TCP, Addr: "127.0.0.1:8080", Reuse: reuse, Listen: true}.hold(t)
	client := connect(t, "", false, "127.0.0.1:8080")
	server := accept(t, listener)
	closeNow(t, listener)
	closeNow(t, server) // the side that closes first waits
	var b [1]byte
	if n, err := unix.Read(client, b[:]); n != 0 || err != nil {
		t.Fatalf("read: %d, %v", n, err)
	}
	closeNow(t, client)
	// The client's last acknowledgement is on its way for a moment.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile("/proc/self/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), ":1F90 0100007F:") && strings.Contains(string(text), " 06 ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no TIME_WAIT:\n%s", text)
		}
	}
}

// Listeners on different devices have different zones, and a zone may be a
// number.
func TestLinkLocal(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	addAddress(t, "fe80::5/64")
	pid := holder(t, sock{Protocol: port.TCP, Addr: "[::]:8080", V6Only: true, Device: "lo", Listen: true}).Process.Pid
	for _, spec := range []string{"tcp fe80::5%lo 8080", "tcp fe80::5%1 8080"} {
		facts := probeHere(t, tries(t, spec))
		if got := outcomes(facts.Tried[0].Attempts); got != "in-use" {
			t.Errorf("%s: %s", spec, got)
		}
		if s := onlySocket(t, facts); !slices.Equal(pidsOf(s), []int{pid}) || s.Device != "lo" {
			t.Errorf("%s: %+v", spec, s)
		}
	}
	for spec, want := range map[string]string{"tcp fe80::5%lo 8081": "ok", "tcp fe80::5%nope0 8080": "no-address", "tcp fe80::6%lo 8081": "no-address"} {
		if got := outcomes(probeHere(t, tries(t, spec)).Tried[0].Attempts); got != want {
			t.Errorf("%s: %s, want %s", spec, got, want)
		}
	}
}

func addAddress(t *testing.T, address string) {
	t.Helper()
	testbed.Start(t, "sh", "-c", fmt.Sprintf("ip addr add %s dev lo nodad && echo ready", address))
}

// A batch answers all tries, and has each socket once.
func TestBatch(t *testing.T) {
	if !inParallel(t) {
		return
	}
	pid := holder(t, tcpListener("127.0.0.1:8080"), udpSocket("[::1]:8081"), tcpListener("127.0.0.1:9999")).Process.Pid
	facts := probeHere(t, tries(t, "tcp any 8080", "tcp any4 8080", "udp any 8081", "tcp any 8082", "udp loopback 8080-8082"))
	var got []string
	for _, tried := range facts.Tried {
		got = append(got, outcomes(tried.Attempts))
	}
	if want := []string{"in-use", "in-use", "in-use", "ok", "ok ok ok in-use ok ok"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen, [::1]:8081 listen"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
	for _, s := range facts.Sockets {
		if !slices.Equal(pidsOf(s), []int{pid}) {
			t.Errorf("%s is held by %v, want %d", describe([]Socket{s}), pidsOf(s), pid)
		}
	}
}

// One process that listens on two addresses is one holder of each.
func TestHolderOfTwoAddresses(t *testing.T) {
	if !inParallel(t) {
		return
	}
	pid := holder(t, tcpListener("127.0.0.1:8080"), tcpListener("[::1]:8080")).Process.Pid
	for _, owners := range []bool{false, true} {
		req := tries(t, "tcp loopback 8080", "tcp any 8080")
		req.Tries[0].Owners = owners
		facts := probeHere(t, req)
		if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen, [::1]:8080 listen"; got != want {
			t.Errorf("owners %t: sockets %s, want %s", owners, got, want)
		}
		for _, s := range facts.Sockets {
			if !slices.Equal(pidsOf(s), []int{pid}) {
				t.Errorf("owners %t: %s is held by %v, want %d", owners, describe([]Socket{s}), pidsOf(s), pid)
			}
		}
	}
}

// A socket without an inode has no owner and no holder, and is complete. The
// listener beside it has both.
func TestSocketWithoutInode(t *testing.T) {
	if !inParallel(t) {
		return
	}
	timeWait(t, true)
	pid := holder(t, tcpListener("127.0.0.1:8080")).Process.Pid
	req := tries(t, "tcp any 8080 exclusive")
	req.Tries[0].Owners = true
	facts := probeHere(t, req)
	if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen, 127.0.0.1:8080 time-wait"; got != want {
		t.Fatalf("sockets %s, want %s", got, want)
	}
	for _, s := range facts.Sockets {
		var want []int
		if s.State == Listen {
			want = []int{pid}
		}
		if !slices.Equal(pidsOf(s), want) || !s.Complete || (s.UID == nil) != (s.State == TimeWait) || (s.Inode == 0) != (s.State == TimeWait) {
			t.Errorf("%s", encode(s))
		}
	}
	if len(facts.Gaps) > 0 {
		t.Errorf("gaps %+v", facts.Gaps)
	}
}

// A busy server has one entry for its listener and, where every holder matters,
// one for its connections.
func TestConnectionsAreMerged(t *testing.T) {
	if !inParallel(t) {
		return
	}
	listener := tcpListener("127.0.0.1:8080").hold(t)
	for range 20 {
		connect(t, "", false, "127.0.0.1:8080")
		accept(t, listener)
	}
	connect(t, "", false, "127.0.0.1:8080") // not accepted, so no process holds its other end
	req := tries(t, "tcp any 8080 exclusive")
	if got, want := describe(probeHere(t, req).Sockets), "127.0.0.1:8080 listen"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
	req.Tries[0].Owners = true
	if got, want := describe(probeHere(t, req).Sockets), "127.0.0.1:8080 connected, 127.0.0.1:8080 connected, 127.0.0.1:8080 listen"; got != want {
		t.Errorf("with owners: sockets %s, want %s", got, want)
	}
}

// The details of a holder are those in /proc.
func TestHolderDetails(t *testing.T) {
	if !inParallel(t) {
		return
	}
	before := time.Now()
	name := "a) S 1 (\n::x::"
	cmd, _ := testbed.Python(t, `
import ctypes, socket, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
print("ready")
time.sleep(600)`, name)
	req := tries(t, "tcp any 8080")
	holders := onlySocket(t, probeHere(t, req)).Holders
	if len(holders) != 1 {
		t.Fatalf("%+v", holders)
	}
	h := holders[0]
	if h.PID != cmd.Process.Pid || h.Process != name || h.UID != os.Geteuid() || len(h.Unseen) > 0 {
		t.Errorf("%+v", h)
	}
	if u, err := userName(os.Geteuid()); err != nil || h.User != u {
		t.Errorf("user %q, want %q (%v)", h.User, u, err)
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid)); err != nil || h.Executable != exe {
		t.Errorf("executable %q, want %q (%v)", h.Executable, exe, err)
	}
	// The boot time is known to the second.
	if h.Started.Before(before.Add(-3*time.Second)) || h.Started.After(time.Now().Add(3*time.Second)) {
		t.Errorf("started %s, want about %s", h.Started, before)
	}
	if h.Command != nil {
		t.Errorf("command %q without ShowCommand", h.Command)
	}
	req.ShowCommand = true
	h = onlySocket(t, probeHere(t, req)).Holders[0]
	if n := len(h.Command); n < 4 || h.Command[n-1] != name {
		t.Errorf("command %q", h.Command)
	}
}

// The path of a binary that was removed since it started is still found.
func TestReplacedExecutable(t *testing.T) {
	if !inParallel(t) {
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	asHold := func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), testbed.ProgramEnv+"=hold") }
	testbed.StartWith(t, asHold, path, encode([]sock{tcpListener("127.0.0.1:8080")}))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	h := onlySocket(t, probeHere(t, tries(t, "tcp any 8080"))).Holders
	if len(h) != 1 || h[0].Executable != path || h[0].Process != "server" {
		t.Errorf("%+v, want %s", h, path)
	}
}

// A process still holds its sockets after its main thread has ended. Only root
// can read that the directory of the thread's descriptors is empty.
func TestMainThreadEnded(t *testing.T) {
	t.Parallel()
	for name, uid := range map[string]int{"root": 0, "another user": nobody} {
		t.Run(name, func(t *testing.T) {
			if !inParallel(t) {
				return
			}
			as := func(*exec.Cmd) {}
			if uid != 0 {
				testbed.NeedUsers(t)
				as = func(cmd *exec.Cmd) {
					cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
				}
			}
			cmd, _ := testbed.StartWith(t, as, "/usr/bin/python3", "-c", `
import ctypes, socket, threading, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
main = threading.main_thread().native_id
def run():
    while open("/proc/self/task/%d/stat" % main).read().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.005)
    print("ready", flush=True)
    time.sleep(600)
threading.Thread(target=run).start()
ctypes.CDLL(None).pthread_exit(None)`)
			req := tries(t, "tcp any 8080")
			req.ShowCommand = true
			s := onlySocket(t, probeWith(t, testbed.Faults{UID: uid}, req))
			if !slices.Equal(pidsOf(s), []int{cmd.Process.Pid}) {
				t.Fatalf("held by %v, want %d", pidsOf(s), cmd.Process.Pid)
			}
			if s.Holders[0].Command != nil { // the kernel has dropped it with the main thread
				t.Errorf("command %q", s.Holders[0].Command)
			}
		})
	}
}

// Sockets that the directory of a process's descriptors does not list: one is registered
// with an io_uring and its descriptor is closed, and one is that of a thread with
// descriptors of its own.
func TestUnlistedDescriptors(t *testing.T) {
	for name, script := range map[string]string{
		"io_uring": `
SETUP, REGISTER, REGISTER_FILES = 425, 427, 2
def hide(s):
    ring = libc.syscall(SETUP, 4, ctypes.create_string_buffer(120))
    if ring < 0 or libc.syscall(REGISTER, ring, REGISTER_FILES, (ctypes.c_int * 1)(s.fileno()), 1) < 0:
        raise OSError(ctypes.get_errno(), "io_uring")
    s.close()
s = listen()
hide(s)
print("ready", flush=True)
time.sleep(600)`,
		"thread": `
def run():
    CLONE_FILES = 0x400
    if libc.unshare(CLONE_FILES) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    s = listen()
    print("ready", flush=True)
    time.sleep(600)
threading.Thread(target=run, daemon=True).start()
time.sleep(600)`,
	} {
		t.Run(name, func(t *testing.T) {
			if !inParallel(t) {
				return
			}
			cmd, _ := testbed.StartWith(t, func(*exec.Cmd) {}, "/usr/bin/python3", "-c", `
import ctypes, socket, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def listen():
    s = socket.socket()
    s.bind(("127.0.0.1", 8080))
    s.listen()
    return s
`+script)
			for _, req := range []Request{tries(t, "tcp any 8080"), {Listeners: true}} {
				if s := onlySocket(t, probeHere(t, req)); !slices.Equal(pidsOf(s), []int{cmd.Process.Pid}) {
					t.Errorf("%+v: held by %v, want %d", req, pidsOf(s), cmd.Process.Pid)
				}
			}
		})
	}
}

// A descriptor is one of a socket as long as its link is the same.
func TestStillOpen(t *testing.T) {
	for link, want := range map[string]bool{"socket:[5]": true, "socket:[6]": false, "pipe:[5]": false, "": false} {
		path := filepath.Join(t.TempDir(), "fd")
		if link != "" {
			if err := os.Symlink(link, path); err != nil {
				t.Fatal(err)
			}
		}
		if got := (descriptor{5, path}).stillOpen(); got != want {
			t.Errorf("%q: %t, want %t", link, got, want)
		}
	}
}

// The gap names the one process that could not be examined, or counts them.
func TestGapOfHiddenProcesses(t *testing.T) {
	for _, c := range []struct {
		hidden []int
		want   string
	}{{[]int{5}, "1 of 3 processes can't be examined (pid 5)"}, {[]int{5, 7}, "2 of 3 processes can't be examined"}} {
		s := search{descriptorReader: descriptorReader{ctx: t.Context()}, pids: []int{1, 5, 7}, hidden: c.hidden, reason: unix.EACCES}
		want := Gap{What: c.want, Op: "readlink /proc/PID/fd", Errno: "EACCES", Kind: GapHolders}
		if os.Geteuid() != 0 {
			want.What += "; run as root to see every holder"
		}
		if got := s.gaps(nil); len(got) != 1 || got[0] != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// The unit and the container come from the holder's cgroup.
func TestCgroupOfHolder(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	root := ""
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(dir + "/cgroup.procs"); err == nil {
			root = dir
			break
		}
	}
	if root == "" {
		testbed.Missing(t, "no cgroup v2")
	}
	id := fmt.Sprintf("%016x%048x", os.Getpid(), time.Now().UnixNano())
	for name, want := range map[string]Holder{
		fmt.Sprintf("portcheck-test-%d.service", time.Now().UnixNano()): {Unit: "self"},
		"docker-" + id + ".scope": {Container: id},
	} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			testbed.Missing(t, err.Error())
		}
		t.Cleanup(func() {
			var err error
			for range 200 { // the holder is killed and leaves in a moment
				if err = os.Remove(dir); err == nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
			t.Error(err)
		})
		if want.Unit != "" {
			want.Unit = name
		}
		cmd := holder(t, udpSocket("127.0.0.1:0"))
		if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
		var got []Holder
		for _, s := range probeHere(t, Request{Listeners: true}).Sockets {
			for _, h := range s.Holders {
				if h.PID == cmd.Process.Pid {
					got = append(got, h)
				}
			}
		}
		if len(got) != 1 || got[0].Unit != want.Unit || got[0].Container != want.Container || len(got[0].Unseen) > 0 {
			t.Errorf("%s", encode(got))
		}
		var dirInfo unix.Stat_t
		if err := unix.Stat(dir, &dirInfo); err != nil {
			t.Fatal(err)
		}
	}
}

// The cgroup of a socket is that of its creator.
func TestCgroupOfSocket(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8080"))
	if s := onlySocket(t, probeHere(t, tries(t, "tcp any 8080"))); s.Cgroup == 0 {
		t.Errorf("%+v", s)
	}
}

// Facts survive the wire.
func TestFactsJSON(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8080"))
	facts := probeHere(t, tries(t, "tcp any 8080", "udp any 8080"))
	var again Facts
	if err := json.Unmarshal([]byte(encode(facts)), &again); err != nil {
		t.Fatal(err)
	}
	if encode(again) != encode(facts) || describe(again.Sockets) != "127.0.0.1:8080 listen" {
		t.Errorf("%s became %s", encode(facts), encode(again))
	}
}

// TestSearchStopsAroundTheHolder checks that without an owner the search finds the
// relatives of a holder and does not examine the rest of the host. The socket is not
// Complete then.
func TestSearchStopsAroundTheHolder(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	const script = `
import os, socket
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
pids = [os.getpid()]
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        import time
        time.sleep(100)
    pids.append(pid)
print(*pids)
import time
time.sleep(100)
`
	// A process that is no relative, with more descriptors than the holder has.
	testbed.Python(t, "import time\nfiles = [open('/dev/null') for _ in range(64)]\nprint('ready')\ntime.sleep(100)")
	_, line := testbed.Python(t, script)
	var want []int
	for word := range strings.FieldsSeq(line) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, pid)
	}
	slices.Sort(want)
	try := Try{Binding: port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any}, ReuseAddress: true}, Ports: port.One(8080)}
	for _, owners := range []bool{false, true} {
		try.Owners = owners
		facts, err := Local{}.Probe(t.Context(), Request{Tries: []Try{try}})
		if err != nil {
			t.Fatal(err)
		}
		if len(facts.Sockets) != 1 {
			t.Fatalf("owners %t: sockets %+v, want the listener", owners, facts.Sockets)
		}
		var got []int
		for _, h := range facts.Sockets[0].Holders {
			got = append(got, h.PID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("owners %t: holders %v, want %v", owners, got, want)
		}
		if facts.Sockets[0].Complete != owners {
			t.Errorf("owners %t: complete %t, want true only if every process was examined", owners, facts.Sockets[0].Complete)
		}
		if !owners && len(facts.Gaps) > 0 {
			t.Errorf("gaps %+v, though every socket has its holder", facts.Gaps)
		}
	}
}

// TestCgroupMatesAreExamined checks that the search finds a process of the holder's
// cgroup that is no relative and got the socket by SCM_RIGHTS.
func TestCgroupMatesAreExamined(t *testing.T) {
	t.Parallel()
	testbed.NeedRoot(t)
	if !testbed.Isolated(t) {
		return
	}
	groups := newCgroups()
	defer groups.close()
	if groups.unified == "" {
		testbed.Missing(t, "needs cgroup v2")
	}
	dir := filepath.Join(groups.unified, fmt.Sprintf("portcheck-test-%d.service", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		testbed.Missing(t, err.Error())
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	const join = "import os, sys\nopen(sys.argv[1], 'w').write(str(os.getpid()))\n"
	path := filepath.Join(t.TempDir(), "handover")
	procs := filepath.Join(dir, "cgroup.procs")
	giver, _ := testbed.Python(t, join+`
import socket, time, sys
s = socket.socket(); s.bind(("127.0.0.1", 8080)); s.listen()
u = socket.socket(socket.AF_UNIX); u.bind(sys.argv[2]); u.listen()
print("ready")
c, _ = u.accept()
socket.send_fds(c, [b"x"], [s.fileno()])
time.sleep(100)
`, procs, path)
	taker, _ := testbed.Python(t, join+`
import socket, time, sys
u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[2])
_, fds, _, _ = socket.recv_fds(u, 1, 1)
print("ready")
time.sleep(100)
`, procs, path)
	try := Try{Binding: port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any}}, Ports: port.One(8080)}
	facts, err := Local{}.Probe(t.Context(), Request{Tries: []Try{try}})
	if err != nil {
		t.Fatal(err)
	}
	want := []int{giver.Process.Pid, taker.Process.Pid}
	slices.Sort(want)
	var got []int
	for _, s := range facts.Sockets {
		for _, h := range s.Holders {
			got = append(got, h.PID)
			if h.Unit != filepath.Base(dir) {
				t.Errorf("pid %d: unit %q, want %q", h.PID, h.Unit, filepath.Base(dir))
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("holders %v, want %v", got, want)
	}
	if hint := groups.byID(facts.Sockets[0].Cgroup); !slices.Contains(hint, giver.Process.Pid) {
		t.Errorf("the socket's cgroup %d leads to %v, want the creator %d among them", facts.Sockets[0].Cgroup, hint, giver.Process.Pid)
	}
}

// TestReusedPIDIsNoHolder checks that another process does not become the holder if
// it gets the holder's PID between two reads.
func TestReusedPIDIsNoHolder(t *testing.T) {
	testbed.NeedRoot(t)
	if !inParallel(t) {
		return
	}
	// A thread of the Go runtime may take the number first and keep it. Then
	// another number is tried.
	for first := 20_000; first < 30_000; first += 1000 {
		if testReusedPID(t, first) {
			return
		}
	}
	t.Error("no PID was used again")
}

// testReusedPID reports whether another process got the PID of a holder. That PID is
// first or higher.
func testReusedPID(t *testing.T, first int) bool {
	nextPID := func(pid int) {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0o644); err != nil {
			testbed.Missing(t, "PIDs can't be chosen: "+err.Error())
		}
	}
	nextPID(first)
	holder, line := testbed.Python(t, "import socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\nprint(s.getsockname()[1])\ntime.sleep(100)")
	pid := holder.Process.Pid
	listens, err := port.ParseNumber(line)
	if err != nil {
		t.Fatal(err)
	}
	ports := new(port.Bits)
	ports.Add(listens)
	sockets, err := readDiag(t.Context(), query{protocol: port.TCP, ports: ports}, newDevices())
	if err != nil || len(sockets) != 1 {
		t.Fatalf("%v, %v: want the listener", sockets, err)
	}
	s := search{
		descriptorReader: descriptorReader{ctx: t.Context(), wanted: map[uint64][]*Socket{sockets[0].Inode: {&sockets[0]}}, left: 100},
		missing:          1, examined: map[int]bool{}, details: newDetails(t.Context(), false),
	}
	found, err := s.socketsOf(pid)
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v: want the listener's descriptor", found, err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	s.addHolder(pid, found)
	if len(sockets[0].Holders) > 0 {
		t.Errorf("a process that has ended is a holder: %+v", sockets[0].Holders)
	}
	nextPID(pid)
	other, _ := testbed.Python(t, "import time\nprint('ready')\ntime.sleep(100)")
	if other.Process.Pid != pid {
		return false
	}
	s.addHolder(pid, found)
	if len(sockets[0].Holders) > 0 || s.missing != 1 {
		t.Errorf("the PID's next process is a holder: %+v", sockets[0].Holders)
	}
	return true
}
