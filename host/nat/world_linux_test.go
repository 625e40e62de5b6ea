package nat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

func TestMain(m *testing.M) { testbed.Main(m, programs) }

// A world is this machine (the test's network namespace) between two others: one
// from which callers come, and one with servers to which rules send them.
//
//	callers 10.1.0.2, 10.1.0.3 -- wan: 10.1.0.1, 10.1.0.9 | this machine | lan: 10.2.0.1 -- 10.2.0.2
//	        fd01::2                     fd01::1                                fd02::1     fd02::2
//
// On each address and port of this machine and of the one behind it there is a
// server, which says where it listens.
type world struct {
	outside, behind *space
}

// Ports of the servers. The questions are about the first two.
var worldPorts = []uint16{8080, 8081, 9090, 9091}

var (
	ownAddrs    = addrs("10.1.0.1", "10.1.0.9", "10.2.0.1", "127.0.0.1", "fd01::1", "fd02::1", "::1")
	behindAddrs = addrs("10.2.0.2", "10.2.0.3", "fd02::2")
)

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testbed.NeedRoot(t)
	needs(t, "ip")
	w := &world{outside: newSpace(t), behind: newSpace(t)}
	for _, line := range []string{
		"ip link add wan type veth peer name eth0 netns " + w.outside.path,
		"ip link add lan type veth peer name eth0 netns " + w.behind.path,
		"ip link set wan addrgenmode none", "ip link set lan addrgenmode none",
		"ip addr add 10.1.0.1/24 dev wan", "ip addr add 10.1.0.9/24 dev wan", "ip addr add fd01::1/64 dev wan nodad", "ip link set wan up",
		"ip addr add 10.2.0.1/24 dev lan", "ip addr add fd02::1/64 dev lan nodad", "ip link set lan up",
	} {
		run(t, "", strings.Fields(line)...)
	}
	for _, s := range []struct {
		space *space
		net   string
	}{{w.outside, "1"}, {w.behind, "2"}} {
		s.space.do(func() {
			for _, line := range []string{
				"ip link set lo up", "ip addr add 10.N.0.2/24 dev eth0", "ip addr add 10.N.0.3/24 dev eth0", "ip addr add fd0N::2/64 dev eth0 nodad",
				"ip link set eth0 up", "ip route add default via 10.N.0.1", "ip -6 route add default via fd0N::1",
			} {
				run(t, "", strings.Fields(strings.ReplaceAll(line, "N", s.net))...)
			}
		})
	}
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range ownAddrs {
		serve(t, a)
	}
	w.behind.do(func() {
		for _, a := range behindAddrs {
			serve(t, a)
		}
	})
	return w
}

func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, name := range tools {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, "needs "+name)
		}
	}
}

func run(t *testing.T, stdin string, words ...string) string {
	t.Helper()
	out, err := try(stdin, words...)
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(words, " "), err, out, stdin)
	}
	return out
}

func try(stdin string, words ...string) (string, error) {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A space is another network namespace, with a thread in it.
type space struct {
	path string // of its file
	work chan func()
}

func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		s.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		for f := range s.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		testbed.Missing(t, "a network namespace can't be made: "+err.Error())
	}
	t.Cleanup(func() { close(s.work) })
	return s
}

// do calls f in the namespace.
func (s *space) do(f func()) {
	if s == nil {
		f()
		return
	}
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}

// serve answers on all ports of an address with that address and port.
func serve(t *testing.T, a netip.Addr) {
	t.Helper()
	for _, p := range worldPorts {
		at := netip.AddrPortFrom(a, p)
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = l.Close(), u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(at.String())) // the caller may have gone
				_ = c.Close()
			}
		}()
		go func() {
			b := make([]byte, 64)
			for {
				_, from, err := u.ReadFromUDPAddrPort(b)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					_, _ = u.WriteToUDPAddrPort([]byte(at.String()), from)
				}
			}
		}()
	}
}

// patience is how long a caller waits for an answer that should come.
const patience = 10 * time.Second

var calls atomic.Uint32

// reach calls an address and returns the server that answered. It is not valid if
// none did within the time.
func reach(protocol port.Protocol, from netip.Addr, to netip.AddrPort, wait time.Duration) netip.AddrPort {
	d := net.Dialer{Timeout: wait}
	network := string(protocol)
	if !from.IsValid() {
		from = netip.IPv4Unspecified()
		if to.Addr().Is6() {
			from = netip.IPv6Unspecified()
		}
	}
	// Where an earlier call has come from the same port, the kernel may send this one to
	// another port of a rule's range.
	source := netip.AddrPortFrom(from, 32768+uint16(calls.Add(1)%28000))
	d.LocalAddr = net.TCPAddrFromAddrPort(source)
	if protocol == port.UDP {
		d.LocalAddr = net.UDPAddrFromAddrPort(source)
	}
	c, err := d.DialContext(context.Background(), network, to.String())
	if err != nil {
		return netip.AddrPort{}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait)) // a real connection has deadlines
	if protocol == port.UDP {
		_, _ = c.Write([]byte("?"))
	}
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(string(b[:n]))
	if err != nil {
		return netip.AddrPort{}
	}
	return a
}

// flushConnections makes the kernel forget all connections, because their NAT
// outlives the rules.
func flushConnections(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := make([]byte, 20)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NFNL_SUBSYS_CTNETLINK<<8|2)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < 20 || binary.NativeEndian.Uint32(answer[16:]) != 0 {
		t.Fatalf("flush connections: %v %v", err, answer[:max(n, 0)])
	}
}

// clearRules removes all rules of this machine.
func clearRules(t *testing.T) {
	t.Helper()
	run(t, "flush ruleset\n", "nft", "-f", "-")
	for _, name := range []string{"ip", "ip6"} {
		tables, err := os.ReadFile("/proc/thread-self/net/" + name + "_tables_names")
		if err != nil {
			continue
		}
		tool := map[string]string{"ip": "iptables-legacy-restore", "ip6": "ip6tables-legacy-restore"}[name]
		if _, err := exec.LookPath(tool); err != nil {
			continue
		}
		for _, table := range strings.Fields(string(tables)) {
			if table == "nat" || table == "mangle" || table == "raw" {
				run(t, "*"+table+"\nCOMMIT\n", tool)
			}
		}
	}
	flushConnections(t)
}

// caller is one who calls.
type caller struct {
	name  string
	space *space // nil: this machine
	in    string // the interface where the calls arrive
	from  netip.Addr
}

// callers returns those who can call an address of this machine.
func (w *world) callers(to netip.Addr) []caller {
	all := []caller{{name: "local"}}
	if to.IsLoopback() {
		return all
	}
	own := caller{name: "local from its address", from: netip.MustParseAddr("10.2.0.1")}
	if to.Is6() {
		own.from = netip.MustParseAddr("fd02::1")
		return append(all, own, caller{"outside", w.outside, "wan", netip.MustParseAddr("fd01::2")}, caller{"behind", w.behind, "lan", netip.MustParseAddr("fd02::2")})
	}
	return append(all, own, caller{"outside .2", w.outside, "wan", netip.MustParseAddr("10.1.0.2")},
		caller{"outside .3", w.outside, "wan", netip.MustParseAddr("10.1.0.3")}, caller{"behind", w.behind, "lan", netip.MustParseAddr("10.2.0.2")})
}

// A judge compares answers with what callers reach.
type judge struct {
	none, some, all int
	arrived         int // calls that were sent away and answered
	faults          []string
}

// bothAnswers asks about the rules themselves, and about rules that are kept.
func bothAnswers(t *testing.T, questions []Question) (answers, kept []Answer) {
	t.Helper()
	answers, err := Read(context.Background(), questions)
	if err != nil {
		t.Fatal(err)
	}
	kept, err = Keep(context.Background()).Answer(context.Background(), questions)
	if err != nil {
		t.Fatal(err)
	}
	return answers, kept
}

// check asks about questions and calls them. lossy is for rules that may drop
// calls. certain is for rules after which nothing depends on the caller.
func (w *world) check(t *testing.T, j *judge, questions []Question, lossy, certain bool) {
	t.Helper()
	answers, kept := bothAnswers(t, questions)
	for i, a := range answers {
		if !reflect.DeepEqual(kept[i], a) {
			t.Fatalf("%+v: kept rules answer\n%+v, not\n%+v", questions[i], kept[i], a)
		}
	}
	w.call(t, j, questions, answers, lossy, certain)
}

// call calls the questions and compares what callers reach with the answers.
func (w *world) call(t *testing.T, j *judge, questions []Question, answers []Answer, lossy, certain bool) {
	t.Helper()
	m, err := readMachine(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range questions {
		for _, to := range m.addresses(q.Addr) {
			for _, c := range w.callers(to) {
				route := find(answers[i], c.in, to)
				w.compare(j, q, to, c, route, lossy, certain)
			}
		}
	}
}

func find(a Answer, in string, to netip.Addr) *Route {
	for i := range a {
		if a[i].Interface == in && a[i].Addr == to {
			return &a[i]
		}
	}
	return nil
}

func (w *world) compare(j *judge, q Question, to netip.Addr, c caller, r *Route, lossy, certain bool) {
	wait := patience
	if lossy || r != nil {
		wait = 25 * time.Millisecond // a lost call proves nothing here
	}
	var got netip.AddrPort
	c.space.do(func() { got = reach(q.Protocol, c.from, netip.AddrPortFrom(to, q.Port), wait) })
	isNeed := got.IsValid() && got.Port() == q.Port && (got.Addr() == q.Addr || q.Addr.IsUnspecified() && isOwn(got.Addr()))
	fault := func(what string) {
		text := "none"
		if r != nil {
			text = fmt.Sprintf("%+v", *r)
		}
		j.faults = append(j.faults, fmt.Sprintf("%s: %s %s port %d: %s calls %s and reaches %s; the answer is %s", what, q.Protocol, q.Addr, q.Port, c.name, to, got, text))
	}
	if r != nil && got.IsValid() && !isNeed {
		j.arrived++
	}
	switch {
	case r == nil:
		j.none++
		if !isNeed && (got.IsValid() || !lossy) {
			fault("false none")
		}
	case r.All:
		j.all++
		if isNeed {
			fault("false all")
		}
		if got.IsValid() && len(r.To) < maxTargets && !names(r.To, got) {
			fault("false target")
		}
	default:
		j.some++
		switch {
		case r.Reason == EveryPort && isNeed:
			fault("false all")
		case r.Reason != EveryPort && certain:
			fault("vague")
		}
		if got.IsValid() && !isNeed && len(r.To) < maxTargets && !names(r.To, got) {
			fault("false target")
		}
	}
}

func names(targets []Target, a netip.AddrPort) bool {
	for _, t := range targets {
		among := (!t.Addrs[0].IsValid() || t.Addrs[0].Compare(a.Addr()) <= 0 && a.Addr().Compare(t.Addrs[1]) <= 0) &&
			(t.Ports == [2]uint16{} || t.Ports[0] <= a.Port() && a.Port() <= t.Ports[1])
		if among && (!t.Addr.IsValid() || t.Addr == a.Addr()) && (t.Port == 0 || t.Port == a.Port()) {
			return true
		}
	}
	return false
}

func isOwn(a netip.Addr) bool {
	for _, o := range ownAddrs {
		if a == o {
			return true
		}
	}
	return false
}

// everyQuestion returns questions about the first ports.
func everyQuestion(ports ...uint16) []Question {
	var all []Question
	for _, p := range ports {
		for _, protocol := range []port.Protocol{port.TCP, port.UDP} {
			for _, a := range []string{"0.0.0.0", "10.1.0.1", "10.1.0.9", "127.0.0.1", "::", "fd01::1", "::1"} {
				all = append(all, Question{Protocol: protocol, Addr: netip.MustParseAddr(a), Port: p})
			}
		}
	}
	return all
}
