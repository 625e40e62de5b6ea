package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// endpoints returns the addresses that an app with this need binds, and those to
// which its clients connect.
func (n need) endpoints() (bound, clients []string) {
	switch n.address {
	case "any":
		return []string{"::"}, []string{"127.0.0.1", "127.0.0.2", "::1"}
	case "any4":
		return []string{"0.0.0.0"}, []string{"127.0.0.1", "127.0.0.2"}
	case "any6":
		return []string{"::"}, []string{"::1"}
	case "loopback":
		return []string{"127.0.0.1", "::1"}, []string{"127.0.0.1", "::1"}
	}
	return []string{n.address}, []string{n.address}
}

// truth returns the status that a need has: it does what the app would do, and
// then what its clients would do.
func (n need) truth(port int) (string, error) {
	if n.listening {
		answered, err := n.answered(port)
		return map[bool]string{true: "listening", false: "not-listening"}[answered], err
	}
	switch err := n.open(port); {
	case errors.Is(err, unix.EADDRINUSE):
		return "in-use", nil
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
		return "unavailable", nil
	case err != nil:
		return "", err
	}
	answered, err := n.answered(port)
	return map[bool]string{true: "shadowed", false: "free"}[answered], err
}

// open opens the sockets of the app, all at the same time, and closes them.
func (n need) open(port int) error {
	bound, _ := n.endpoints()
	var held []int
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	for i, address := range bound {
		o := n.options
		o.v6only = n.address == "any6"
		fd, err := newSocket(n.protocol, address, o)
		if errors.Is(err, unix.EAFNOSUPPORT) && n.address == "any" {
			fd, err = newSocket(n.protocol, "0.0.0.0", o)
			address = "0.0.0.0"
		}
		if errors.Is(err, unix.EAFNOSUPPORT) && n.address == "loopback" && i > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		held = append(held, fd)
		if err := unix.Bind(fd, sockaddr(address, port)); err != nil {
			return err
		}
		if n.protocol == tcp {
			if err := unix.Listen(fd, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// answered reports whether a client of the need reaches somebody.
func (n need) answered(port int) (bool, error) {
	_, clients := n.endpoints()
	for _, address := range clients {
		yes, err := dial(n.protocol, address, port)
		if yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}

// dial reports whether a client reaches somebody. A datagram to a port without a
// socket is answered by an ICMP message, which the next call returns.
func dial(protocol, address string, port int) (bool, error) {
	fd, err := newSocket(protocol, address, plain)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	err = connect(fd, address, port)
	if protocol == udp && err == nil {
		if _, err = unix.Write(fd, []byte("?")); err == nil {
			// The message comes at once, or when this process sleeps.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10)
			_, _, err = unix.Recvfrom(fd, make([]byte, 1), unix.MSG_DONTWAIT)
		}
	}
	switch {
	case err == nil, errors.Is(err, unix.EAGAIN):
		return true, nil
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return false, nil
	}
	return false, err
}
