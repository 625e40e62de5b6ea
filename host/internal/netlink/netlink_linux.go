// Package netlink asks the Linux kernel by netlink(7) and reads its answers.
//
// Messages are handed out while they arrive, so that a large answer is never in memory.
// An answer with any defect is an error: a part of a table must not be taken for all of it.
package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrInterrupted is for a dump of a table that changed meanwhile. It may have one
	// entry twice and lack another.
	ErrInterrupted = errors.New("the table changed while it was read")
	// ErrBroken is for an answer that the kernel would not give.
	ErrBroken = errors.New("broken answer")
	// ErrEnough is for a function that wants no more messages. The rest of the answer is
	// passed over, and there is no error.
	ErrEnough = errors.New("enough")
)

// Error is the error of one operation, such as "receive from sock_diag".
type Error struct {
	Op  string
	Err error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Family is a part of the kernel that answers by netlink.
type Family struct {
	number   int
	constant string // for errors of the socket
	name     string // for the other errors
}

// The families that are asked.
var (
	SockDiag  = Family{unix.NETLINK_SOCK_DIAG, "AF_NETLINK", "sock_diag"}
	Netfilter = Family{unix.NETLINK_NETFILTER, "NETLINK_NETFILTER", "nfnetlink"}
	Route     = Family{unix.NETLINK_ROUTE, "NETLINK_ROUTE", "rtnetlink"}
)

// Request is a message to the kernel.
type Request struct {
	Type    uint16
	Flags   uint16 // besides NLM_F_REQUEST
	Payload []byte
}

// Message is one of an answer. Its data is overwritten by those that follow.
type Message struct {
	Type  uint16
	Flags uint16
	Data  []byte // without the header
}

// bufferSize is enough for any part of an answer: the kernel sends at most 32 KiB at once.
const bufferSize = 64 << 10

// Conn is a socket for one request after the other.
type Conn struct {
	family   Family
	fd       int
	pid      uint32 // the socket's own; 0 until the first request
	sequence uint32 // of the last request
	buffer   []byte
}

// Open opens a socket.
func Open(f Family) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, f.number)
	if err != nil {
		return nil, &Error{"socket(" + f.constant + ")", err}
	}
	return &Conn{family: f, fd: fd, buffer: make([]byte, bufferSize)}, nil
}

// Close closes the socket.
func (c *Conn) Close() { _ = unix.Close(c.fd) }

// CheckStrictly lets rtnetlink apply all fields of later requests, if the kernel can
// (NETLINK_GET_STRICT_CHK).
func (c *Conn) CheckStrictly() {
	_ = unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
}

// Dump asks for all objects of a kind and calls each with every one. Its socket is its
// own, so that nothing is left over from another request. If it returns nil, the answer
// was read to its end. What the kernel answers at once is read even if ctx is done: the
// limit is how long it may stay silent, less if ctx ends earlier.
func Dump(ctx context.Context, f Family, r Request, limit time.Duration, each func(data []byte) error) error {
	c, err := Open(f)
	if err != nil {
		return err
	}
	defer c.Close()
	r.Flags |= unix.NLM_F_DUMP
	return c.Ask(context.Background(), r, silence(ctx, limit), func(m Message) error {
		if err := m.ofDump(r.Type); err != nil {
			return err
		}
		return each(m.Data)
	})
}

func (m Message) ofDump(kind uint16) error {
	if m.Type != kind || m.Flags&unix.NLM_F_MULTI == 0 {
		return broken("a message of type %d with flags %#x", m.Type, m.Flags)
	}
	return nil
}

// Ask sends a request and calls each with every message of the answer, until one
// returns an error, the kernel is silent for the limit, or ctx is done. If it returns nil,
// the answer was read to its end, or each returned ErrEnough.
func (c *Conn) Ask(ctx context.Context, r Request, limit time.Duration, each func(Message) error) error {
	timeout := unix.NsecToTimeval(int64(silence(ctx, limit)))
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return &Error{"setsockopt(SO_RCVTIMEO)", err}
	}
	if err := c.send(r); err != nil {
		return &Error{"send to " + c.family.name, err}
	}
	if c.pid == 0 { // the first message has bound the socket
		own, err := unix.Getsockname(c.fd)
		if err != nil {
			return &Error{"getsockname(" + c.family.constant + ")", err}
		}
		if a, ok := own.(*unix.SockaddrNetlink); ok {
			c.pid = a.Pid
		}
	}
	for {
		done, err := c.receive(ctx, r.Flags&unix.NLM_F_ACK != 0, each)
		switch {
		case errors.Is(err, ErrEnough):
			return nil
		case err != nil:
			return &Error{"receive from " + c.family.name, err}
		case done:
			return nil
		}
	}
}

// silence returns how long the kernel may be silent.
func silence(ctx context.Context, limit time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return limit
	}
	return max(min(limit, time.Until(deadline)), time.Millisecond) // 0 would wait for ever
}

func (c *Conn) send(r Request) error {
	c.sequence++
	header := make([]byte, unix.NLMSG_HDRLEN, 256) // most requests need no other memory
	binary.NativeEndian.PutUint32(header, uint32(unix.NLMSG_HDRLEN+len(r.Payload)))
	binary.NativeEndian.PutUint16(header[4:], r.Type)
	binary.NativeEndian.PutUint16(header[6:], unix.NLM_F_REQUEST|r.Flags)
	binary.NativeEndian.PutUint32(header[8:], c.sequence)
	binary.NativeEndian.PutUint32(header[12:], c.pid)
	return unix.Sendto(c.fd, append(header, r.Payload...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive receives one datagram. done is true if it ends the answer.
func (c *Conn) receive(ctx context.Context, acknowledged bool, each func(Message) error) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	n, _, flags, from, err := unix.Recvmsg(c.fd, c.buffer, nil, 0)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return false, nil // any process may send to a netlink socket; the kernel's is 0
	}
	if flags&unix.MSG_TRUNC != 0 {
		return false, broken("a datagram of more than %d bytes", len(c.buffer))
	}
	return c.read(c.buffer[:n], acknowledged, each)
}

// read parses one datagram. done is true if it ends the answer, to which an
// acknowledgement belongs if the request asks for it.
func (c *Conn) read(datagram []byte, acknowledged bool, each func(Message) error) (done bool, err error) {
	if len(datagram) == 0 {
		return false, broken("an empty datagram")
	}
	for len(datagram) > 0 {
		if done {
			return false, broken("%d bytes behind the end", len(datagram))
		}
		if len(datagram) < unix.NLMSG_HDRLEN {
			return false, broken("a header of %d bytes", len(datagram))
		}
		size := int(binary.NativeEndian.Uint32(datagram))
		if size < unix.NLMSG_HDRLEN || size > len(datagram) {
			return false, broken("a message of %d bytes in %d", size, len(datagram))
		}
		m := Message{binary.NativeEndian.Uint16(datagram[4:]), binary.NativeEndian.Uint16(datagram[6:]), datagram[unix.NLMSG_HDRLEN:size]}
		sequence, pid := binary.NativeEndian.Uint32(datagram[8:]), binary.NativeEndian.Uint32(datagram[12:])
		datagram = datagram[min((size+3)&^3, len(datagram)):]
		switch {
		case pid == c.pid && 0 < sequence && sequence < c.sequence: // the rest of an earlier answer
		case pid != c.pid || sequence != c.sequence:
			return false, broken("an answer to another request")
		case m.Flags&unix.NLM_F_DUMP_INTR != 0:
			return false, ErrInterrupted
		case m.Type == unix.NLMSG_NOOP:
		case m.Type == unix.NLMSG_OVERRUN:
			return false, unix.ENOBUFS
		case m.Type == unix.NLMSG_ERROR, m.Type == unix.NLMSG_DONE:
			if err := status(m.Data); err != nil {
				return false, err
			}
			if m.Type == unix.NLMSG_ERROR && !acknowledged {
				return false, broken("an acknowledgement")
			}
			done = true
		default:
			if err := each(m); err != nil {
				return false, err
			}
		}
	}
	return done, nil
}

// status returns the error at the start of an end and of an error: 0, or a negative
// errno. Some subsystems have numbers of their own above those of the system.
func status(data []byte) error {
	if len(data) < 4 {
		return broken("an end of %d bytes", len(data))
	}
	switch n := int32(binary.NativeEndian.Uint32(data)); {
	case n > 0:
		return broken("an end with the number %d", n)
	case n < 0:
		return unix.Errno(-n)
	}
	return nil
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}
