package sshlink

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/transport/internal/remote"
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
// alone, not the session. The error is a *remote.StepError, or the context's.
func (l *Link) Start(ctx context.Context, command string) (remote.Session, error) {
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
		if got.err != nil {
			return nil, got.err
		}
		return got.session, nil
	case <-ctx.Done():
		go func() {
			if late := <-done; late.err == nil {
				_ = late.session.Close()
			}
		}()
		return nil, ctx.Err()
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
