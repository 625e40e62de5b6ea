// Package sshlink reaches a host by SSH and runs commands there: it knows names,
// keys, host keys and jumps, and nothing of ports.
package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Options are what all links of one run have in common.
type Options struct {
	// Env are the variables of our process: HOME, SSH_AUTH_SOCK, and
	// PORTCHECK_SSH_KEY, _PASSPHRASE and _KNOWN_HOSTS, which hold texts.
	Env        map[string]string
	Identities []string // files of private keys; the only ones that are offered then
	KnownHosts string   // a file that replaces the user's and the system's
	// Budgets of the steps, for each hop: Connect until the TCP connection is
	// made, Handshake until the user is let in.
	Connect, Handshake time.Duration
}

// Dialer makes links. It reads keys and files once, when the first link needs
// them. It may be used by several goroutines.
type Dialer struct{ o Options }

// New makes a Dialer. It reads nothing yet.
func New(o Options) *Dialer { return &Dialer{o} }

// Check says what is wrong with a target of the form ssh://[user@]host[:port].
func Check(target string) error { return nil }

// StepError says at which step of the way a host could not be reached.
type StepError struct {
	Step string // resolve, connect, handshake, host key, authentication, session
	Err  error
}

// Error is "STEP: what went wrong", one line.
func (e *StepError) Error() string { return fmt.Sprintf("%s: %s", e.Step, e.Err) }

// Unwrap is the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Dial reaches a target. The error is a *StepError, or the context's.
func (d *Dialer) Dial(ctx context.Context, target string) (*Link, error) {
	return nil, errors.ErrUnsupported
}

// Link is a connection to a host, its user let in.
type Link struct{}

// Start starts a command, which the user's login shell reads. The context is of
// the start alone.
func (l *Link) Start(ctx context.Context, command string) (*Session, error) {
	return nil, errors.ErrUnsupported
}

// Output runs a command to its end and returns what it wrote to stdout. More
// than limit bytes are an error. A command that fails is an *ExitError.
func (l *Link) Output(ctx context.Context, command string, limit int) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Close ends the connection, its sessions and the hops on the way.
func (l *Link) Close() error { return nil }

// Session is a command that runs on the host: Read its stdout, Write to its
// stdin.
type Session struct{ io.ReadWriter }

// Said is the beginning of what it has written to stderr so far, at most 4 KiB.
func (s *Session) Said() string { return "" }

// CloseWrite ends its stdin.
func (s *Session) CloseWrite() error { return nil }

// Wait waits for its end. The error is an *ExitError if it failed.
func (s *Session) Wait(ctx context.Context) error { return nil }

// Close ends the session without waiting for the command.
func (s *Session) Close() error { return nil }

// ExitError is a command that ended otherwise than by exit 0.
type ExitError struct {
	Status int    // -1: by a signal, or not told
	Said   string // the beginning of what it wrote to stderr
}

// Error says the status and what the command said.
func (e *ExitError) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return fmt.Sprintf("exit status %d: %s", e.Status, e.Said)
}
