//go:build linux

package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const elsewhere = number + 1 // the port of the other end of an outgoing connection

// options are the options of a holder's socket. IPV6_V6ONLY is always set to 0 or
// 1, as most programs do, unless asIs leaves the system's default.
type options struct {
	reuse, share, v6only, asIs bool
	device                     string
}

// holder is a process that creates a part of a situation. It keeps its first
// error, and does nothing after that.
type holder struct {
	err    error
	serves []int // sockets on which it answers with its identity
	gone   bool  // it neither reports nor stays
}

// held is a socket that a holder has on the port.
type held struct {
	endpoint
	PID   int
	Inode uint64
}

func (h *holder) try(what string, err error) {
	if h.err == nil && err != nil {
		h.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (h *holder) socket(protocol, addr string, o options) int {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if strings.Contains(addr, ":") {
		family = unix.AF_INET6
	}
	if protocol == udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	h.try("socket", err)
	set := func(level, option int, on bool) {
		value := 0
		if on {
			value = 1
		}
		h.try("setsockopt", unix.SetsockoptInt(fd, level, option, value))
	}
	if family == unix.AF_INET6 && !o.asIs {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, o.v6only)
	}
	set(unix.SOL_SOCKET, unix.SO_REUSEADDR, o.reuse)
	set(unix.SOL_SOCKET, unix.SO_REUSEPORT, o.share)
	if o.device != "" {
		h.try("SO_BINDTODEVICE", unix.BindToDevice(fd, o.device))
	}
	return fd
}

func (h *holder) bind(protocol, addr string, port int, o options) int {
	fd := h.socket(protocol, addr, o)
	if h.err == nil {
		h.try("bind", unix.Bind(fd, sockaddr(addr, port)))
	}
	return fd
}

func (h *holder) listen(addr string, port int, o options) int {
	fd := h.bind(tcp, addr, port, o)
	if h.err == nil {
		h.try("listen", unix.Listen(fd, 128))
	}
	return fd
}

func (h *holder) connect(fd int, addr string, port int) {
	if h.err == nil {
		h.try("connect", unix.Connect(fd, sockaddr(addr, port)))
	}
}

func (h *holder) accept(listener int) int {
	if h.err != nil {
		return -1
	}
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	h.try("accept", err)
	return fd
}

func (h *holder) close(fd int) {
	if h.err == nil {
		h.try("close", unix.Close(fd))
	}
}

func sockaddr(addr string, port int) unix.Sockaddr {
	ip := netip.MustParseAddr(addr)
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
}

// The following functions return roles.

func listening(addr string, o options) func(*holder) {
	return func(h *holder) { h.serves = append(h.serves, h.listen(addr, number, o)) }
}

func bound(protocol, addr string, o options) func(*holder) {
	return func(h *holder) {
		if fd := h.bind(protocol, addr, number, o); protocol == udp {
			h.serves = append(h.serves, fd)
		}
	}
}

// outgoing connects from the port on addr. If addr is empty, the kernel chooses
// the address and the port.
func outgoing(addr string, o options) func(*holder) {
	return func(h *holder) {
		peer := "127.0.0.1"
		if strings.Contains(addr, ":") {
			peer = "::1"
		}
		server := h.listen(peer, elsewhere, reuse)
		var client int
		if addr == "" {
			client = h.socket(tcp, peer, o)
		} else {
			client = h.bind(tcp, addr, number, o)
		}
		h.connect(client, peer, elsewhere)
		h.accept(server)
	}
}

func connected(addr string, o options) func(*holder) {
	return func(h *holder) {
		h.connect(h.bind(udp, addr, number, o), addr, elsewhere)
	}
}

// connection returns both ends of a connection to the port. The listener is
// closed.
func (h *holder) connection(addr, peer string, o options) (server, client int) {
	listener := h.listen(addr, number, o)
	client = h.socket(tcp, peer, plain)
	h.connect(client, peer, number)
	server = h.accept(listener)
	h.close(listener)
	return server, client
}

func accepted(addr, peer string, o options) func(*holder) {
	return func(h *holder) { h.connection(addr, peer, o) }
}

func timeWait(addr string, o options) func(*holder) {
	return func(h *holder) {
		server, client := h.connection(addr, addr, o)
		h.close(server)
		h.close(client)
	}
}

func finWait(o options) func(*holder) {
	return func(h *holder) {
		server, _ := h.connection("127.0.0.1", "127.0.0.1", o)
		h.close(server)
	}
}

func shutDown(o options) func(*holder) {
	return func(h *holder) {
		server, _ := h.connection("127.0.0.1", "127.0.0.1", o)
		if h.err == nil {
			h.try("shutdown", unix.Shutdown(server, unix.SHUT_WR))
		}
	}
}

func closeWait(o options) func(*holder) {
	return func(h *holder) {
		_, client := h.connection("127.0.0.1", "127.0.0.1", o)
		h.close(client)
	}
}

func inherited(o options) func(*holder) {
	return func(h *holder) {
		h.spawn("heir", h.listen("0.0.0.0", number, o))
		h.gone = true
	}
}

func handedOver(o options, keep bool) func(*holder) {
	return func(h *holder) {
		listener := h.listen("0.0.0.0", number, o)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		h.try("socketpair", err)
		if h.err != nil {
			return
		}
		h.try("sendmsg", unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(listener), nil, 0))
		h.spawn("taker", pair[1])
		if keep {
			h.serves = append(h.serves, listener)
		} else {
			h.close(listener)
		}
		h.close(pair[0])
		h.close(pair[1])
	}
}

// spawn starts another of Main's programs. It gets fd as its descriptor 3 and
// reports to the same stdout.
func (h *holder) spawn(name string, fd int) {
	if h.err != nil {
		return
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = programEnv(name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	copied, err := unix.Dup(fd) // os.File closes its own
	if h.try("dup", err); h.err != nil {
		return
	}
	file := os.NewFile(uintptr(copied), "passed")
	defer file.Close()
	cmd.ExtraFiles = []*os.File{file}
	h.try("start "+name, cmd.Start())
}

// runHolder is the program that plays a role of a situation.
func runHolder(args []string) error {
	s, err := findSituation(args[0])
	if err != nil {
		return err
	}
	index, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	h := new(holder)
	s.roles[index].run(h)
	return h.stay()
}

// runHeir serves the listener that it inherits.
func runHeir([]string) error {
	h := &holder{serves: []int{3}}
	return h.stay()
}

// runTaker serves the listener that it receives over descriptor 3.
func runTaker([]string) error {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(3, make([]byte, 1), rights, 0)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return errors.Join(err, fmt.Errorf("%d control messages", len(messages)))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	h := &holder{serves: fds}
	return h.stay()
}

// stay reports what this process holds and then answers clients with the
// process's identity.
func (h *holder) stay() error {
	if h.err != nil || h.gone {
		return h.err
	}
	sockets, err := ownSockets()
	if err != nil {
		return err
	}
	line, err := json.Marshal(sockets)
	if err != nil {
		return err
	}
	for _, fd := range h.serves {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return err
		}
		go serve(fd, fmt.Appendf(nil, "%s%d\n", holderSays, stat.Ino))
	}
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		return err
	}
	select {}
}

// holderSays is the start of a holder's answer. The inode of its socket follows.
const holderSays = "holder "

func serve(fd int, identity []byte) {
	var buffer [512]byte
	for {
		client, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			break
		}
		go func() {
			_, _ = unix.Write(client, identity) // the client may have closed the connection
			var buffer [512]byte
			for {
				if n, err := unix.Read(client, buffer[:]); n <= 0 || err != nil {
					break
				}
			}
			_ = unix.Close(client)
		}()
	}
	for { // not a listener: datagrams
		_, from, err := unix.Recvfrom(fd, buffer[:], 0)
		if err == nil {
			err = unix.Sendto(fd, identity, 0, from)
		}
		if errors.Is(err, unix.ENOTCONN) {
			return
		}
	}
}

// ownSockets returns the sockets that this process has on the port.
func ownSockets() ([]held, error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	all := []held{}
	for _, entry := range fds {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return nil, err
		}
		addr, err := unix.Getsockname(fd)
		if err != nil {
			continue // not a socket
		}
		s := held{PID: os.Getpid()}
		var port int
		switch addr := addr.(type) {
		case *unix.SockaddrInet4:
			s.Addr, port = netip.AddrFrom4(addr.Addr), addr.Port
		case *unix.SockaddrInet6:
			s.Addr, port = netip.AddrFrom16(addr.Addr), addr.Port
			v6only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
			if err != nil {
				return nil, err
			}
			s.V6Only = v6only == 1
		}
		if port != number {
			continue
		}
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			return nil, err
		}
		s.Protocol = map[int]string{unix.SOCK_STREAM: tcp, unix.SOCK_DGRAM: udp}[kind]
		device, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		if err != nil {
			return nil, err
		}
		s.Device = string(bytes.TrimRight([]byte(device), "\x00"))
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return nil, err
		}
		s.Inode = stat.Ino
		all = append(all, s)
	}
	return all, nil
}

func findSituation(name string) (situation, error) {
	for _, s := range situations() {
		if s.name == name {
			return s, nil
		}
	}
	return situation{}, fmt.Errorf("no situation %q", name)
}
