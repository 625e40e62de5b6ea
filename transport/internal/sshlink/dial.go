package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/org/portcheck/config"
	"golang.org/x/crypto/ssh"
)

const clientVersion = "SSH-2.0-portcheck"

// Dial reaches a target. The error is a *StepError, or context.Canceled.
func (d *Dialer) Dial(ctx context.Context, target config.SSHAddress) (*Link, error) {
	way, err := d.route(target)
	if err != nil {
		return nil, err
	}
	l := &Link{}
	for i, h := range way {
		if err := d.extend(ctx, l, h); err != nil {
			_ = l.Close() // half a link is none
			if ctx.Err() != nil {
				err = unfinished(ctx, err)
			}
			if i < len(way)-1 {
				return nil, by(h, err)
			}
			return nil, err
		}
	}
	return l, nil
}

// unfinished says at which step a context has ended, if it ended by itself.
func unfinished(ctx context.Context, err error) error {
	var failed *StepError
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.As(err, &failed) {
		return &StepError{failed.Step, ctx.Err()}
	}
	return ctx.Err()
}

// by says at which host on the way an error is.
func by(h hop, err error) error {
	var failed *StepError
	if errors.As(err, &failed) {
		return &StepError{failed.Step, fmt.Errorf("by %s: %w", h.name, failed.Err)}
	}
	return err
}

// extend leads a link on to the next host. What fails at home fails before the
// host hears of it.
func (d *Dialer) extend(ctx context.Context, l *Link, h hop) error {
	keys, err := d.hostKeysFor(h)
	if err != nil {
		return err
	}
	in, err := d.login(h)
	if err != nil {
		return err
	}
	conn, err := d.connect(ctx, l, h)
	if err != nil {
		return err
	}
	if l.conn == nil {
		l.conn = conn
	}
	client, err := d.handshake(ctx, l.conn, conn, h, keys, in)
	if err != nil {
		return err
	}
	l.clients = append(l.clients, client)
	return nil
}

// within is a context for a step that has a budget; 0 is none.
func within(ctx context.Context, budget time.Duration) (context.Context, context.CancelFunc) {
	if budget <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, budget)
}

// late says that a step's budget is used up.
func late(budget time.Duration) string { return fmt.Sprintf("no answer within %s", budget) }

func (d *Dialer) connect(ctx context.Context, l *Link, h hop) (net.Conn, error) {
	ctx, cancel := within(ctx, d.o.Connect)
	defer cancel()
	var conn net.Conn
	var err error
	if len(l.clients) == 0 {
		dialer := net.Dialer{ControlContext: refuse}
		conn, err = dialer.DialContext(ctx, "tcp", h.address())
	} else {
		conn, err = l.tunnel(ctx, h)
	}
	if err != nil {
		settle(ctx)
		return nil, d.unconnected(ctx, h, err)
	}
	return conn, nil
}

// settle waits for a context whose time is up: net.Dialer keeps the time by a
// clock of its own, which may be a little ahead.
func settle(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 0 {
		<-ctx.Done()
	}
}

func (d *Dialer) unconnected(ctx context.Context, h hop, err error) error {
	var unresolved *net.DNSError
	var refused *refusedAddress
	var denied *ssh.OpenChannelError
	var errno syscall.Errno
	tooLate := ctx.Err() != nil
	switch {
	case errors.As(err, &unresolved) && tooLate:
		return &StepError{"resolve", fmt.Errorf("the name %s: %s", h.host, late(d.o.Connect))}
	case errors.As(err, &unresolved):
		return &StepError{"resolve", fmt.Errorf("the name %s has no address: %s", h.host, cut(unresolved.Err))}
	case errors.As(err, &refused):
		return &StepError{"connect", refused}
	case tooLate:
		return &StepError{"connect", fmt.Errorf("%s: %s", h.address(), late(d.o.Connect))}
	case errors.As(err, &denied) && denied.Reason == ssh.Prohibited:
		return &StepError{"connect", fmt.Errorf("%s: the host before does not forward connections", h.address())}
	case errors.As(err, &denied):
		return &StepError{"connect", fmt.Errorf("%s can't be reached from the host before: %s", h.address(), cut(denied.Message))}
	case errors.As(err, &errno):
		return &StepError{"connect", fmt.Errorf("%s: %w", h.address(), errno)}
	}
	return &StepError{"connect", fmt.Errorf("%s: %s", h.address(), brief(err))}
}

// handshake agrees on keys with the host at the other end of conn and lets the
// user in. It closes base, on which conn is built, if that takes too long:
// tunnels know no deadlines.
func (d *Dialer) handshake(ctx context.Context, base io.Closer, conn net.Conn, h hop, keys *hostKeys, in *login) (*ssh.Client, error) {
	ctx, cancel := within(ctx, d.o.Handshake)
	defer cancel()
	inTime := context.AfterFunc(ctx, func() { _ = base.Close() }) // whoever reads or writes hears of it
	in.ctx = ctx
	var trusted atomic.Bool // set by a goroutine of the connection's
	c, channels, requests, err := ssh.NewClientConn(conn, h.keyName, &ssh.ClientConfig{
		User:          h.user,
		ClientVersion: clientVersion,
		HostKeyCallback: func(keyName string, remote net.Addr, key ssh.PublicKey) error {
			if err := keys.check(keyName, remote, key); err != nil {
				return err
			}
			trusted.Store(true)
			return nil
		},
		HostKeyAlgorithms: keys.algorithms(h.keyName),
		AuthCallback:      in.next,
	})
	if err == nil && inTime() {
		return ssh.NewClient(c, channels, requests), nil
	}
	if err == nil {
		_ = c.Close() // its connection is closed already
	}
	return nil, unshaken(ctx, in, trusted.Load(), err)
}

func unshaken(ctx context.Context, in *login, trusted bool, err error) error {
	var failed *StepError
	var uncommon *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, &failed):
		return failed
	case trusted && ctx.Err() != nil:
		return in.failed(late(in.budget))
	case trusted:
		return in.failed("the host hung up: " + brief(err))
	case ctx.Err() != nil:
		return &StepError{"handshake", errors.New(late(in.budget))}
	case errors.As(err, &uncommon):
		return &StepError{"handshake", fmt.Errorf("no algorithm in common for %s, the host has: %s", uncommon.What, cut(fmt.Sprint(uncommon.RequestedAlgorithms)))}
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return &StepError{"handshake", errors.New("the host hung up")}
	}
	return &StepError{"handshake", fmt.Errorf("the host does not speak SSH as it should: %s", brief(err))}
}
