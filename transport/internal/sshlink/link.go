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

	"github.com/org/portcheck/host"
)

// Link is a connection to a host with a logged-in user.
type Link struct {
	conn    net.Conn      // to the first hop; everything goes through it
	clients []*ssh.Client // one for each hop; the last is the target's
	used    atomic.Bool   // true once a session was opened
}

// tunnel opens a connection from the last hop that the link has reached to the
// next one. That hop resolves the name, so only an address can be checked here.
func (l *Link) tunnel(ctx context.Context, h hop) (net.Conn, error) {
	if addr, err := netip.ParseAddr(h.host); err == nil {
		if err := host.CheckAddress(addr); err != nil {
			return nil, err
		}
	}
	return l.clients[len(l.clients)-1].DialContext(ctx, "tcp", h.address())
}

// Start starts a command by the user's login shell. The context limits the start
// alone, not the session. The error is a *StepError, or the context's.
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
				_ = late.session.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// Output runs a command and returns its stdout. More than limit bytes are an
// error. The error of a command that fails is an *ExitError.
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
		return nil, ctx.Err() // the goroutine ends with the link, if not before
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

// Close closes the connection with its sessions and hops.
func (l *Link) Close() error {
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	for _, c := range l.clients {
		_ = c.Close() // fails, since its connection is closed
	}
	if errors.Is(err, net.ErrClosed) { // closed by the host, or by an earlier call
		return nil
	}
	return err
}
