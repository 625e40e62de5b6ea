package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// The kernel's port filter returns exactly the sockets in its ranges.
func TestPortFilter(t *testing.T) {
	if !inParallel(t) {
		return
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := 20000; n < 21100; n += 1 + random.IntN(5) {
		addr := []string{"127.0.0.1", "[::1]", "[::]"}[random.IntN(3)]
		s := tcpListener(fmt.Sprintf("%s:%d", addr, n))
		s.Listen = random.IntN(2) == 0
		s.hold(t)
		udpSocket(s.Addr).hold(t)
	}
	tcpListener("127.0.0.1:1").hold(t)
	tcpListener("127.0.0.1:65535").hold(t)
	every := func(first, step, length, count int) port.Set {
		var set port.Set
		for i := range count {
			n := first + i*step
			set = append(set, port.Range{First: uint16(n), Last: uint16(n + length - 1)})
		}
		return set
	}
	for name, set := range map[string]port.Set{
		"one port":          every(20001, 1, 1, 1),
		"one range":         every(20100, 1, 100, 1),
		"two ranges":        every(20100, 300, 57, 2),
		"adjacent ranges":   every(20100, 10, 10, 3),
		"the ends":          {port.One(1), port.One(65535)},
		"all":               {{First: 1, Last: 65535}},
		"all but the ends":  {{First: 2, Last: 65534}},
		"no socket":         every(30000, 2, 1, 5),
		"100 ranges":        every(20000, 10, 3, 100),
		"256 ranges":        every(20000, 4, 2, 256),
		"257 ranges":        every(20000, 4, 2, 257),
		"256 in disorder":   shuffled(random, every(20000, 4, 1, 256)),
		"300 single ports":  every(20000, 3, 1, 300),
		"ends and a middle": append(every(20000, 500, 1, 2), port.One(1), port.One(65535)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, protocol := range port.Protocols {
				q := withPorts(query{protocol: protocol}, set...)
				if filtered := portFilter(q.ports) != nil; filtered != (len(set) <= diagFilterRanges) {
					t.Errorf("filtered in the kernel: %t", filtered)
				}
				var want []string
				for _, s := range rawDump(t, query{protocol: protocol}) {
					if q.ports.Has(s.Port) {
						want = append(want, describe([]Socket{s}))
					}
				}
				var got []string
				for _, s := range rawDump(t, q) {
					if portFilter(q.ports) != nil || q.ports.Has(s.Port) {
						got = append(got, describe([]Socket{s}))
					}
				}
				slices.Sort(want)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%s: %d sockets, want %d", protocol, len(got), len(want))
				}
				if read := readTable(t.Context(), []query{q}); len(read.sockets) != len(want) || !read.whole[protocol] || len(read.gaps) > 0 {
					t.Errorf("%s: the reader shows %d sockets, want %d (whole %t, gaps %v)", protocol, len(read.sockets), len(want), read.whole[protocol], read.gaps)
				}
			}
		})
	}
}

func shuffled(random *rand.Rand, set port.Set) port.Set {
	random.Shuffle(len(set), func(i, k int) { set[i], set[k] = set[k], set[i] })
	return set
}

// rawDump returns all sockets of the kernel's answer to q.
func rawDump(t *testing.T, q query) []Socket {
	t.Helper()
	var all []Socket
	for _, request := range diagRequests(q) {
		err := netlink.Dump(t.Context(), netlink.SockDiag, request, diagSilence, func(message []byte) error {
			s, ok, err := parseDiag(message, query{protocol: q.protocol}, nameDevice)
			if ok {
				all = append(all, s)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Open has each scan's ports in the order of the request, without those that are
// held or reserved.
func TestScan(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8003"), tcpListener("[::]:8005"), udpSocket("0.0.0.0:8001"),
		sock{Protocol: port.TCP, Addr: "127.0.0.2:8007", Reuse: true}, sock{Protocol: port.TCP, Addr: "[::]:8008", V6Only: true, Listen: true})
	sysctl(t, "ipv4/ip_local_reserved_ports", "8002,9000-9001")
	scan := func(binding, ports string) Scan {
		set, err := port.ParseSet(ports)
		if err != nil {
			t.Fatal(err)
		}
		return Scan{Binding: try(t, binding+" 1").Binding, Ports: set}
	}
	facts := probeHere(t, Request{Scans: []Scan{
		scan("tcp any", "9000-9003,8000-8009,8001"), scan("tcp 127.0.0.1", "8000-8009"), scan("tcp any4", "8008,8007,8000"),
		scan("tcp ::1", "8003-8008"), scan("udp any", "8000-8003"), scan("tcp any", "8003,8005"),
	}})
	for i, want := range []string{"9002-9003,8000-8001,8004,8006,8009", "8000-8001,8004,8006-8009", "8008,8000", "8003-8004,8006-8007", "8000,8003", ""} {
		if got := facts.Open[i].String(); got != want {
			t.Errorf("scan %d: %s, want %s", i, got, want)
		}
	}
	if len(facts.Sockets) > 0 || len(facts.Tried) > 0 {
		t.Errorf("a scan alone shows sockets %s", describe(facts.Sockets))
	}
}

// Listeners returns all listeners with all their holders, and no other sockets.
func TestListeners(t *testing.T) {
	if !inParallel(t) {
		return
	}
	a := holder(t, tcpListener("127.0.0.1:8080"), udpSocket("[::]:53"), sock{Protocol: port.TCP, Addr: "127.0.0.1:8081"}).Process.Pid
	b := holder(t, tcpListener("[::1]:8080"), sock{Protocol: port.UDP, Addr: "127.0.0.1:9000"}).Process.Pid
	connect(t, "", false, "127.0.0.1:8080")
	facts := probeHere(t, Request{Listeners: true})
	if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen, 127.0.0.1:9000 listen, [::1]:8080 listen, [::]:53 listen"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
	for _, s := range facts.Sockets {
		want := a
		if s.Addr.String() == "::1" || s.Port == 9000 {
			want = b
		}
		if !slices.Equal(pidsOf(s), []int{want}) || !s.Complete {
			t.Errorf("%s: held by %v (complete: %t), want %d", describe([]Socket{s}), pidsOf(s), s.Complete, want)
		}
	}
	if len(facts.Gaps) > 0 {
		t.Errorf("gaps %+v", facts.Gaps)
	}
}

func TestDials(t *testing.T) {
	if !inParallel(t) {
		return
	}
	tcpListener("127.0.0.1:8080").hold(t)
	tcpListener("[::1]:8081").hold(t)
	start := time.Now()
	facts := probeHere(t, Request{Dials: []Dial{
		{Host: "127.0.0.1", Port: 8080},
		{Host: "::1", Port: 8081},
		{Host: "127.0.0.1", Port: 8081},
		{Host: "::1", Port: 8080},
		{Host: "192.0.2.1", Port: 80},
		{Host: "nope.invalid", Port: 80},
		{Host: "localhost", Port: 8080},
	}})
	var got []string
	for _, a := range facts.Dialed {
		got = append(got, fmt.Sprintf("%s %s %s %s", a.Endpoint, a.Outcome, a.Op, a.Errno))
	}
	want := []string{
		"tcp 127.0.0.1:8080 ok  ", "tcp [::1]:8081 ok  ",
		"tcp 127.0.0.1:8081 failed connect ECONNREFUSED", "tcp [::1]:8080 failed connect ECONNREFUSED",
		"tcp 192.0.2.1:80 failed connect ENETUNREACH",
	}
	if !slices.Equal(got[:5], want) {
		t.Errorf("%q, want %q", got[:5], want)
	}
	if a := facts.Dialed[5]; a.Outcome != Failed || a.Op != "resolve" || a.Errno == "" || a.Addr.IsValid() || a.Port != 80 {
		t.Errorf("a name that is not there: %s", got[5])
	}
	if got, want := got[6], "tcp 127.0.0.1:8080 ok  "; got != want { // the address that the name leads to
		t.Errorf("localhost: %q, want %q", got, want)
	}
	if d := time.Since(start); d > 2*dialTimeout {
		t.Errorf("took %s", d)
	}
}

// silent makes port 8080 a listener with a full queue, which does not answer.
func silent(t *testing.T) {
	t.Helper()
	fd := sock{Protocol: port.TCP, Addr: "127.0.0.1:8080"}.hold(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	connect(t, "", false, "127.0.0.1:8080") // the queue holds one more than its length
}

func TestDialTimeout(t *testing.T) {
	testbed.Slow(t, "waits for a connect to time out")
	if !inParallel(t) {
		return
	}
	silent(t)
	a := probeHere(t, Request{Dials: []Dial{{Host: "127.0.0.1", Port: 8080}}}).Dialed[0]
	if a.Outcome != Failed || a.Op != "connect" || a.Errno != "ETIMEDOUT" || a.Addr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v", a)
	}
}

// TestDialBudget checks that connects which don't fit into the time for them are
// not tried, and take nothing from the rest of the answer.
func TestDialBudget(t *testing.T) {
	if !inParallel(t) {
		return
	}
	silent(t)
	tcpListener("127.0.0.1:8081").hold(t)
	req := Request{DialBudget: 500 * time.Millisecond, Dials: []Dial{{Host: "127.0.0.1", Port: 8081}}, Listeners: true}
	for range 4 * DialsAtOnce {
		req.Dials = append(req.Dials, Dial{Host: "127.0.0.1", Port: 8080})
	}
	start := time.Now()
	facts := probeHere(t, req)
	if took := time.Since(start); took > dialTimeout {
		t.Errorf("took %s", took)
	}
	if len(facts.Dialed) != len(req.Dials) || facts.Dialed[0].Outcome != OK || len(facts.Sockets) == 0 {
		t.Fatalf("%+v", facts)
	}
	for _, a := range facts.Dialed[1:] {
		if a.Outcome != NotTried || a.Errno != "--timeout leaves too little time" || a.Protocol != port.TCP || a.Port != 8080 {
			t.Errorf("%+v", a)
		}
	}
}

// A budget that was right before a long search leaves time for the answer.
func TestDialBudgetBeforeTheDeadline(t *testing.T) {
	if !inParallel(t) {
		return
	}
	silent(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	facts, err := Local{}.Probe(ctx, Request{DialBudget: time.Hour, Dials: []Dial{{Host: "127.0.0.1", Port: 8080}}})
	if err != nil || len(facts.Dialed) != 1 || facts.Dialed[0].Outcome != NotTried {
		t.Errorf("%+v, %v", facts.Dialed, err)
	}
}

// TestDialsEndWithTheirContext checks that a cancelled probe leaves no connect
// behind, even if most have to wait for others.
func TestDialsEndWithTheirContext(t *testing.T) {
	if !inParallel(t) {
		return
	}
	silent(t)
	req := Request{Dials: slices.Repeat([]Dial{{Host: "127.0.0.1", Port: 8080}}, port.MaxPort)}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := Local{}.Probe(ctx, req)
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > dialTimeout {
		t.Errorf("%v after %s", err, took)
	}
}

// The attempt has the reason why a name does not resolve.
func TestDialUnresolved(t *testing.T) {
	if !inParallel(t) {
		return
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		testbed.Missing(t, "the resolver can't be configured: "+err.Error())
	}
	server, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	codes := map[string]byte{"gone": 3, "broken": 2, "silent": 0} // RFC 1035, 4.1.1: RCODE
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return // closed
			}
			for name, code := range codes {
				if n > 12 && code != 0 && bytes.Contains(buffer[12:n], []byte(name)) {
					answer := bytes.Clone(buffer[:n])
					answer[2] |= 0x80 // a response
					answer[3] = 0x80 | code
					_, _ = server.WriteTo(answer, from) // the client reports what is missing
				}
			}
		}
	}()
	for host, want := range map[string]string{"gone.example.": "not found", "broken.example.": "temporary failure", "silent.example.": "timeout"} {
		a := dial(t.Context(), Dial{Host: host, Port: 80})
		if a.Outcome != Failed || a.Op != "resolve" || a.Errno != want || a.Addr.IsValid() || a.Port != 80 {
			t.Errorf("%s: %+v, want %s", host, a, want)
		}
	}
}

// A cancelled probe returns an error at once.
func TestCancelledProbe(t *testing.T) {
	if !inParallel(t) {
		return
	}
	tcpListener("127.0.0.1:8080").hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	facts, err := Local{}.Probe(ctx, tries(t, "tcp any 8080", "udp any 1-65535"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for _, tried := range facts.Tried {
		for _, a := range tried.Attempts {
			if a.Outcome == OK {
				t.Errorf("%+v", a)
			}
		}
	}
	// The same while it waits for a bound socket to be closed.
	sock{Protocol: port.TCP, Addr: "127.0.0.1:8081"}.hold(t)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (Local{}).Probe(ctx, tries(t, "tcp any 8081")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// Limits are the sysctls of this network namespace.
func TestLimits(t *testing.T) {
	if !inParallel(t) {
		return
	}
	limits := probeHere(t, Request{}).Limits
	if limits.Ephemeral != defaultEphemeral || limits.UnprivilegedFrom != defaultUnprivilegedFrom || len(limits.Reserved) > 0 {
		t.Errorf("a fresh namespace: %+v", limits)
	}
	sysctl(t, "ipv4/ip_unprivileged_port_start", "0")
	if facts := probeHere(t, Request{}); facts.Limits.UnprivilegedFrom != 0 || len(facts.Gaps) > 0 {
		t.Errorf("unprivileged from 0: %+v, gaps %+v", facts.Limits, facts.Gaps)
	}
	sysctl(t, "ipv4/ip_local_port_range", "40000 50001")
	sysctl(t, "ipv4/ip_unprivileged_port_start", "81")
	sysctl(t, "ipv4/ip_local_reserved_ports", "8080,9148-9150,1-3")
	facts := probeHere(t, Request{})
	if got := facts.Limits; got.Ephemeral != (port.Range{First: 40000, Last: 50001}) || got.UnprivilegedFrom != 81 || got.Reserved.String() != "1-3,8080,9148-9150" {
		t.Errorf("%+v", got)
	}
	if len(facts.Gaps) > 0 {
		t.Errorf("gaps %+v", facts.Gaps)
	}
	reserve := func(ports []string) {
		t.Helper()
		list := strings.Join(ports, ",")
		sysctl(t, "ipv4/ip_local_reserved_ports", list)
		if facts := probeHere(t, Request{}); facts.Limits.Reserved.String() != list {
			t.Errorf("%d of %d reserved ports, gaps %+v", len(facts.Limits.Reserved), len(ports), facts.Gaps)
		}
	}
	// As many as there can be: no two of them adjacent.
	var many []string
	for n := 1; n <= port.MaxPort; n += 2 {
		many = append(many, fmt.Sprint(n))
	}
	reserve(many)
	// The kernel cuts a list off where the first, small buffer ends.
	long := many[len(many)-usualSysctl/len("65535,")-4:]
	for i := range 8 {
		reserve(long[i:])
		reserve(append([]string{"9"}, long[i:]...))
		reserve(append([]string{"9", "11"}, long[i:]...))
	}
}

// The first unprivileged port is that of this network namespace.
func TestUnprivilegedFrom(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	sysctl(t, "ipv4/ip_unprivileged_port_start", "81")
	facts := probeWith(t, testbed.Faults{UID: nobody}, tries(t, "tcp any4 80", "tcp any4 81"))
	if got := outcomes(facts.Tried[0].Attempts) + " " + outcomes(facts.Tried[1].Attempts); got != "denied(bind EACCES) ok" {
		t.Error(got)
	}
}

func TestMachine(t *testing.T) {
	if !inParallel(t) {
		return
	}
	m := probeHere(t, Request{}).Machine
	if m.OS != "linux" || m.Arch == "" || len(m.BootID) != 36 || m.UID != os.Geteuid() || !m.IPv6 {
		t.Errorf("%+v", m)
	}
	if m.Namespace.Kind == NamespaceHost || m.Namespace.Inode == 0 {
		t.Errorf("in a namespace of its own: %+v", m.Namespace)
	}
}

// The kind is NamespaceHost only with proof.
func TestNamespaceOfHost(t *testing.T) {
	t.Parallel()
	links := map[string]string{}
	for _, path := range []string{"/proc/self/ns/net", "/proc/self/ns/pid", "/proc/1/ns/net"} {
		links[path], _ = os.Readlink(path) // an unreadable link proves nothing
	}
	proven := links["/proc/self/ns/net"] == "net:[4026531833]" ||
		links["/proc/self/ns/pid"] == "pid:[4026531836]" && links["/proc/self/ns/net"] == links["/proc/1/ns/net"]
	ns := readNamespace()
	if proven != (ns.Kind == NamespaceHost) || ns.Reason == "" || fmt.Sprintf("net:[%d]", ns.Inode) != links["/proc/self/ns/net"] {
		t.Errorf("%+v of %v", ns, links)
	}
	if os.Geteuid() == 0 { // in a new network namespace, with the same PID namespace
		if other := probeWith(t, testbed.Faults{OwnNet: true}, Request{}).Machine.Namespace; other.Kind == NamespaceHost || other.Inode == ns.Inode || other.Inode == 0 {
			t.Errorf("%+v beside %+v", other, ns)
		}
	}
}
