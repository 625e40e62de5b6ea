package callers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

func TestMain(m *testing.M) { testbed.MainWithProgram(m) }

// This machine has the address here. It is between callers and a machine that plays
// a container.
const here = "10.0.0.254"

// situation is a set of NAT rules, and a need of tcp 8080.
type situation struct {
	name  string
	nft   string // the rules, for nft
	shell string // or commands that write them
	need  string // further keys of the need
	want  string // status
	// notice and message are parts of the report.
	notice, message string
	// lost reports that callers get no answer, and lostSome that some don't.
	lost, lostSome bool
}

func situations() []situation {
	const pre = "table ip t { chain pre { type nat hook prerouting priority -100\n %s\n }\n }"
	const out = "table ip t { chain out { type nat hook output priority -100\n %s\n }\n }"
	const raw = "table ip t { chain c { type filter hook %s priority -300\n %s\n }\n }"
	rules := func(form string, words ...any) string { return fmt.Sprintf(form, words...) }
	owner := "owner: {process: callers.test}, "
	return []situation{
		{name: "no rule", want: "free"},
		{name: "REDIRECT to an old server", nft: rules(pre, `tcp dport 8080 redirect to :9090 comment "blue"`), want: "redirected", message: "callers of 10.0.0.254 by net0 are sent to 10.0.0.254:9090 of callers.test (pid"},
		{name: "REDIRECT of iptables-legacy", shell: "iptables-legacy -t nat -A PREROUTING -p tcp --dport 8080 -m comment --comment blue -j REDIRECT --to-ports 9090", want: "redirected", message: "in chain PREROUTING of table ip nat of iptables-legacy (blue)"},
		{name: "REDIRECT of local callers", nft: rules(out, "tcp dport 8080 redirect to :9090"), want: "redirected", message: "callers on this machine are sent"},
		{name: "REDIRECT to a port where nothing listens", nft: rules(pre, "tcp dport 8080 redirect to :9999"), want: "redirected", message: "10.0.0.254:9999 of no process that can be seen by"},
		{name: "DNAT to a container", nft: rules(pre, "tcp dport 8080 dnat to 10.0.0.2:80"), want: "redirected", message: "are sent to 10.0.0.2:80 by a NAT rule in chain pre of table ip t"},
		{name: "DNAT for another address", nft: rules(pre, "ip daddr 10.0.0.77 tcp dport 8080 dnat to 10.0.0.2:80"), want: "free"},
		{name: "DNAT for another interface", nft: rules(pre, `iifname "wan7" tcp dport 8080 dnat to 10.0.0.2:80`), want: "free"},
		{name: "DNAT for another port", nft: rules(pre, "tcp dport 8081 dnat to 10.0.0.2:80"), want: "free"},
		{name: "DNAT of one caller", nft: rules(pre, "ip saddr 10.0.0.1 tcp dport 8080 dnat to 10.0.0.2:80"), want: "free", notice: "some of the callers of 10.0.0.254 by net0 may be sent to 10.0.0.2:80"},
		{name: "DNAT of every port", nft: rules(pre, "meta l4proto tcp dnat to 10.0.0.2:80"), want: "free", notice: "callers of 10.0.0.254 by net0 are sent to 10.0.0.2:80 by a NAT rule in chain pre of table ip t: it takes every port"},
		{name: "DNAT of every port but one", shell: "iptables-legacy -t nat -A PREROUTING -p tcp -m multiport ! --dports 22 -j DNAT --to-destination 10.0.0.2:80", want: "free", notice: "are sent to 10.0.0.2:80 by a NAT rule in chain PREROUTING of table ip nat of iptables-legacy: it takes every port"},
		{name: "DNAT by the port of the connection", shell: "iptables-legacy -t nat -A PREROUTING -p tcp -m conntrack --ctorigdstport 8080 -j DNAT --to-destination 10.0.0.2:80", want: "redirected", message: "are sent to 10.0.0.2:80 by"},
		{name: "DNAT to addresses and ports", nft: rules(pre, "tcp dport 8080 dnat to 10.0.0.2-10.0.0.3:80-81"), want: "redirected", message: "are sent to 10.0.0.2-10.0.0.3:80-81 by"},
		{name: "REDIRECT to ports", nft: rules(pre, "tcp dport 8080 redirect to :9090-9091"), want: "redirected", message: "are sent to 10.0.0.254:9090-9091 by"},
		{name: "rewritten in raw", nft: "table ip t { chain pre { type filter hook prerouting priority raw\n tcp dport 8080 tcp dport set 9090\n }\n" +
			" chain out { type filter hook output priority raw\n tcp sport 9090 tcp sport set 8080\n }\n }", want: "redirected", message: "are sent to 10.0.0.254:9090 of callers.test (pid"},
		{name: "an address rewritten in raw", nft: "table ip t { chain out { type filter hook output priority raw\n ip daddr 127.0.0.1 tcp dport 8080 ip daddr set " + here + "\n }\n }", want: "free", lost: true, notice: "answers to callers of 127.0.0.1 on this machine may be lost: packets are changed by a NAT rule in chain out of table ip t"},
		{name: "a source rewritten in mangle", nft: "table ip t { chain pre { type filter hook prerouting priority mangle\n iifname \"net0\" tcp dport 8080 tcp sport set 77\n }\n }", want: "free", lost: true, notice: "answers to callers of 10.0.0.254 by net0 may be lost: packets are changed by a NAT rule in chain pre of table ip t"},
		{name: "every called address rewritten to an own one in raw", nft: rules(raw, "prerouting", "ip daddr set "+here), want: "free", lost: true, notice: "on this machine may be lost: packets are changed by a NAT rule in chain c of table ip t"},
		{name: "every called address rewritten on input", nft: rules(raw, "input", "ip daddr set "+here), want: "free", lost: true, notice: "answers to callers"},
		{name: "every called address rewritten on output", nft: rules(raw, "output", "ip daddr set "+here), want: "free", lost: true, notice: "by net0 and on this machine may be lost: packets are changed by a NAT rule in chain c of table ip t"},
		{name: "every source rewritten on output", nft: rules(raw, "output", "ip saddr set 10.0.0.77"), want: "free", lost: true, notice: "answers to callers"},
		{name: "every source rewritten on the way out", nft: rules(raw, "postrouting", "ip saddr set 10.0.0.77"), want: "free", lost: true, notice: "answers to callers"},
		{name: "the source of replies to one caller rewritten", nft: rules(raw, "output", "ip daddr 10.0.0.1 ip saddr set 10.0.0.77"), want: "free", lostSome: true, notice: "answers to callers of 10.0.0.254 by net0 may be lost"},
		{name: "sources of others rewritten on the way out", nft: rules(raw, "postrouting", "ip saddr 10.88.0.0/16 ip saddr set "+here), want: "free"},
		{
			name: "CNI portmap", shell: `iptables-nft -t nat -N CNI-HOSTPORT-DNAT
			iptables-nft -t nat -N CNI-DN-0123
			iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
			iptables-nft -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
			iptables-nft -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment 'dnat name: "cbr0" id: "shop/db"' -m multiport --destination-ports 8080 -j CNI-DN-0123
			iptables-nft -t nat -A CNI-DN-0123 -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80`,
			want: "redirected", message: `(dnat name: "cbr0" id: "shop/db")`,
		},
		{
			name: "a NodePort of kube-proxy", shell: `iptables-nft -t nat -N KUBE-SERVICES
			iptables-nft -t nat -N KUBE-NODEPORTS
			iptables-nft -t nat -N KUBE-MARK-MASQ
			iptables-nft -t nat -N KUBE-SVC-A
			iptables-nft -t nat -N KUBE-SEP-A
			iptables-nft -t nat -N KUBE-SEP-B
			iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES
			iptables-nft -t nat -A OUTPUT -j KUBE-SERVICES
			iptables-nft -t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
			iptables-nft -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
			iptables-nft -t nat -A KUBE-NODEPORTS -p tcp -m comment --comment shop/web:http -m tcp --dport 8080 -j KUBE-SVC-A
			iptables-nft -t nat -A KUBE-SVC-A -m comment --comment shop/web:http -j KUBE-MARK-MASQ
			iptables-nft -t nat -A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-SEP-A
			iptables-nft -t nat -A KUBE-SVC-A -j KUBE-SEP-B
			iptables-nft -t nat -A KUBE-SEP-A -p tcp -j DNAT --to-destination 10.0.0.2:80
			iptables-nft -t nat -A KUBE-SEP-B -p tcp -j DNAT --to-destination 10.0.0.2:81`,
			want: "redirected", message: "are sent to 10.0.0.2:80, 10.0.0.2:81 by",
		},
		{name: "REDIRECT to the same port", nft: rules(pre, "tcp dport 8080 redirect to :8080"), want: "free"},
		{name: "DNAT to an own address", nft: rules(pre, "tcp dport 8080 dnat to "+here+":8080"), want: "free"},
		{name: "a rule behind one that accepts", nft: rules(pre, "tcp dport 8080 accept\n tcp dport 8080 dnat to 10.0.0.2:80"), want: "free"},
		{name: "the owner behind a rule", nft: rules(pre, "tcp dport 8080 redirect to :9090"), need: owner, want: "owned", message: "are sent to its owner, 10.0.0.254:9090"},
		{name: "the owner behind a rule, listening", nft: rules(pre, "tcp dport 8080 redirect to :9090"), need: owner + "expect: listening, ", want: "listening", message: "are sent to its owner"},
		{name: "another than the owner behind a rule", nft: rules(pre, "tcp dport 8080 redirect to :9090"), need: "owner: {process: nginx}, ", want: "redirected"},
		{name: "listening, and a rule", nft: rules(pre, "tcp dport 8080 redirect to :9090"), need: "expect: listening, ", want: "redirected", message: "nothing listens on tcp 8080, and callers"},
		{name: "loopback, and a rule for callers from outside", nft: rules(pre, "tcp dport 8080 redirect to :9090"), need: "address: 127.0.0.1, ", want: "free"},
		{name: "loopback, and a rule for local callers", nft: rules(out, "tcp dport 8080 redirect to :9090"), need: "address: 127.0.0.1, ", want: "redirected"},
		{name: "a device, and a rule for it", nft: rules(pre, `iifname "net0" tcp dport 8080 redirect to :9090`), need: "socket: {device: net0}, ", want: "redirected", message: "tcp 8080 on the device net0 can be bound, but"},
		{name: "a device, and a rule for another", nft: rules(pre, `iifname != "net0" tcp dport 8080 redirect to :9090`), need: "socket: {device: net0}, ", want: "free"},
		{name: "a device, and a rule for local callers", nft: rules(out, "tcp dport 8080 redirect to :9090"), need: "socket: {device: net0}, ", want: "free"},
		{name: "one address", nft: rules(pre, "ip daddr "+here+" tcp dport 8080 redirect to :9090"), need: "address: " + here + ", ", want: "redirected"},
	}
}

func TestCallers(t *testing.T) {
	testbed.Slow(t, "runs portcheck in a network of its own")
	if !testbed.Isolated(t) {
		return
	}
	machines := testbed.StartMachines(t, 2)
	needs(t, "nft", "iptables-nft", "iptables-legacy")
	caller := machines[0]
	must(t, caller.Words("ip", "addr", "add", "10.0.0.3/24", "dev", "eth0")...)
	container := machines[1].Words("/usr/bin/python3", "-u", "-c", serveScript, "web", "80", "81")
	testbed.Start(t, container[0], container[1:]...)
	for _, name := range []string{"ip_forward", "conf/all/route_localnet"} { // as kube-proxy sets them
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, ":9090", "old")
	for _, s := range situations() {
		t.Run(s.name, func(t *testing.T) {
			// Answers of the container come back by this machine.
			s.nft = "table ip back { chain post { type nat hook postrouting priority 100\n ip daddr 10.0.0.2 masquerade\n }\n }\n" + s.nft
			s.check(t)
			truth(t, caller, s)
		})
	}
}

// check makes the rules and compares the report with the situation.
func (s situation) check(t *testing.T) {
	t.Helper()
	script(t, "flush ruleset\n"+s.nft)
	if s.shell != "" {
		must(t, "sh", "-ec", s.shell)
		t.Cleanup(func() { must(t, "iptables-legacy", "-t", "nat", "-F") })
	}
	got := check(t, "{name: app, port: 8080, "+s.need+"range: 8080-8089}")
	if got.Status != s.want || !strings.Contains(got.Message, s.message) {
		t.Errorf("%s: %s, want %s and %q", got.Status, got.Message, s.want, s.message)
	}
	if text := got.notice("nat"); (text != "") != (s.notice != "") || !strings.Contains(text, s.notice) {
		t.Errorf("notice %q, want %q", text, s.notice)
	}
	if (got.Redirect != nil) != (s.want == "redirected" || s.want == "owned" || s.want == "listening") {
		t.Errorf("redirect %+v", got.Redirect)
	}
	if s.want == "redirected" && !strings.Contains(s.need, "expect:") && (len(got.Alternatives) == 0 || slices.Contains(got.Alternatives, 8080)) {
		t.Errorf("alternatives %v", got.Alternatives)
	}
}

// truth starts the app, and compares who reaches it with the situation.
func truth(t *testing.T, caller *testbed.Machine, s situation) {
	t.Helper()
	address := ""
	if _, rest, found := strings.Cut(s.need, "address: "); found {
		address, _, _ = strings.Cut(rest, ",")
	}
	device := ""
	if strings.Contains(s.need, "device: net0") {
		device = "net0"
	}
	serveOn(t, device, address+":8080", "app")
	timeout := "10"
	if s.lost || s.lostSome {
		timeout = "0.3"
	}
	// Each way has several callers.
	ways := map[string][]string{}
	if address != "127.0.0.1" {
		ways["outside"] = calls(t, caller.Words(), timeout, "10.0.0.1", here, "10.0.0.3", here)
		if device == "" {
			ways["here"] = calls(t, nil, timeout, "", here)
		}
	}
	if address != here && device == "" {
		ways["loopback"] = calls(t, nil, timeout, "", "127.0.0.1")
	}
	away, someAway := false, false
	for name, reached := range ways {
		t.Logf("%s: %v", name, reached)
		away = away || !slices.Contains(reached, "app")
		someAway = someAway || slices.Contains(reached, "nobody")
	}
	if s.lostSome && !someAway {
		t.Error("all callers get answers")
	}
	if want := s.want != "free" || s.lost || strings.Contains(s.notice, "every port"); away != want {
		t.Errorf("all callers of a way are sent away: %t, but %s", away, s.want)
	}
}

// callScript calls pairs of a source and a destination within a timeout, and prints who
// answers.
const callScript = `
import socket, sys
words = sys.argv[2:]
for source, to in zip(words[::2], words[1::2]):
    try:
        c = socket.create_connection((to, 8080), timeout=float(sys.argv[1]), source_address=(source, 0))
        print(c.recv(16).decode())
    except OSError:
        print("nobody")`

func calls(t *testing.T, prefix []string, timeout string, pairs ...string) []string {
	t.Helper()
	words := append(append(prefix, "/usr/bin/python3", "-c", callScript, timeout), pairs...)
	out, err := exec.Command(words[0], words[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

const serveScript = `
import socket, sys, threading
def answer(s):
    while True:
        c, _ = s.accept()
        c.sendall(sys.argv[1].encode())
        c.close()
for port in sys.argv[2:]:
    s = socket.socket()
    s.bind(("0.0.0.0", int(port)))
    s.listen()
    threading.Thread(target=answer, args=(s,)).start()
print("ready")`

// serve answers on an address with its name until the test ends.
func serve(t *testing.T, address, name string) {
	t.Helper()
	serveOn(t, "", address, name)
}

// serveOn is like serve, for a socket that is bound to a device.
func serveOn(t *testing.T, device, address, name string) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if device == "" {
			return nil
		}
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }), err)
	}}
	l, err := config.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	testbed.Accept(t, l, func(c net.Conn) { _, _ = c.Write([]byte(name)); _ = c.Close() })
}

func script(t *testing.T, text string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
}

func must(t *testing.T, words ...string) {
	t.Helper()
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
}

// result is what the tests read of a report.
type result struct {
	Status, Message string
	Alternatives    []int
	Redirect        *struct{ From, To, Rule, Table, Chain string }
	Notices         []notice
}

func (r result) notice(code string) string {
	for _, n := range r.Notices {
		if n.Code == code {
			return n.Message
		}
	}
	return ""
}

// check runs the program on a manifest with one need.
func check(t *testing.T, need string) result {
	t.Helper()
	results, _ := checkAll(t, need)
	if len(results) != 1 {
		t.Fatalf("%+v", results)
	}
	return results[0]
}

type notice struct{ Code, Message string }

// checkAll runs the program on a manifest, after the words of prefix. It returns the
// results and the notices of the target.
func checkAll(t *testing.T, needs string, prefix ...string) ([]result, []notice) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	words := append(prefix, testbed.Program(), "check", "--target", "local", "-f", "json", "-")
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdin = strings.NewReader("version: 1\nports: [" + needs + "]\n")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("%v: %s", err, out)
	}
	var report struct {
		Results []result
		Targets []struct{ Notices []notice }
	}
	if err := json.Unmarshal(out, &report); err != nil || len(report.Targets) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return report.Results, report.Targets[0].Notices
}
