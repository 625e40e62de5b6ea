// Package remote has what the ways to run commands on a host by SSH share: a link
// to a host, its sessions and their errors.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Link leads to a host with a logged-in user.
type Link interface {
	// Start starts a command by the user's login shell. The context limits the
	// start alone, not the session. The error is a *StepError, or the context's.
	Start(ctx context.Context, command string) (Session, error)
	// Close ends the link with its sessions.
	Close() error
}

// Session is a command that runs on a host. Read reads its stdout, Write writes to
// its stdin and blocks while the host's buffers are full. An error of Read is a
// *StepError if the host was not reached, or the connection was lost.
type Session interface {
	io.ReadWriter
	// Stderr returns the beginning of what the command has written to stderr so
	// far, at most 4 KiB.
	Stderr() string
	// Step returns the step of the connection that goes on, "" once the command
	// was started, and what it may wait for, if that is known.
	Step() (step, waitsFor string)
	// CloseWrite closes the command's stdin.
	CloseWrite() error
	// Wait waits until the command has exited. The error is an *ExitError if the
	// command failed.
	Wait(ctx context.Context) error
	// Close closes the session without waiting for the command.
	Close() error
}

// Output runs a command and returns its stdout. More than limit bytes are an
// error. The error of a command that fails is an *ExitError.
func Output(ctx context.Context, l Link, command string, limit int) ([]byte, error) {
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
		switch {
		case got.err != nil:
			return nil, At("session", got.err)
		case len(got.text) > limit:
			return nil, fmt.Errorf("the command wrote more than %d bytes", limit)
		}
		return got.text, s.Wait(ctx)
	}
}

// StepError is an error of one step of the connection to a host.
type StepError struct {
	Step string // config, resolve, connect, proxy, handshake, host key, authentication, session, start, transfer, probe
	Err  error
}

// At returns err as an error of a step, unless it already is one.
func At(step string, err error) error {
	if errors.As(err, new(*StepError)) {
		return err
	}
	return &StepError{step, err}
}

// Error returns "STEP: CAUSE" as one line.
func (e *StepError) Error() string {
	var late LateError
	switch {
	case errors.As(e.Err, &late):
		return e.Step + ": " + late.Error()
	case errors.Is(e.Err, context.DeadlineExceeded) && !IsUnread(e.Err):
		return e.Step + ": no answer in time"
	}
	return fmt.Sprintf("%s: %s", e.Step, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// LateError is the error of a context that ended while a person or an agent may have
// been waited for.
type LateError struct {
	WaitedFor string
	Cause     error
}

func (e LateError) Error() string { return "no answer in time; it may have waited for " + e.WaitedFor }

// Unwrap returns the context's error.
func (e LateError) Unwrap() error { return e.Cause }

// UnreadError is the error of a context that ended while a file was read.
type UnreadError struct {
	What  string
	Cause error
}

func (e UnreadError) Error() string { return e.What + " could not be read in time" }

// Unwrap returns the context's error.
func (e UnreadError) Unwrap() error { return e.Cause }

// IsUnread reports whether err is the error of a deadline that passed while a file
// was read.
func IsUnread(err error) bool {
	return errors.As(err, &UnreadError{}) && errors.Is(err, context.DeadlineExceeded)
}

// ExitError is the error of a command that did not exit with status 0.
type ExitError struct {
	Status int    // -1 if the command was killed by a signal, or the status is unknown
	Stderr string // the beginning of what it wrote to stderr
}

// Error returns the status and the stderr as one line.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("exit status %d", e.Status)
	if e.Status < 0 {
		text = "the command was killed, or its exit status is unknown"
	}
	if e.Stderr == "" {
		return text
	}
	return fmt.Sprintf("%s: %s", text, Shorten(e.Stderr))
}

// LostError is the error of a session whose connection ended before its command
// did.
type LostError struct{ Reason string }

func (e *LostError) Error() string {
	if e.Reason == "" {
		return "the connection was lost"
	}
	return "the connection was lost: " + e.Reason
}

// IsLost reports whether err is that of a connection, and not of a command.
func IsLost(err error) bool {
	return errors.As(err, new(*StepError)) || errors.As(err, new(*LostError))
}
