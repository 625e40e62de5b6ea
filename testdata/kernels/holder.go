package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// holder makes a situation. It keeps its first error, and does nothing after it.
type holder struct{ err error }

func (h *holder) try(what string, err error) {
	if h.err == nil && err != nil {
		h.err = fmt.Errorf("%s: %w", what, err)
	}
}

// hold makes situation number index at the ports of its arguments, writes a line
// and stays until its stdin ends.
func hold(index int, ports []int) error {
	s := situations()[index]
	h := new(holder)
	for _, port := range ports {
		for _, x := range s.steps {
			x.do(h, port, x)
		}
	}
	said := ""
	if h.err != nil {
		said = h.err.Error()
	}
	if errors.Is(h.err, unix.EAFNOSUPPORT) {
		said = noFamily
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		return err
	}
	_, err := os.Stdin.Read(make([]byte, 1))
	if err != nil && err.Error() != "EOF" {
		return err
	}
	return nil
}

// noFamily is the answer of a holder where the kernel has no IPv6.
const noFamily = "no IPv6"

func newSocket(protocol, address string, o options) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if strings.Contains(address, ":") {
		family = unix.AF_INET6
	}
	if protocol == udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	set := func(level, option int, on bool) {
		value := 0
		if on {
			value = 1
		}
		if err == nil {
			err = unix.SetsockoptInt(fd, level, option, value)
		}
	}
	if family == unix.AF_INET6 {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, o.v6only)
	}
	if o.reuse {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR, true)
	}
	if o.share {
		set(unix.SOL_SOCKET, unix.SO_REUSEPORT, true)
	}
	if o.device != "" && err == nil {
		err = unix.BindToDevice(fd, o.device)
	}
	return fd, err
}

func sockaddr(address string, port int) unix.Sockaddr {
	ip := netip.MustParseAddr(address)
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
}

func (h *holder) bound(protocol, address string, port int, o options) int {
	if h.err != nil {
		return -1
	}
	fd, err := newSocket(protocol, address, o)
	if err == nil {
		err = unix.Bind(fd, sockaddr(address, port))
	}
	h.try("bind "+address, err)
	return fd
}

func (h *holder) listening(address string, port int, o options) int {
	fd := h.bound(tcp, address, port, o)
	if h.err == nil {
		h.try("listen", unix.Listen(fd, 128))
	}
	return fd
}

func (h *holder) connect(fd int, address string, port int) {
	if h.err == nil {
		h.try("connect to "+address, connect(fd, address, port))
	}
}

// connect goes on after a signal of Go's scheduler.
func connect(fd int, address string, port int) error {
	for {
		switch err := unix.Connect(fd, sockaddr(address, port)); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EISCONN):
			return nil
		default:
			return err
		}
	}
}

// elsewhere is the port of the other end of outgoing connections. It is below the
// ephemeral ports, which start at 16000 in gVisor.
func elsewhere(port int) int { return port + 3000 }

// The functions of steps.

func bind(h *holder, port int, s step)   { h.bound(s.protocol, s.address, port, s.options) }
func listen(h *holder, port int, s step) { h.listening(s.address, port, s.options) }

func outgoing(h *holder, port int, s step) {
	if s.protocol == tcp {
		h.listening(s.peer, elsewhere(port), reuse)
	}
	h.connect(h.bound(s.protocol, s.address, port, s.options), s.peer, elsewhere(port))
}

// connection returns both ends of a connection to the port. The listener is closed.
func (h *holder) connection(port int, s step) (server, client int) {
	listener := h.listening(s.address, port, s.options)
	if h.err != nil {
		return -1, -1
	}
	client, err := newSocket(tcp, s.peer, plain)
	h.try("socket", err)
	h.connect(client, s.peer, port)
	if h.err == nil {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			server, _, err = unix.Accept(listener)
		}
		h.try("accept", err)
		h.try("close", unix.Close(listener))
	}
	return server, client
}

func accepted(h *holder, port int, s step) { h.connection(port, s) }

func timeWait(h *holder, port int, s step) {
	server, client := h.connection(port, s)
	if h.err == nil {
		h.try("close", errors.Join(unix.Close(server), unix.Close(client)))
	}
}
