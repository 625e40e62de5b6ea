package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/transport/internal/remote"
)

const (
	sessionRetries  = 20                    // after a host refused another session
	sessionInterval = 20 * time.Millisecond // between them
)

// Session is a command that runs on a host. Read reads its stdout, Write writes
// to its stdin.
type Session struct {
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  *remote.Head
	ended   chan struct{}
	err     error // of the command; set when ended is closed
}

// start opens a session. It retries if the link had another one before: a host
// that allows one session at a time (MaxSessions in sshd_config(5)) may receive
// the request before it has cleaned up the previous session.
func start(client *ssh.Client, command string, afterAnother bool) (*Session, error) {
	failed := func(err error) error { return remote.At("session", err) }
	session, err := client.NewSession()
	for tries := 0; afterAnother && tries < sessionRetries && errors.As(err, new(*ssh.OpenChannelError)); tries++ {
		time.Sleep(sessionInterval)
		session, err = client.NewSession()
	}
	if err != nil {
		return nil, failed(fmt.Errorf("can't open a session: %s", brief(err)))
	}
	s := &Session{session: session, stderr: &remote.Head{}, ended: make(chan struct{})}
	session.Stderr = s.stderr
	if s.stdout, err = session.StdoutPipe(); err != nil {
		return nil, failed(err)
	}
	if s.stdin, err = session.StdinPipe(); err != nil {
		return nil, failed(err)
	}
	if err := session.Start(command); err != nil {
		_ = session.Close()
		return nil, failed(errors.New("the host refused to run a command"))
	}
	go func() {
		s.err = s.result(session.Wait())
		close(s.ended)
	}()
	return s, nil
}

// result converts the error with which the session ended to that of the command.
func (s *Session) result(err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Signal() == "":
		return &remote.ExitError{Status: exit.ExitStatus(), Stderr: s.Stderr()}
	}
	return &remote.ExitError{Status: -1, Stderr: s.Stderr()}
}

// Read reads the command's stdout.
func (s *Session) Read(p []byte) (int, error) { return s.stdout.Read(p) }

// Write writes to the command's stdin. It blocks while the host's buffers are
// full.
func (s *Session) Write(p []byte) (int, error) { return s.stdin.Write(p) }

// Stderr returns the beginning of what the command has written to stderr so far,
// at most 4 KiB.
func (s *Session) Stderr() string { return s.stderr.String() }

// Step returns "": the login is over.
func (s *Session) Step() string { return "" }

// CloseWrite closes the command's stdin.
func (s *Session) CloseWrite() error { return ignoreEOF(s.stdin.Close()) }

// Wait waits until the command has exited. The error is an *remote.ExitError if the
// command failed.
func (s *Session) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the session without waiting for the command. Pending calls of
// Read and Wait return when the host confirms, or when the link is closed.
func (s *Session) Close() error { return ignoreEOF(s.session.Close()) }

// ignoreEOF returns nil if err is io.EOF, which means that the other side has
// closed the session already.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
