package cli

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// deviceServers answers by TCP and UDP: at port 9000 on the device lo, at 9001 on net0,
// at 9002 on eth7, where no caller is, and at 9003 on none.
const deviceServers = `
import os, select, socket
servers = []
for port, device in ((9000, "lo"), (9001, "net0"), (9002, "eth7"), (9003, "")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET6, kind)
        if device: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        s.bind(("::", port))
        if kind == socket.SOCK_STREAM: s.listen()
        servers.append(s)
print("ready")
while True:
    for s in select.select(servers, [], [])[0]:
        if s.type == socket.SOCK_STREAM: s.accept()[0].close()
        else: # the answer comes from the address that was called
            _, info, _, caller = s.recvmsg(1, 100)
            s.sendmsg([b"yes"], [(level, kind, data[:16] + bytes(4)) for level, kind, data in info], 0, caller)`

// deviceCaller prints the calls of its arguments (protocol/address/port) that are answered.
const deviceCaller = `
import socket, sys
for call in sys.argv[1:]:
    protocol, address, port = call.split("/")
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(5)
    try:
        s.connect((address, int(port)))
        if protocol == "udp":
            s.send(b"?")
            s.recv(9)
        print(call)
    except OSError:
        pass`

// A listener that is bound to a device is a listener at the addresses at which real
// callers reach it, from this machine or another one, and at no other.
func TestListenersOfADevice(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	outside := testbed.StartMachines(t, 1)[0]
	route := outside.Words("ip", "route", "add", "default", "via", "10.0.0.254")
	for _, line := range []string{
		"ip link add eth7 type veth peer name eth8", "ip addr add 10.7.0.1/24 dev eth7", "ip link set eth8 up", "ip link set eth7 up",
		"ip addr add 10.99.0.1/32 dev lo", "ip addr add 127.5.0.1/32 dev net0", strings.Join(route, " "),
	} {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	testbed.Python(t, deviceServers)

	var calls, fromOutside []string
	manifest := "version: 1\napp: a\nports:\n"
	for _, addr := range []string{"127.0.0.1", "127.9.9.9", "127.5.0.1", "::1", "10.0.0.254", "10.7.0.1", "10.99.0.1"} {
		for p := 9000; p <= 9003; p++ {
			if addr == "127.5.0.1" && p == 9000 {
				continue // that a loopback address is not one of lo is not noticed
			}
			for _, protocol := range []string{"tcp", "udp"} {
				call := fmt.Sprintf("%s/%s/%d", protocol, addr, p)
				calls = append(calls, call)
				if strings.HasPrefix(addr, "10.") {
					fromOutside = append(fromOutside, call)
				}
				manifest += fmt.Sprintf("- {name: n%d, port: %d, protocol: %s, address: %q, expect: listening}\n", len(calls), p, protocol, addr)
			}
		}
	}
	answered := map[string]bool{}
	for _, words := range [][]string{append([]string{"/usr/bin/python3", "-c", deviceCaller}, calls...), append(outside.Words("/usr/bin/python3", "-c", deviceCaller), fromOutside...)} {
		out, err := exec.Command(words[0], words[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range strings.Fields(string(out)) {
			answered[call] = true
		}
	}
	if !answered["tcp/127.0.0.1/9000"] || !answered["udp/10.0.0.254/9001"] || answered["tcp/127.0.0.1/9001"] {
		t.Fatalf("the calls %v are answered", answered)
	}
	name := t.TempDir() + "/portcheck.yml"
	writeText(t, name, manifest)
	results := reportOf(t, nil, name)
	if len(results) != len(calls) {
		t.Fatalf("%d results for %d calls: %v", len(results), len(calls), results)
	}
	for _, r := range results {
		call := fmt.Sprintf("%s/%s/%d", r.Protocol, r.Address[0], r.Port)
		want := check.NotListening
		ofEth7 := strings.Contains(call, "/10.") && r.Port == 9002 // callers may come by eth7, though none is there now
		if answered[call] || ofEth7 {
			want = check.Listening
		}
		if r.Status != want {
			t.Errorf("%s is %s, want %s: %s", call, r.Status, want, r.Message)
		}
		if call == "tcp/127.0.0.1/9001" && !strings.Contains(r.Message, "takes only those that come by the device net0") {
			t.Errorf("%s: %q", call, r.Message)
		}
	}
}

// What is bound to the loopback device is not exposed, and is listed with its device.
func TestLoopbackDeviceIsNotExposed(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	testbed.Python(t, `
import socket, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
s.bind(("0.0.0.0", 9640))
s.listen()
print("ready")
time.sleep(1000)`)
	name := t.TempDir() + "/portcheck.yml"
	writeText(t, name, `version: 1
app: a
ports:
- {name: literal, port: 9640, address: 127.0.0.1, expect: listening, only: true}
- {name: loopback, port: 9640, address: loopback, expect: listening, only: true}
`)
	for _, r := range reportOf(t, nil, name) {
		if r.Status != check.Listening {
			t.Errorf("%s is %s: %s", r.Name, r.Status, r.Message)
		}
	}
	if out := mustInDir(t, ".", "list"); !strings.Contains(out, " 0.0.0.0%lo:9640 ") {
		t.Error(out)
	}
	if out := mustInDir(t, ".", "list", "-f", "json"); !strings.Contains(out, `"device": "lo"`) {
		t.Error(out)
	}
}

// Where IPv6 is disabled on the loopback interface alone, the host is not said to have none.
func TestNoIPv6OnLoopbackAlone(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("1"), 0o644); err != nil {
		testbed.Missing(t, err.Error())
	}
	out := mustInDir(t, ".", "check", "-p", "localhost:8080")
	if !strings.Contains(out, "the address ::1 is not on this host, so the need is judged on IPv4 alone [no-ipv6]") {
		t.Error(out)
	}
}
