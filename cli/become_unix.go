//go:build unix

package cli

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// openSocket opens a socket at an endpoint. On a host without IPv6 it returns nil for
// ::1, and a socket at 0.0.0.0 for a [::] that serves IPv4 as well.
func openSocket(ctx context.Context, e port.Endpoint, b port.Binding) (*os.File, error) {
	network := string(e.Protocol)
	switch {
	case e.Addr.Is4():
		network += "4"
	case e.V6Only || !e.Addr.IsUnspecified():
		network += "6"
	}
	addr := e.Addr
	if e.Device != "" && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(e.Device)
	}
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = setOptions(int(fd), e, b) })
		return errors.Join(err, failed)
	}}
	address := netip.AddrPortFrom(addr, e.Port).String()
	var socket interface {
		File() (*os.File, error)
		Close() error
	}
	if e.Protocol == port.TCP {
		l, err := c.Listen(ctx, network, address)
		if err != nil {
			return withoutIPv6(ctx, e, b, err)
		}
		socket = l.(*net.TCPListener)
	} else {
		l, err := c.ListenPacket(ctx, network, address)
		if err != nil {
			return withoutIPv6(ctx, e, b, err)
		}
		socket = l.(*net.UDPConn)
	}
	f, err := socket.File() // a duplicate: the socket stays open
	return f, errors.Join(err, socket.Close())
}

// withoutIPv6 handles the failure to open an IPv6 socket.
func withoutIPv6(ctx context.Context, e port.Endpoint, b port.Binding, err error) (*os.File, error) {
	switch {
	case !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EADDRNOTAVAIL) || !e.Addr.Is6():
		return nil, err
	case e.Addr.IsUnspecified() && !e.V6Only:
		e.Addr = netip.IPv4Unspecified()
		return openSocket(ctx, e, b)
	case e.Addr.IsLoopback():
		return nil, nil
	}
	return nil, err
}

func setOptions(fd int, e port.Endpoint, b port.Binding) error {
	set := func(wanted bool, option int) error {
		value := 0
		if wanted {
			value = 1
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, value)
	}
	// Beside the keeper's socket a bind needs it for tcp.
	err := set(b.ReuseAddress || e.Protocol == port.TCP, unix.SO_REUSEADDR)
	if err == nil && b.ReusePort {
		err = set(true, unix.SO_REUSEPORT)
	}
	if err == nil && e.Device != "" && !e.Addr.IsLinkLocalUnicast() {
		err = bindToDevice(fd, e.Device)
	}
	return err
}

// become replaces this process by a program, which gets the files as descriptors 3, 4
// and so on. It returns only if it fails.
func become(path string, args, env []string, files []*os.File) error {
	const first = 3
	var fds []int
	for _, f := range files {
		// Out of the way of the numbers that they will have.
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, first+len(files))
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0); err != nil { // blocking, as from systemd
			return err
		}
	}
	for i, fd := range fds {
		if err := unix.Dup2(fd, first+i); err != nil { // without FD_CLOEXEC
			return err
		}
	}
	return syscall.Exec(path, args, env)
}
