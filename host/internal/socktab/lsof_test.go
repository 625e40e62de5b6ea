package socktab_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// lsofMacOS is in the form of lsof 4.91, which macOS 12 to 15 have
// (https://github.com/lsof-org/lsof/issues/322, of macOS 14.6). Its lines are like those
// that people recorded: a name with a blank and `*:*` of UDP on macOS 12
// (https://github.com/allyring/pvw/issues/1), IPv4 over IPv6 sockets on macOS 14
// (https://github.com/mostafa-wahied/portracker/issues/5), AirPlay Receiver with
// both families (https://github.com/nextstrain/nextstrain.org/pull/561), ICMPV6
// (https://github.com/evilsocket/bettercap/issues/196). process_socket_common of
// lib/dialects/darwin/dsock.c prints an IPv6 socket that serves IPv4 with its IPv4
// address and the type IPv6. A socket that a process holds by a file port has "fp." in
// the place of a descriptor.
const lsofMacOS = `p1
f7
tIPv4
PUDP
n*:138
ffp.
tIPv6
PTCP
n*:22
TST=LISTEN
TQR=0
TQS=0
p52
f18
tIPv6
PICMPV6
n*:*
p687
f16
tIPv4
PTCP
n*:5000
TST=LISTEN
TQR=0
TQS=0
f17
tIPv6
PTCP
n*:5000
TST=LISTEN
TQR=0
TQS=0
f28
tIPv4
PUDP
n*:*
p56079
f21
tIPv6
PTCP
n*:4211
TST=LISTEN
TQR=0
TQS=0
f10047
tIPv6
PTCP
n127.0.0.1:4211->127.0.0.1:55932
TST=ESTABLISHED
TQR=0
TQS=0
f48
tIPv6
PTCP
n[::1]:4211->[::1]:55937
TST=CLOSE_WAIT
TQR=0
TQS=0
p60000
f9
tIPv6
PUDP
n[fe80:e::1c2d:3e4f]:123
f10
tIPv4
PTCP
n192.168.1.226:49153
TST=CLOSED
TQR=0
TQS=0
f11
tIPv4
PUDP
n192.168.1.226:68->192.168.1.1:67
`

func TestParseLsof(t *testing.T) {
	held := func(e port.Endpoint, status, remote string, pid int) socktab.Socket {
		s := socktab.Socket{Endpoint: e, Status: status, PIDs: []int{pid}}
		if remote != "" {
			s.Remote = netip.MustParseAddrPort(remote)
		}
		return s
	}
	linkLocal := endpoint(port.UDP, "fe80::1c2d:3e4f", 123)
	linkLocal.Device = "14"
	zone := endpoint(port.UDP, "fe80::1", 123)
	zone.Device = "lo0"
	for name, c := range map[string]struct {
		output string
		want   []socktab.Socket
	}{
		"nothing": {"", nil},
		"macOS": {lsofMacOS, []socktab.Socket{
			held(endpoint(port.UDP, "0.0.0.0", 138), "", "", 1),
			held(endpoint(port.TCP, "::", 22), "LISTEN", "", 1),
			held(endpoint(port.TCP, "0.0.0.0", 5000), "LISTEN", "", 687),
			held(endpoint(port.TCP, "::", 5000), "LISTEN", "", 687),
			held(endpoint(port.TCP, "::", 4211), "LISTEN", "", 56079),
			held(endpoint(port.TCP, "127.0.0.1", 4211), "ESTABLISHED", "127.0.0.1:55932", 56079),
			held(endpoint(port.TCP, "::1", 4211), "CLOSE_WAIT", "[::1]:55937", 56079),
			held(linkLocal, "", "", 60000),
			held(endpoint(port.TCP, "192.168.1.226", 49153), "CLOSED", "", 60000),
			held(endpoint(port.UDP, "192.168.1.226", 68), "", "192.168.1.1:67", 60000),
		}},
		// Names of sockets that lsof 4.99 could not read: process_socket of
		// lib/dialects/freebsd/dsock.c.
		"FreeBSD": {
			"p912\nf3\ntIPv6\nPTCP\nncan't read in6pcb at 0xfffff80003a5b000\nf5\ntIPv4\nPTCP\nnno PCB, CANTSENDMORE\nf6\ntIPv4\nPTCP\nn*:22\nTST=LISTEN\n",
			[]socktab.Socket{held(endpoint(port.TCP, "0.0.0.0", 22), "LISTEN", "", 912)},
		},
		"a zone, and the state before the name": {
			"p1\nf3\ntIPv6\nPUDP\nn[fe80::1%lo0]:123\nf4\ntIPv6\nPTCP\nTST=LISTEN\nn[::ffff:127.0.0.1]:80\n",
			[]socktab.Socket{held(zone, "", "", 1), held(endpoint(port.TCP, "127.0.0.1", 80), "LISTEN", "", 1)},
		},
		"more fields of the process, and a file": {"p1\ncGoogle Chrome\nLmax\nf3\ntREG\nn/tmp/a:80\nfcwd\ntDIR\nn/\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := socktab.ParseLsof(c.output)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, addrs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A socket that can't be parsed is an error, and takes no other one with it.
func TestParseLsofBroken(t *testing.T) {
	const before, after = "p1\nf3\ntIPv4\nPTCP\nn*:80\nTST=LISTEN\n", "f9\ntIPv4\nPTCP\nn*:81\nTST=LISTEN\n"
	for _, broken := range []string{
		"f4\ntIPv4\nPTCP\nn*:http\nTST=LISTEN\n", "f4\ntIPv4\nPTCP\nn*:65536\nTST=LISTEN\n", "f4\ntIPv4\nPTCP\nnlocalhost:80\nTST=LISTEN\n",
		"f4\ntIPv4\nPTCP\nn80\nTST=LISTEN\n", "f4\ntIPv4\nPTCP\nn*:80\n", "f4\ntIPv4\nPTCP\nn*:80->1.2.3.4\nTST=ESTABLISHED\n", "f4\ntIPv6\nPUDP\nn[::1:80\n",
	} {
		got, err := socktab.ParseLsof(before + broken + after)
		if err == nil || len(got) != 2 || got[0].Port != 80 || got[1].Port != 81 {
			t.Errorf("%q: %v, %v", broken, got, err)
		}
	}
	for _, text := range []string{"COMMAND PID USER\nnode 1 max 3u IPv4 0x1 0t0 TCP *:80 (LISTEN)\n", "px\nf3\ntIPv4\nPTCP\nn*:80\nTST=LISTEN\n", "f3\ntIPv4\n"} {
		if got, err := socktab.ParseLsof(text); err == nil || len(got) > 0 {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestLsofOfThisMachine compares what lsof prints here with sockets of this process.
func TestLsofOfThisMachine(t *testing.T) {
	if _, err := exec.LookPath("lsof"); err != nil {
		testbed.Missing(t, "needs lsof")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Only this process: lsof looks into all others otherwise.
	output, err := exec.CommandContext(ctx, "lsof", append([]string{"-a", "-p", strconv.Itoa(os.Getpid())}, socktab.LsofArgs...)...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	got, err := socktab.ParseLsof(string(output))
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, want := range []struct {
		addr  net.Addr
		state host.State
	}{{listener.Addr(), host.Listen}, {client.LocalAddr(), host.Connected}, {packets.LocalAddr(), host.Listen}} {
		if !slices.ContainsFunc(got, func(s socktab.Socket) bool {
			local := netip.AddrPortFrom(s.Addr, s.Port).String()
			return string(s.Protocol) == want.addr.Network() && local == want.addr.String() && host.State(s.State()) == want.state && slices.Contains(s.PIDs, os.Getpid())
		}) {
			t.Errorf("no %s %s in state %s\n%s", want.addr.Network(), want.addr, want.state, output)
		}
	}
}

// netstatOpenBSD is in the form of netstat -nav on OpenBSD 7: the widths of inetprint and
// inet6print of usr.bin/netstat/inet.c and inet6.c, which -v lets grow.
const netstatOpenBSD = `Active Internet connections (including servers)
Proto   Recv-Q Send-Q  Local Address          Foreign Address        TCP-State
tcp          0      0  192.0.2.10.22          192.0.2.20.51234       ESTABLISHED
tcp          0      0  127.0.0.1.25           *.*                    LISTEN
tcp          0      0  *.22                   *.*                    LISTEN
tcp          0      0  *.*                    *.*                    CLOSED
Active Internet connections (including servers)
Proto   Recv-Q Send-Q  Local Address          Foreign Address       
udp          0      0  *.514                  *.*                   
udp          0      0  *.*                    *.*                   
udp          0      0  192.0.2.10.35611       192.0.2.1.123         
`

const netstatOpenBSD6 = `Active Internet connections (including servers)
Proto   Recv-Q Send-Q  Local Address          Foreign Address        TCP-State
tcp6         0      0  2001:db8:1234:5678:9abc:def0:1234:5678.22 2001:db8::20.51234 ESTABLISHED
tcp6         0      0  ::1.25                 *.*                    LISTEN
tcp6         0      0  fe80::1%lo0.25         *.*                    LISTEN
tcp6         0      0  *.22                   *.*                    LISTEN
Active Internet connections (including servers)
Proto   Recv-Q Send-Q  Local Address          Foreign Address       
udp6         0      0  *.514                  *.*                   
`

func TestParseNetstat(t *testing.T) {
	at := func(protocol port.Protocol, local, status, remote string) socktab.Socket {
		addr := netip.MustParseAddrPort(local)
		s := socktab.Socket{Endpoint: port.Endpoint{Protocol: protocol, Addr: addr.Addr().WithZone(""), Port: addr.Port(), Device: addr.Addr().Zone()}, Status: status}
		if remote != "" {
			s.Remote = netip.MustParseAddrPort(remote)
		}
		return s
	}
	for name, c := range map[string]struct {
		protocol port.Protocol
		output   string
		want     []socktab.Socket
	}{
		"nothing":         {port.TCP, "", nil},
		"OpenBSD, tcp":    {port.TCP, netstatOpenBSD, []socktab.Socket{at(port.TCP, "192.0.2.10:22", "ESTABLISHED", "192.0.2.20:51234"), at(port.TCP, "127.0.0.1:25", "LISTEN", ""), at(port.TCP, "0.0.0.0:22", "LISTEN", "")}},
		"OpenBSD, udp":    {port.UDP, netstatOpenBSD, []socktab.Socket{at(port.UDP, "0.0.0.0:514", "", ""), at(port.UDP, "192.0.2.10:35611", "", "192.0.2.1:123")}},
		"OpenBSD, tcp6":   {port.TCP, netstatOpenBSD6, []socktab.Socket{at(port.TCP, "[2001:db8:1234:5678:9abc:def0:1234:5678]:22", "ESTABLISHED", "[2001:db8::20]:51234"), at(port.TCP, "[::1]:25", "LISTEN", ""), at(port.TCP, "[fe80::1%lo0]:25", "LISTEN", ""), at(port.TCP, "[::]:22", "LISTEN", "")}},
		"OpenBSD, udp6":   {port.UDP, netstatOpenBSD6, []socktab.Socket{at(port.UDP, "[::]:514", "", "")}},
		"NetBSD, columns": {port.TCP, "Active Internet connections (including servers)\nProto Recv-Q Send-Q  Local Address          Foreign Address        State\ntcp        0      0  *.22                   *.*                    LISTEN\n", []socktab.Socket{at(port.TCP, "0.0.0.0:22", "LISTEN", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := socktab.ParseNetstat(c.output, c.protocol)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, addrs); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, line := range []string{
		"tcp 0 0 *.22 *.*", "tcp 0 0 *.ssh *.* LISTEN", "tcp 0 0 *:22 *:* LISTEN", "tcp6 0 0 2001:db8:1234:56.22222 *.* LISTEN",
		"tcp 0 0 127.0.0.1.25 127.0.0.1 ESTABLISHED", "tcp 0 0 *.70000 *.* LISTEN",
	} {
		if got, err := socktab.ParseNetstat(netstatOpenBSD+line+"\n", port.TCP); err == nil {
			t.Errorf("%q: %v, want an error", line, got)
		}
	}
}

func FuzzParseText(f *testing.F) {
	f.Add(lsofMacOS)
	f.Add(netstatOpenBSD6)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := socktab.ParseLsof(text)
		if err != nil && strings.Count(err.Error(), "\n") > strings.Count(text, "\n") {
			t.Errorf("%q: the error has more lines than the text: %v", text, err)
		}
		more, _ := socktab.ParseNetstat(text, port.TCP)
		for _, s := range append(all, more...) {
			if s.Port == 0 && s.Remote == (netip.AddrPort{}) && !s.Addr.IsValid() {
				t.Errorf("%q: %v", text, s)
			}
		}
	})
}
