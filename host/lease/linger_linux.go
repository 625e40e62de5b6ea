package lease

import (
	"encoding/binary"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// lingering are the TCP ports that have nothing but connections which no process has any
// more, most of them in TIME_WAIT: a server that was just there leaves them for a
// minute. Servers that set SO_REUSEADDR can bind these ports.
type lingering struct {
	read          bool
	closing, held port.Bits
}

// has reports whether a port is one. The sockets are read once: that is a walk over all
// of them. Before Linux 6.8 a socket that is bound and does not listen is not seen.
func (l *lingering) has(n uint16) bool {
	if !l.read {
		l.read = true
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err := l.dump(family); err != nil {
				l.closing = port.Bits{}
				break
			}
		}
	}
	return l.closing.Has(n) && !l.held.Has(n)
}

// dump adds the sockets of a family (sock_diag(7)).
func (l *lingering) dump(family uint8) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const header, length = unix.SizeofNlMsghdr, unix.SizeofNlMsghdr + 56 // a struct inet_diag_req_v2
	request := make([]byte, length)
	binary.NativeEndian.PutUint32(request, length)
	binary.NativeEndian.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[header], request[header+1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[header+4:], ^uint32(0)) // all states
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return err
	}
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10) // the kernel sends at most half of it
	for {
		n, _, flags, from, err := unix.Recvmsg(fd, buffer, nil, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // any process may send to a netlink socket; the kernel's is 0
		}
		if flags&unix.MSG_TRUNC != 0 {
			return unix.EPROTO
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				if len(m.Data) >= 4 && binary.NativeEndian.Uint32(m.Data) != 0 { // an error number
					return unix.EPROTO
				}
				return nil
			case unix.NLMSG_ERROR:
				return unix.EPROTO
			}
			l.add(m.Data)
		}
	}
}

// add adds the socket of a struct inet_diag_msg (include/uapi/linux/inet_diag.h).
func (l *lingering) add(message []byte) {
	const state, sport, inode, size, boundInactive = 1, 4, 68, 72, 13
	if len(message) < size {
		return
	}
	n := binary.BigEndian.Uint16(message[sport:])
	orphan := binary.NativeEndian.Uint32(message[inode:]) == 0
	switch message[state] {
	case unix.BPF_TCP_LISTEN, unix.BPF_TCP_CLOSE, unix.BPF_TCP_SYN_RECV, unix.BPF_TCP_NEW_SYN_RECV, boundInactive:
		orphan = false // it has a listener, or may get one
	}
	if orphan {
		l.closing.Add(n)
	} else {
		l.held.Add(n)
	}
}
