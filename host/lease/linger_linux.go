package lease

import (
	"context"
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
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
	const silence = time.Second
	request := make([]byte, 56) // a struct inet_diag_req_v2
	request[0], request[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0)) // all states
	r := netlink.Request{Type: unix.SOCK_DIAG_BY_FAMILY, Payload: request}
	return netlink.Dump(context.Background(), netlink.SockDiag, r, silence, func(message []byte) error {
		l.add(message)
		return nil
	})
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
