package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/org/portcheck/internal/panics"
)

// signalError is the cause of a context that a signal has cancelled.
type signalError struct{ signal os.Signal }

func (s signalError) Error() string { return "cancelled by signal: " + s.signal.String() }

// WithSignals returns a context that SIGINT and SIGTERM cancel. A second signal
// ends the process at once. SIGPIPE does nothing: the reader of stdout may be
// gone, and the exit code still has to be the result of the check.
func WithSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE) // child processes would inherit signal.Ignore
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signalError{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		cancel(nil)
	}
}

// untilCancelled returns what do returns, or the cause of ctx if ctx ends first. It
// then abandons do, which must change nothing that anybody else uses: the process
// ends. It is for work that takes no context, such as that of a parser.
func untilCancelled[T any](ctx context.Context, do func() T) (T, error) {
	type outcome struct {
		value T
		panic *panics.Panic
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		o.panic = panics.Catch(func() { o.value = do() })
		done <- o
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	case o := <-done:
		o.panic.Repanic()
		return o.value, nil
	}
}

// cancellableReader is a reader that fails when ctx ends. It then abandons a read
// that is under way, because nothing can interrupt it.
type cancellableReader struct {
	ctx    context.Context
	reader io.Reader // nil: there is nothing to read
}

func (r cancellableReader) Read(p []byte) (int, error) {
	if r.reader == nil {
		return 0, io.EOF
	}
	type result struct {
		n   int
		err error
	}
	buffer := make([]byte, len(p)) // an abandoned read must not write to p
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
