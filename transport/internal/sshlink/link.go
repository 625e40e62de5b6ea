package sshlink

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/transport/internal/remote"
)

// Link is a connection to a host with a logged-in user.
type Link struct {
	client *ssh.Client
	used   atomic.Bool // true once a session was opened
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
		s, err := start(l.client, command, l.used.Load())
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

// Close closes the connection with its sessions.
func (l *Link) Close() error {
	err := l.client.Close()
	if errors.Is(err, net.ErrClosed) { // closed by the host, or by an earlier call
		return nil
	}
	return err
}
