package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/org/portcheck/internal/panics"
)

// signalError is the cause of a context that a signal has cancelled.
type signalError struct{ signal os.Signal }

func (s signalError) Error() string { return "cancelled by signal: " + s.signal.String() }

// withSignals returns a context that SIGINT, SIGTERM, SIGQUIT and SIGHUP cancel. A second signal
// ends the process at once, apart from SIGHUP: the kernel and the shell may both send
// one when a terminal closes. SIGHUP stays ignored if it was, as nohup has it. SIGPIPE
// does nothing: the reader of stdout may be gone, and the exit code still has to be the
// result of the check.
//
// They are caught from a moment later on, because each takes the runtime some 80 us in
// which the process can do something else: awaitSignals waits for that before a stream is
// read or written, and before ports are probed. One that comes before ends the process, as
// it does before main.
func withSignals(parent context.Context) (context.Context, func()) {
	caught := make(chan struct{})
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, caughtKey{}, caught))
	signals, hangups, pipes := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)
	go func() {
		signal.Notify(pipes, syscall.SIGPIPE) // programs that this one starts would inherit signal.Ignore
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
		if !signal.Ignored(syscall.SIGHUP) {
			signal.Notify(hangups, syscall.SIGHUP)
		}
		close(caught)
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signalError{s})
		case s := <-hangups:
			signal.Stop(signals)
			cancel(signalError{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		<-caught
		signal.Stop(signals)
		signal.Stop(hangups)
		signal.Stop(pipes)
		cancel(nil)
	}
}

type caughtKey struct{}

// awaitSignals waits until signals are caught, if withSignals has made ctx.
func awaitSignals(ctx context.Context) {
	if caught, ok := ctx.Value(caughtKey{}).(chan struct{}); ok {
		<-caught
	}
}

// outcome is what a function in another goroutine has returned, or its panic.
type outcome[T any] struct {
	value T
	panic *panics.Panic
}

func (o outcome[T]) get() T {
	o.panic.Repanic()
	return o.value
}

// inBackground calls do in another goroutine and returns where its outcome arrives.
func inBackground[T any](do func() T) <-chan outcome[T] {
	done := make(chan outcome[T], 1) // nobody may wait for it any more
	go func() {
		var o outcome[T]
		o.panic = panics.Catch(func() { o.value = do() })
		done <- o
	}()
	return done
}

// untilCancelled returns what do returns, or the cause of ctx if ctx ends first. It
// then abandons do, which must change nothing that anybody else uses: the process
// ends. It is for work that takes no context, such as that of a parser. Signals are caught
// when it returns.
func untilCancelled[T any](ctx context.Context, do func() T) (T, error) {
	done := inBackground(do)
	awaitSignals(ctx)
	select {
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	case o := <-done:
		return o.get(), nil
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
	awaitSignals(r.ctx)
	buffer := make([]byte, len(p)) // an abandoned read must not write to p
	got, err := untilCancelled(r.ctx, func() (got result) {
		got.n, got.err = r.reader.Read(buffer)
		return got
	})
	if err != nil {
		return 0, err
	}
	return copy(p, buffer[:got.n]), got.err
}

const (
	// lastWrite is how long a write may take after the end of its context. The
	// last message of a run is written then, and nobody may read it.
	lastWrite = time.Second / 4
	// chunk limits the bytes that are copied for one write.
	chunk = 64 << 10
)

// cancellableWriter is a writer for streams that others may not read. It abandons a
// write that takes longer than lastWrite after ctx has ended, and fails from then on.
type cancellableWriter struct {
	ctx    context.Context
	writer io.Writer
	stuck  atomic.Bool
	mu     sync.Mutex // of a write
}

func (w *cancellableWriter) Write(p []byte) (int, error) {
	awaitSignals(w.ctx) // SIGPIPE among them
	w.mu.Lock()
	defer w.mu.Unlock()
	type result struct {
		n   int
		err error
	}
	buffer := make([]byte, min(len(p), chunk)) // an abandoned write must not read from p
	written := 0
	for written < len(p) {
		if w.stuck.Load() {
			return written, context.Cause(w.ctx)
		}
		text := buffer[:copy(buffer, p[written:])]
		done := inBackground(func() (r result) {
			r.n, r.err = w.writer.Write(text)
			return r
		})
		var r result
		select {
		case o := <-done:
			r = o.get()
		case <-w.ctx.Done():
			select {
			case o := <-done:
				r = o.get()
			case <-time.After(lastWrite):
				w.stuck.Store(true)
				continue
			}
		}
		if written += r.n; r.err != nil {
			return written, r.err
		}
	}
	return written, nil
}
