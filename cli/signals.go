package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// signalled is the cause of a context that a signal has cancelled.
type signalled struct{ signal os.Signal }

func (s signalled) Error() string { return "cancelled by signal: " + s.signal.String() }

// WithSignals returns a context that SIGINT and SIGTERM cancel. A second signal
// ends the process as if nobody had listened. SIGPIPE is no end: who reads
// stdout may be gone, and the exit code still says what was found.
func WithSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE) // not Ignore, which programs that we start would inherit
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signalled{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		cancel(nil)
	}
}

// interruptible is a reader that does not outlast ctx. A read that is under way
// then is left behind: nothing else ends it.
type interruptible struct {
	ctx    context.Context
	reader io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if r.reader == nil {
		return 0, io.EOF
	}
	type result struct {
		n   int
		err error
	}
	buffer := make([]byte, len(p)) // p is the caller's again when ctx ends
	done := make(chan result, 1)
	go func() {
		n, err := r.reader.Read(buffer)
		done <- result{n, err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, context.Cause(r.ctx)
	case got := <-done:
		return copy(p, buffer[:got.n]), got.err
	}
}
