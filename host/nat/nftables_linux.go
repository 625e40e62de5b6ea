package nat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// netlink is a socket to the subsystems of nfnetlink, or to rtnetlink. It hands out
// messages while they arrive, so that a large answer is never in memory.
type netlink struct {
	ctx      context.Context
	name     string // for errors
	fd       int
	pid      uint32
	sequence uint32
	asked    uint16 // the subsystem of the last request
	buffer   []byte
}

const (
	receiveTimeout = 5 * time.Second
	receiveBuffer  = 64 << 10 // the kernel sends at most 32 KiB at once
)

func openNetlink(ctx context.Context) (*netlink, error) {
	return open(ctx, unix.NETLINK_NETFILTER, "NETLINK_NETFILTER", "nfnetlink")
}

func open(ctx context.Context, protocol int, constant, name string) (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, &Unreadable{Op: "socket(" + constant + ")", Err: err}
	}
	n := &netlink{ctx: ctx, name: name, fd: fd, buffer: make([]byte, receiveBuffer)}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	var own unix.Sockaddr
	if err == nil {
		own, err = unix.Getsockname(fd)
	}
	if err != nil {
		n.close()
		return nil, &Unreadable{Op: "bind(" + constant + ")", Err: err}
	}
	if a, ok := own.(*unix.SockaddrNetlink); ok {
		n.pid = a.Pid
	}
	return n, nil
}

func (n *netlink) singly() bool { return true }

func (n *netlink) close() { _ = unix.Close(n.fd) }

// get asks for one object and returns its message without the netlink header. It
// returns none if the answer has no message.
func (n *netlink) get(kind uint16, family uint8, ask []attribute) ([]byte, error) {
	var found []byte
	err := n.ask(kind, family, 0, ask, func(message []byte) error {
		found = append([]byte(nil), message...)
		return errFound
	})
	if errors.Is(err, errFound) {
		return found, nil
	}
	return nil, err
}

// do makes a request to which the answer is an error or none.
func (n *netlink) do(kind uint16, family uint8, ask []attribute) error {
	return n.ask(kind, family, unix.NLM_F_ACK, ask, func([]byte) error { return nil })
}

var errFound = errors.New("found")

// dump asks for all objects and calls each for every message, without its netlink
// header.
func (n *netlink) dump(kind uint16, family uint8, ask []attribute, each func(message []byte) error) error {
	var problem error
	left := maxMessages
	err := n.ask(kind, family, unix.NLM_F_DUMP, ask, func(message []byte) error {
		if left--; left < 0 && problem == nil {
			problem = errTooMany
		}
		// The rest of an answer has to be received, or the next request would get it.
		if problem == nil {
			problem = each(message)
		}
		return nil
	})
	if err == nil {
		err = problem
	}
	return err
}

func (n *netlink) ask(kind uint16, family uint8, flags uint16, ask []attribute, each func([]byte) error) error {
	payload := []byte{family, unix.NFNETLINK_V0, 0, 0}
	for _, a := range ask {
		payload = a.append(payload)
	}
	return n.request(kind, flags, payload, each)
}

// request makes a request and calls each for every message of the answer.
func (n *netlink) request(kind, flags uint16, payload []byte, each func([]byte) error) error {
	n.sequence++
	n.asked = kind >> 8
	header := make([]byte, unix.NLMSG_HDRLEN, 256)
	binary.NativeEndian.PutUint16(header[4:], kind)
	binary.NativeEndian.PutUint16(header[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(header[8:], n.sequence)
	binary.NativeEndian.PutUint32(header[12:], n.pid)
	request := append(header, payload...)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	timeout := receiveTimeout
	if deadline, ok := n.ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	tv := unix.NsecToTimeval(int64(timeout))
	if err := unix.SetsockoptTimeval(n.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return &Unreadable{Op: "setsockopt(SO_RCVTIMEO)", Err: err}
	}
	if err := unix.Sendto(n.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return &Unreadable{Op: "send to " + n.name, Err: err}
	}
	for {
		if err := n.ctx.Err(); err != nil {
			return &Unreadable{Op: "receive from " + n.name, Err: err}
		}
		size, _, received, from, err := unix.Recvmsg(n.fd, n.buffer, nil, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if sender, ok := from.(*unix.SockaddrNetlink); err == nil && (!ok || sender.Pid != 0) {
			continue // any process may send to a netlink socket; the kernel's is 0
		}
		if err == nil && received&unix.MSG_TRUNC != 0 {
			err = fmt.Errorf("%w: more than %d bytes", errBroken, len(n.buffer))
		}
		done := false
		if err == nil {
			done, err = n.messages(n.buffer[:size], each)
		}
		switch {
		case errors.Is(err, errFound), errors.Is(err, errChanged):
			return err
		case err != nil:
			return &Unreadable{Op: "receive from " + n.name, Err: err}
		case done:
			return nil
		}
	}
}

// messages calls each for every message of a datagram. done reports that it ends
// the answer.
func (n *netlink) messages(datagram []byte, each func([]byte) error) (done bool, err error) {
	for len(datagram) > 0 {
		if len(datagram) < unix.NLMSG_HDRLEN {
			return false, errBroken
		}
		size := int(binary.NativeEndian.Uint32(datagram))
		if size < unix.NLMSG_HDRLEN || size > len(datagram) {
			return false, errBroken
		}
		kind, flags := binary.NativeEndian.Uint16(datagram[4:]), binary.NativeEndian.Uint16(datagram[6:])
		sequence := binary.NativeEndian.Uint32(datagram[8:])
		payload := datagram[unix.NLMSG_HDRLEN:size]
		datagram = datagram[min((size+3)&^3, len(datagram)):]
		switch {
		case sequence != n.sequence:
		case flags&unix.NLM_F_DUMP_INTR != 0:
			return false, errChanged
		case kind == unix.NLMSG_ERROR || kind == unix.NLMSG_DONE:
			if len(payload) < 4 {
				return false, errBroken
			}
			if errno := -int32(binary.NativeEndian.Uint32(payload)); errno != 0 {
				if unix.Errno(errno) == unix.EINTR {
					return false, errChanged
				}
				return false, unix.Errno(errno)
			}
			return true, nil
		case kind>>8 == n.asked:
			if err := each(payload); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}
