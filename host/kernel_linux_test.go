package host

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// Attributes are read from the kernel, and cut short they are none.
func TestParseTunnel(t *testing.T) {
	attr := func(kind uint16, value ...byte) []byte { return netlink.AppendAttribute(nil, kind, value) }
	link := func(kind string, data []byte) []byte {
		return slices.Concat(attr(unix.IFLA_IFNAME, []byte("vx0\x00")...), attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED,
			slices.Concat(attr(unix.IFLA_INFO_KIND, []byte(kind+"\x00")...), attr(unix.IFLA_INFO_DATA, data...))...))
	}
	number := attr(unix.IFLA_VXLAN_PORT, 0x12, 0xb5)
	whole := link("vxlan", number)
	want := tunnel{"vx0", 4789, true, false}
	if got, ok := parseTunnel(whole); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	for n := range whole {
		if got, ok := parseTunnel(whole[:n]); ok && got != want {
			t.Errorf("the first %d bytes: %+v", n, got)
		}
	}
	if got, ok := parseTunnel(attr(unix.IFLA_IFNAME, []byte("eth0\x00")...)); ok {
		t.Errorf("%+v", got)
	}
}

// An interface has sockets of its own address families alone.
func TestFamiliesOfTunnels(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	for i, c := range []struct {
		args       string
		ipv4, ipv6 bool
	}{
		{"vxlan id 1", true, false},
		{"vxlan id 2 local 127.0.0.1 remote 127.0.0.2 dev lo", true, false},
		{"vxlan id 3 local ::1 remote ::1 dev lo", false, true},
		{"vxlan external", true, true},
		{"geneve id 4 remote 127.0.0.2", true, false},
		{"geneve id 5 remote ::1", false, true},
		{"geneve external", true, true},
	} {
		name, number := fmt.Sprintf("t%d", i), uint16(5000+i)
		add := "link add " + name + " type " + c.args + fmt.Sprintf(" dstport %d", number)
		if out, err := exec.Command("ip", strings.Fields(add)...).CombinedOutput(); err != nil {
			if strings.HasPrefix(c.args, "geneve") && strings.Contains(string(out), "Unknown device type") {
				t.Logf("no geneve: %s", out)
				continue
			}
			testbed.Missing(t, fmt.Sprintf("ip %s: %v\n%s", add, err, out))
		}
		if out, err := exec.Command("ip", "link", "set", name, "up").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		at := slices.IndexFunc(readInterfaces().tunnels, func(x tunnel) bool { return x.device == name })
		if at < 0 {
			t.Fatalf("%s is not listed", c.args)
		}
		got := readInterfaces().tunnels[at]
		if got.port != number || got.ipv4 != c.ipv4 || got.ipv6 != c.ipv6 {
			t.Errorf("%s: %+v", c.args, got)
		}
		// The kernel has what it is said to have.
		for _, s := range readTable(t.Context(), []query{{protocol: port.UDP, ports: only(number)}}).sockets {
			if !got.at(s.Addr) {
				t.Errorf("%s: a socket on %s", c.args, s.Addr)
			}
		}
	}
}

func only(n uint16) *port.Bits {
	b := new(port.Bits)
	b.Add(n)
	return b
}

// A socket without a process is not the kernel's for that: it may be on its way from one
// process to another.
func TestSocketsOnTheirWay(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	if kernelServes() {
		testbed.Missing(t, "the kernel of this machine serves sockets")
	}
	testbed.Python(t, `
import socket, signal
s = socket.socket()
s.bind(("", 8080))
s.listen()
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
socket.send_fds(a, [b"x"], [s.fileno()])
s.close()
print("ready", flush=True)
signal.pause()
`)
	found := readTable(t.Context(), []query{{protocol: port.TCP, ports: only(8080)}}).sockets
	if len(found) != 1 || found[0].Inode == 0 || found[0].UID == nil {
		t.Fatalf("%+v", found)
	}
	found[0].Complete = true // a machine on which root may examine all processes
	markKernels(t.Context(), []*Socket{&found[0]})
	if found[0].Kernel {
		t.Error("it is the kernel's")
	}
}
