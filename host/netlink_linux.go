package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dumpTimeout = 5 * time.Second // for each receive
	// dumpBuffer is enough for any datagram of a dump: the kernel sends at most
	// 32 KiB.
	dumpBuffer = 64 << 10
)

var (
	errDumpInterrupted = errors.New("the table changed while it was read")
	errDumpBroken      = errors.New("broken answer")
)

// dumpRequest is a netlink request for a dump: a message type and its payload.
type dumpRequest struct {
	kind    uint16
	payload []byte
}

// dump sends a request to the kernel and calls each with every message of the
// answer. It uses a socket of its own, so that there is nothing left over from
// another request. If it returns nil, the answer was read to its end.
func dump(ctx context.Context, r dumpRequest, each func(message []byte) error) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return &opError{"socket(AF_NETLINK)", err}
	}
	defer unix.Close(fd)
	answer := dumpAnswer{kind: r.kind, sequence: 1}
	timeout := unix.NsecToTimeval(int64(receiveTimeout(ctx)))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return &opError{"setsockopt(SO_RCVTIMEO)", err}
	}
	if err := unix.Sendto(fd, answer.request(r.payload), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return &opError{"send to sock_diag", err}
	}
	own, err := unix.Getsockname(fd) // the send has bound it
	if err != nil {
		return &opError{"getsockname(AF_NETLINK)", err}
	}
	if netlink, ok := own.(*unix.SockaddrNetlink); ok {
		answer.pid = netlink.Pid
	}
	buffer := make([]byte, dumpBuffer)
	for done := false; !done; {
		n, _, flags, from, err := unix.Recvmsg(fd, buffer, nil, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if sender, ok := from.(*unix.SockaddrNetlink); err == nil && ok && sender.Pid != 0 {
			continue // any process may send to a netlink socket; the kernel's is 0
		}
		if err == nil && flags&unix.MSG_TRUNC != 0 {
			err = fmt.Errorf("%w: a datagram of more than %d bytes", errDumpBroken, dumpBuffer)
		}
		if err == nil {
			done, err = answer.read(buffer[:n], each)
		}
		if err != nil {
			return &opError{"receive from sock_diag", err}
		}
	}
	return nil
}

// receiveTimeout returns how long one receive may take.
func receiveTimeout(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return dumpTimeout
	}
	return max(min(dumpTimeout, time.Until(deadline)), time.Millisecond) // 0 would wait for ever
}

// Netlink's message header, flags and types of include/uapi/linux/netlink.h.
const (
	headerLen       = 16
	flagRequest     = 1
	flagMulti       = 2
	flagInterrupted = 16
	flagDump        = 0x300
	typeNoop        = 1
	typeError       = 2
	typeDone        = 3
	typeOverrun     = 4
)

// dumpAnswer is what the header of every message of an answer must have.
type dumpAnswer struct {
	kind          uint16
	sequence, pid uint32
}

// request returns the message that is answered so.
func (a dumpAnswer) request(payload []byte) []byte {
	message := make([]byte, headerLen, headerLen+len(payload))
	binary.NativeEndian.PutUint32(message, uint32(headerLen+len(payload)))
	binary.NativeEndian.PutUint16(message[4:], a.kind)
	binary.NativeEndian.PutUint16(message[6:], flagRequest|flagDump)
	binary.NativeEndian.PutUint32(message[8:], a.sequence)
	binary.NativeEndian.PutUint32(message[12:], a.pid)
	return append(message, payload...)
}

// read parses one datagram. done is true if it ends the answer.
func (a dumpAnswer) read(datagram []byte, each func(message []byte) error) (done bool, err error) {
	broken := func(format string, args ...any) (bool, error) {
		return false, fmt.Errorf("%w: %s", errDumpBroken, fmt.Sprintf(format, args...))
	}
	if len(datagram) == 0 {
		return broken("an empty datagram")
	}
	for len(datagram) > 0 {
		if done {
			return broken("%d bytes behind the end", len(datagram))
		}
		if len(datagram) < headerLen {
			return broken("a header of %d bytes", len(datagram))
		}
		size := int(binary.NativeEndian.Uint32(datagram))
		if size < headerLen || size > len(datagram) {
			return broken("a message of %d bytes in %d", size, len(datagram))
		}
		kind, flags := binary.NativeEndian.Uint16(datagram[4:]), binary.NativeEndian.Uint16(datagram[6:])
		sequence, pid := binary.NativeEndian.Uint32(datagram[8:]), binary.NativeEndian.Uint32(datagram[12:])
		payload := datagram[headerLen:size]
		datagram = datagram[min((size+3)&^3, len(datagram)):]
		switch {
		case sequence != a.sequence || pid != a.pid:
			return broken("an answer to another request")
		case flags&flagInterrupted != 0:
			return false, errDumpInterrupted
		case kind == typeNoop:
		case kind == typeOverrun:
			return false, unix.ENOBUFS
		case kind == typeError, kind == typeDone:
			errno, ok := status(payload)
			switch {
			case !ok:
				return broken("an end of %d bytes", len(payload))
			case errno != 0:
				return false, errno
			case kind == typeError:
				return broken("an acknowledgement")
			}
			done = true
		case kind != a.kind || flags&flagMulti == 0:
			return broken("a message of type %d with flags %#x", kind, flags)
		default:
			if err := each(payload); err != nil {
				return false, err
			}
		}
	}
	return done, nil
}

// status parses the negative errno at the start of an end and of an error.
func status(payload []byte) (errno unix.Errno, ok bool) {
	if len(payload) < 4 {
		return 0, false
	}
	n := int32(binary.NativeEndian.Uint32(payload))
	return unix.Errno(-n), n <= 0 && n > -4096
}
