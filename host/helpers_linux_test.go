package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

func TestMain(m *testing.M) {
	testbed.Main(m, map[string]func([]string) error{
		"hold": runHold, "probe": runProbe, "concurrent": runConcurrent, "listens-here": listensHere,
		"check": runChecks,
	})
}

// sock describes a socket that a test opens.
type sock struct {
	Protocol                 port.Protocol
	Addr                     string // "127.0.0.1:8080"
	Reuse, ReusePort, V6Only bool
	Device                   string
	Listen                   bool
}

func tcpListener(addr string) sock {
	return sock{Protocol: port.TCP, Addr: addr, Reuse: true, Listen: true}
}
func udpSocket(addr string) sock { return sock{Protocol: port.UDP, Addr: addr} }

func (s sock) open() (int, error) {
	addr, err := netip.ParseAddrPort(s.Addr)
	if err != nil {
		return -1, err
	}
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	if s.Protocol == port.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	set := func(on bool, level, option int) {
		if on && err == nil {
			err = unix.SetsockoptInt(fd, level, option, 1)
		}
	}
	set(s.Reuse, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	set(s.ReusePort, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	set(s.V6Only, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	if s.Device != "" && err == nil {
		err = unix.BindToDevice(fd, s.Device)
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(addr))
	}
	if s.Listen && err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%+v: %w", s, err)
	}
	return fd, nil
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// hold opens a socket in this process until the test ends.
func (s sock) hold(t *testing.T) int {
	t.Helper()
	fd, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // it may be closed
	return fd
}

// connect connects a socket that is bound to local, or to any port if that is
// empty.
func connect(t *testing.T, local string, reuse bool, remote string) int {
	t.Helper()
	if local == "" {
		local = "127.0.0.1:0"
	}
	fd := sock{Protocol: port.TCP, Addr: local, Reuse: reuse}.hold(t)
	if err := unix.Connect(fd, sockaddr(netip.MustParseAddrPort(remote))); err != nil {
		t.Fatal(err)
	}
	return fd
}

func accept(t *testing.T, listener int) int {
	t.Helper()
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // it may be closed
	return fd
}

func closeNow(t *testing.T, fd int) {
	t.Helper()
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

// holder starts a process that holds sockets.
func holder(t *testing.T, socks ...sock) *exec.Cmd {
	t.Helper()
	return holderWith(t, testbed.Faults{}, socks...)
}

func holderWith(t *testing.T, faults testbed.Faults, socks ...sock) *exec.Cmd {
	t.Helper()
	cmd, line := testbed.StartProgram(t, "hold", faults, encode(socks))
	if line != "ready" {
		t.Fatal(line)
	}
	return cmd
}

func runHold(args []string) error {
	var socks []sock
	if err := json.Unmarshal([]byte(args[0]), &socks); err != nil {
		return err
	}
	for _, s := range socks {
		if _, err := s.open(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	select {} // until it is killed
}

// runProbe answers the Requests of its arguments, one line of Facts each.
func runProbe(args []string) error {
	for _, text := range args {
		var req Request
		if err := json.Unmarshal([]byte(text), &req); err != nil {
			return err
		}
		facts, err := Local{}.Probe(context.Background(), req)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(facts); err != nil {
			return err
		}
	}
	return nil
}

// probeWith probes from a process with these faults.
func probeWith(t *testing.T, faults testbed.Faults, req Request) Facts {
	t.Helper()
	var facts Facts
	if err := json.Unmarshal(testbed.RunProgram(t, "probe", faults, encode(req)), &facts); err != nil {
		t.Fatal(err)
	}
	return facts
}

func probeHere(t *testing.T, req Request) Facts {
	t.Helper()
	facts, err := Local{}.Probe(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// try makes a Try as a manifest does: "tcp any 8080", "udp 127.0.0.1 53",
// "tcp loopback 8080-8083 exclusive shared": exclusive clears SO_REUSEADDR of
// TCP, reuse sets that of UDP, shared sets SO_REUSEPORT.
func try(t *testing.T, spec string) Try {
	t.Helper()
	words := strings.Fields(spec)
	ask := Try{}
	ask.Protocol = port.Protocol(words[0])
	ask.ReuseAddress = ask.Protocol == port.TCP
	for a := range strings.SplitSeq(words[1], ",") {
		addr, err := port.ParseAddress(a)
		if err != nil {
			t.Fatal(err)
		}
		ask.Addresses = append(ask.Addresses, addr)
	}
	var err error
	if ask.Ports, err = port.ParseRange(words[2]); err != nil {
		t.Fatal(err)
	}
	for _, word := range words[3:] {
		user, isUser := strings.CutPrefix(word, "as=")
		switch {
		case isUser:
			ask.RunAs = user
		case word == "exclusive":
			ask.ReuseAddress = false
		case word == "reuse":
			ask.ReuseAddress = true
		case word == "shared":
			ask.ReusePort = true
		case word == "look":
			ask.Look = true
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return ask
}

func tries(t *testing.T, specs ...string) Request {
	t.Helper()
	var req Request
	for _, spec := range specs {
		req.Tries = append(req.Tries, try(t, spec))
	}
	return req
}

// outcomes formats attempts in short: "ok", "in-use", "failed(socket EMFILE)".
func outcomes(attempts []Attempt) string {
	var all []string
	for _, a := range attempts {
		s := string(a.Outcome)
		if a.Outcome == Failed || a.Outcome == Denied {
			s += "(" + a.Op + " " + a.Errno + ")"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// describe formats sockets in short: "127.0.0.1:8080 listen, [::]:8080%lo bound v6only".
func describe(sockets []Socket) string {
	var all []string
	for _, s := range sockets {
		line := netip.AddrPortFrom(s.Addr, s.Port).String()
		if s.Device != "" {
			line += "%" + s.Device
		}
		line += " " + string(s.State)
		if s.V6Only && s.Addr.IsUnspecified() {
			line += " v6only"
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// onlySocket returns the one socket of the facts.
func onlySocket(t *testing.T, facts Facts) Socket {
	t.Helper()
	if len(facts.Sockets) != 1 {
		t.Fatalf("%d sockets, want 1: %s", len(facts.Sockets), describe(facts.Sockets))
	}
	return facts.Sockets[0]
}

func pidsOf(s Socket) []int {
	var pids []int
	for _, h := range s.Holders {
		pids = append(pids, h.PID)
	}
	slices.Sort(pids)
	return pids
}

// sysctl sets a value of this network namespace.
func sysctl(t *testing.T, name, value string) {
	t.Helper()
	path := "/proc/sys/net/" + name
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrPermission) {
		testbed.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, value); err != nil { // the kernel takes the value of one write
		t.Fatal(err)
	}
}

func (t Try) ports() port.Set { return port.Set{t.Ports} }

// inParallel is testbed.Isolated for tests that run in parallel.
func inParallel(t *testing.T) bool {
	t.Helper()
	t.Parallel()
	return testbed.Isolated(t)
}

func setReusePort(_, _ string, conn syscall.RawConn) error {
	var err error
	if controlErr := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); controlErr != nil {
		return controlErr
	}
	return err
}
