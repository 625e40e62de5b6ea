package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	saidLimit = 4 << 10 // bytes
	clearing  = 20 * time.Millisecond
)

// Session is a command that runs on the host: Read its stdout, Write to its
// stdin.
type Session struct {
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	said    *head
	ended   chan struct{}
	err     error // of the command, once it has ended
}

// start opens a session. After another one a host that allows one at a time
// (MaxSessions) may refuse it for a moment: it hears of our request before it has
// cleared away.
func start(client *ssh.Client, command string, afterAnother bool) (*Session, error) {
	failed := func(err error) error { return &StepError{"session", err} }
	session, err := client.NewSession()
	for tries := 0; afterAnother && tries < 20 && errors.As(err, new(*ssh.OpenChannelError)); tries++ {
		time.Sleep(clearing)
		session, err = client.NewSession()
	}
	if err != nil {
		return nil, failed(fmt.Errorf("the host opens no session: %s", brief(err)))
	}
	s := &Session{session: session, said: &head{}, ended: make(chan struct{})}
	session.Stderr = s.said
	if s.stdout, err = session.StdoutPipe(); err != nil {
		return nil, failed(err)
	}
	if s.stdin, err = session.StdinPipe(); err != nil {
		return nil, failed(err)
	}
	if err := session.Start(command); err != nil {
		_ = session.Close() // nothing runs in it
		return nil, failed(errors.New("the host does not run commands"))
	}
	go func() {
		s.err = s.result(session.Wait())
		close(s.ended)
	}()
	return s, nil
}

// result is what became of the command.
func (s *Session) result(err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Signal() == "":
		return &ExitError{exit.ExitStatus(), s.Said()}
	}
	return &ExitError{-1, s.Said()}
}

// Read reads its stdout, io.EOF after the end.
func (s *Session) Read(p []byte) (int, error) { return s.stdout.Read(p) }

// Write writes to its stdin. It waits while the host takes nothing.
func (s *Session) Write(p []byte) (int, error) { return s.stdin.Write(p) }

// Said is the beginning of what it has written to stderr so far, at most 4 KiB.
func (s *Session) Said() string { return s.said.String() }

// CloseWrite ends its stdin.
func (s *Session) CloseWrite() error { return ignoreEOF(s.stdin.Close()) }

// Wait waits for its end. The error is an *ExitError if it failed.
func (s *Session) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the session without waiting for the command. Who reads or waits is
// told when the host agrees, or when the link is closed.
func (s *Session) Close() error { return ignoreEOF(s.session.Close()) }

// ignoreEOF leaves out the news that the other side has closed already.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// head keeps the beginning of what is written to it and drops the rest.
type head struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(p[:min(len(p), saidLimit-h.text.Len())])
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// ExitError is a command that ended otherwise than by exit 0.
type ExitError struct {
	Status int    // -1: by a signal, or not told
	Said   string // the beginning of what it wrote to stderr
}

// Error says the status and what the command said, on one line.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("exit status %d", e.Status)
	if e.Status < 0 {
		text = "the command was ended, its exit status is not known"
	}
	if e.Said == "" {
		return text
	}
	return fmt.Sprintf("%s: %s", text, cut(e.Said))
}
