package nat

import (
	"bytes"
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
)

// silence is how long the kernel may take for a part of an answer.
const silence = 5 * time.Second

// nfnetlink asks the subsystems of nfnetlink.
type nfnetlink struct {
	ctx  context.Context
	conn *netlink.Conn
}

func openNfnetlink(ctx context.Context) (*nfnetlink, error) {
	conn, err := netlink.Open(netlink.Netfilter)
	if err != nil {
		return nil, unreadable(err)
	}
	return &nfnetlink{ctx, conn}, nil
}

func (n *nfnetlink) singly() bool { return true }

func (n *nfnetlink) close() { n.conn.Close() }

// get asks for one object and returns its message without the netlink header. It
// returns none if the answer has no message.
func (n *nfnetlink) get(kind uint16, family uint8, ask []attribute) ([]byte, error) {
	var found []byte
	err := n.ask(kind, family, 0, ask, func(message []byte) error {
		found = bytes.Clone(message)
		return netlink.ErrEnough
	})
	return found, err
}

// do makes a request to which the answer is an error or none.
func (n *nfnetlink) do(kind uint16, family uint8, ask []attribute) error {
	return n.ask(kind, family, unix.NLM_F_ACK, ask, func([]byte) error { return nil })
}

// dump asks for all objects and calls each for every message, without its netlink
// header.
func (n *nfnetlink) dump(kind uint16, family uint8, ask []attribute, each func(message []byte) error) error {
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

// ask calls each for every message of the subsystem that is asked.
func (n *nfnetlink) ask(kind uint16, family uint8, flags uint16, ask []attribute, each func([]byte) error) error {
	payload := []byte{family, unix.NFNETLINK_V0, 0, 0}
	for _, a := range ask {
		payload = netlink.AppendAttribute(payload, a.kind, a.value)
	}
	request := netlink.Request{Type: kind, Flags: flags, Payload: payload}
	return unreadable(n.conn.Ask(n.ctx, request, silence, func(m netlink.Message) error {
		if m.Type>>8 != kind>>8 {
			return nil
		}
		return each(m.Data)
	}))
}

// unreadable returns an error of netlink as one of this package. A dump that the rules
// have changed under ends with EINTR.
func unreadable(err error) error {
	if errors.Is(err, netlink.ErrInterrupted) || errors.Is(err, unix.EINTR) {
		return errChanged
	}
	if failed, ok := errors.AsType[*netlink.Error](err); ok {
		return &Unreadable{Op: failed.Op, Err: failed.Err}
	}
	return err
}
