package lease

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

func wantUDP(first, last uint16, length int, guard bool) Want {
	return Want{Name: "dns", Protocols: []port.Protocol{port.UDP}, Ports: port.Set{{First: first, Last: last}}, Length: length, GuardUDP: guard}
}

// listenUDP opens the socket of a server that sets SO_REUSEADDR or not.
func listenUDP(network, address string, reuse bool) (net.PacketConn, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			if reuse {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}
		})
		if err == nil {
			err = failed
		}
		return err
	}}
	return c.ListenPacket(context.Background(), network, address)
}

// A server that sets SO_REUSEADDR gets every datagram beside the guard of a UDP port. One
// that does not can't start, and a port that a server has gets no guard.
func TestServersBesideGuardsOfUDP(t *testing.T) {
	if !isolated(t) {
		return
	}
	mustStart(t, request("a", wantUDP(8000, 8000, 1, true)))
	for _, c := range []struct {
		network, address string
		callers          []string
	}{
		{"udp4", "0.0.0.0", []string{"127.0.0.1", "127.0.0.2"}},
		{"udp4", "127.0.0.1", []string{"127.0.0.1"}},
		{"udp6", "::1", []string{"::1"}},
		{"udp6", "::", []string{"::1"}},
		{"udp", "::", []string{"127.0.0.1", "127.0.0.2", "::1"}},
	} {
		address := net.JoinHostPort(c.address, "8000")
		if s, err := listenUDP(c.network, address, false); err == nil {
			t.Errorf("a server without SO_REUSEADDR has %s beside the guard", address)
			s.Close()
		}
		s, err := listenUDP(c.network, address, true)
		if err != nil {
			t.Errorf("a server with SO_REUSEADDR: %v", err)
			continue
		}
		for _, to := range c.callers {
			for i := range 100 {
				client, err := net.Dial("udp", net.JoinHostPort(to, "8000"))
				if err != nil {
					t.Fatal(err)
				}
				sent := fmt.Sprintf("%s %d", to, i)
				if _, err := client.Write([]byte(sent)); err != nil {
					t.Errorf("to %s beside the server on %s: %v", to, address, err)
				}
				client.Close()
				got := make([]byte, 100)
				if err := s.SetReadDeadline(soon()); err != nil {
					t.Fatal(err)
				}
				if n, _, err := s.ReadFrom(got); err != nil || string(got[:n]) != sent {
					t.Fatalf("the server on %s got %q, want %q: %v", address, got[:n], sent, err)
				}
			}
		}
		s.Close()
	}
	if reply := mustStart(t, request("b", wantUDP(8000, 8000, 1, true))); reply.Unmet == nil {
		t.Errorf("got %+v, but the port is leased", reply)
	}
	for i, reuse := range []bool{false, true} {
		for j, address := range []string{"127.0.0.1", "0.0.0.0", "::1", "::"} {
			n := uint16(8010 + 10*i + j)
			s, err := listenUDP("udp", net.JoinHostPort(address, strconv.Itoa(int(n))), reuse)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if reply := mustStart(t, request("c", wantUDP(n, n, 1, true))); reply.Unmet == nil {
				t.Errorf("got %+v, but a server is on %s", reply, s.LocalAddr())
			}
		}
	}
	if !Release(port.UDP, 8000, soon()) {
		t.Error("not released")
	}
	if s, err := listenUDP("udp", ":8000", false); err != nil {
		t.Errorf("after the end: %v", err)
	} else {
		s.Close()
	}
}

// The kernel gives no guarded UDP port to those that ask for any port. Without a guard it
// does.
func TestKernelGivesNoGuardedUDPPortAway(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		t.Run(fmt.Sprint(guarded), func(t *testing.T) {
			if !isolated(t) {
				return
			}
			if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40019"), 0o600); err != nil {
				testbed.Missing(t, err.Error())
			}
			mustStart(t, request("a", wantUDP(40000, 40019, 16, guarded)))
			leased, others := map[string]int{}, 0
			note := func(how string, c interface {
				LocalAddr() net.Addr
				Close() error
			},
			) {
				if c.LocalAddr().(*net.UDPAddr).Port < 40016 {
					leased[how]++
				} else {
					others++
				}
				c.Close()
			}
			for range 500 {
				for _, address := range []string{":0", "0.0.0.0:0", "127.0.0.1:0", "[::1]:0"} {
					if c, err := net.ListenPacket("udp", address); err == nil {
						note("bind to "+address, c)
					}
				}
				for _, address := range []string{"127.0.0.1:9", "[::1]:9"} {
					if c, err := net.Dial("udp", address); err == nil {
						note("connect to "+address, c)
					}
				}
			}
			if others == 0 || (len(leased) == 0) != guarded {
				t.Errorf("%d got other ports, and leased ones: %v", others, leased)
			}
		})
	}
}
