//go:build unix

package host

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// TestSharingOnThisSystem binds real sockets in the situations of docs/platforms.md, by
// the rules of the system that the tests run on.
func TestSharingOnThisSystem(t *testing.T) {
	if !haveIPv6() {
		return
	}
	tcp := port.Binding{Protocol: port.TCP, ReuseAddress: true}
	plain := port.Binding{Protocol: port.TCP}
	portToo := port.Binding{Protocol: port.TCP, ReusePort: true}
	udp := port.Binding{Protocol: port.UDP, ReuseAddress: true}
	for _, c := range []struct {
		name       string
		old, fresh port.Address
		b          port.Binding // of both
		linux, bsd bool         // whether the second one can be bound
	}{
		{"an address beside 0.0.0.0, reuse_address", port.Any4, "127.0.0.1", tcp, false, true},
		{"an address beside [::], reuse_address", port.Any, "127.0.0.1", tcp, false, true},
		{"0.0.0.0 beside an address, reuse_address", "127.0.0.1", port.Any4, tcp, false, true},
		{"[::] beside an address, reuse_address", "127.0.0.1", port.Any, tcp, false, true},
		{"[::] beside 0.0.0.0, reuse_address", port.Any4, port.Any, tcp, false, true},
		{"[::] beside 0.0.0.0", port.Any4, port.Any, plain, false, true},
		{"0.0.0.0 beside [::], reuse_address", port.Any, port.Any4, tcp, false, false},
		{"0.0.0.0 beside [::]", port.Any, port.Any4, plain, false, false},
		{"0.0.0.0 beside [::] of IPv6 only", port.Any6, port.Any4, tcp, true, true},
		{"[::] of IPv6 only beside 0.0.0.0", port.Any4, port.Any6, plain, true, true},
		{"an address beside 0.0.0.0", port.Any4, "127.0.0.1", plain, false, false},
		{"0.0.0.0 beside an address", "127.0.0.1", port.Any4, plain, false, false},
		{"the same address, reuse_address", "127.0.0.1", "127.0.0.1", tcp, false, false},
		{"the same address, reuse_port", "127.0.0.1", "127.0.0.1", portToo, true, true},
		{"the same address, UDP, reuse_address", "127.0.0.1", "127.0.0.1", udp, true, false},
		{"an address beside 0.0.0.0, UDP, reuse_address", port.Any4, "127.0.0.1", udp, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if runtime.GOOS == "openbsd" && (c.old == port.Any || c.fresh == port.Any) {
				return // it has no sockets for both families
			}
			b := c.b
			b.Addresses = []port.Address{c.old}
			n := listenAs(t, b)
			b.Addresses = []port.Address{c.fresh}
			release, op, err := openSocket(b, b.At(n)[0])
			want := c.linux
			if port.LikeBSD(runtime.GOOS) {
				want = c.bsd
			}
			if err == nil {
				release()
				if !want {
					t.Error("bound")
				}
				return
			}
			if outcome, errno := classify(op, err); want || outcome != InUse {
				t.Errorf("%s: %s %s, want it bound: %t", op, outcome, errno, want)
			}
		})
	}
}

// listenAs binds a socket at a port that is free, and listens on it if it is one of TCP,
// until the test ends. It returns the port.
func listenAs(t *testing.T, b port.Binding) uint16 {
	t.Helper()
	e := b.At(0)[0]
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if e.Addr.Is6() {
		family = unix.AF_INET6
	}
	if b.Protocol == port.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := newSocket(family, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // nothing was sent
	if op, err := prepare(fd, b, e); err != nil {
		t.Fatal(op, err)
	}
	if b.Protocol == port.TCP {
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(name.Port)
	case *unix.SockaddrInet6:
		return uint16(name.Port)
	}
	t.Fatalf("a name of type %T", name)
	return 0
}
