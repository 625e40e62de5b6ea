package lease

import (
	"errors"

	"golang.org/x/sys/unix"
)

// guardTCP binds a TCP port on all addresses without an option to share it, which fails
// if any other socket has it. Then it sets the options, so that a server that sets
// SO_REUSEADDR can bind beside it. It never listens. Of closed connections alone it takes
// no notice: they don't hinder that server.
func guardTCP(n uint16, l *lingering) ([]func(), error) {
	fd, err := bindAll(unix.SOCK_STREAM, n)
	if errors.Is(err, errTaken) && l.has(n) {
		fd, err = bindAll(unix.SOCK_STREAM, n, unix.SO_REUSEADDR)
	}
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1)
		}
	}
	return closers(err, fd)
}

// guardUDP is guardTCP for a UDP port. A datagram goes to the socket that matches its
// addresses best, so the guard is connected to a peer that does not exist. The kernel
// binds a socket to one address when it is connected (ip_datagram_connect), so there is
// one for the loopback address of each family. It has conflicts with every socket
// on all addresses. SO_REUSEPORT is not set: it would make the guard one of a group of
// servers, of which each gets a share of the datagrams.
func guardUDP(n uint16, _ *lingering) ([]func(), error) {
	all, err := bindAll(unix.SOCK_DGRAM, n)
	if err == nil {
		err = unix.SetsockoptInt(all, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err != nil {
		return closers(err, all)
	}
	fd4, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err = withRemedy(err); err == nil {
		err = unix.SetsockoptInt(fd4, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd4, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(n)})
	}
	if err == nil {
		err = unix.Connect(fd4, &unix.SockaddrInet4{Addr: [4]byte{127, 255, 255, 254}, Port: 1})
	}
	if err != nil {
		return closers(err, all, fd4)
	}
	if unix.Connect(all, &unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: 1}) != nil { // no IPv6
		unix.Close(all)
		return closers(nil, fd4)
	}
	return closers(nil, all, fd4)
}

// closers returns functions that close descriptors. If there is an error, it closes them
// and returns that.
func closers(err error, fds ...int) ([]func(), error) {
	var all []func()
	for _, fd := range fds {
		if fd < 0 {
			continue
		}
		if err != nil {
			unix.Close(fd)
			continue
		}
		all = append(all, func() { unix.Close(fd) })
	}
	return all, err
}
