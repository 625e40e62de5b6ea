package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// Link is a connection to a host, its user let in.
type Link struct {
	conn    net.Conn      // to the first host; all else goes through it
	clients []*ssh.Client // the hosts on the way, the last of them the target
	used    atomic.Bool   // a session was opened
}

// tunnel connects to a host from the one that the link has reached. Only that one
// can tell what a name means there.
func (l *Link) tunnel(ctx context.Context, h hop) (net.Conn, error) {
	if addr, err := netip.ParseAddr(h.host); err == nil {
		if err := checkAddress(addr); err != nil {
			return nil, err
		}
	}
	return l.clients[len(l.clients)-1].DialContext(ctx, "tcp", h.address())
}

// Start starts a command, which the user's login shell reads. The context is of
// the start alone. The error is a *StepError, or the context's.
func (l *Link) Start(ctx context.Context, command string) (*Session, error) {
	type started struct {
		session *Session
		err     error
	}
	done := make(chan started, 1)
	go func() {
		s, err := start(l.clients[len(l.clients)-1], command, l.used.Load())
		if err == nil {
			l.used.Store(true)
		}
		done <- started{s, err}
	}()
	select {
	case got := <-done:
		return got.session, got.err
	case <-ctx.Done():
		go func() {
			if late := <-done; late.err == nil {
				_ = late.session.Close() // nobody waits for it
			}
		}()
		return nil, ctx.Err()
	}
}

// Output runs a command to its end and returns what it wrote to stdout. More
// than limit bytes are an error. A command that fails is an *ExitError.
func (l *Link) Output(ctx context.Context, command string, limit int) ([]byte, error) {
	s, err := l.Start(ctx, command)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	type output struct {
		text []byte
		err  error
	}
	done := make(chan output, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(s, int64(limit)+1))
		done <- output{text, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err() // the reader ends with the link, if not before
	case got := <-done:
		if got.err != nil {
			return nil, &StepError{"session", got.err}
		}
		if len(got.text) > limit {
			return nil, fmt.Errorf("the command wrote more than %d bytes", limit)
		}
		return got.text, s.Wait(ctx)
	}
}

// Close ends the connection, its sessions and the hops on the way.
func (l *Link) Close() error {
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	for _, c := range l.clients {
		_ = c.Close() // what it goes through is closed
	}
	if errors.Is(err, net.ErrClosed) { // the host hung up first
		return nil
	}
	return err
}
