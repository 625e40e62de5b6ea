package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signalled is the cause of a context that a signal has cancelled.
type signalled struct{ signal os.Signal }

func (s signalled) Error() string { return "cancelled by signal: " + s.signal.String() }

// WithSignals returns a context that SIGINT and SIGTERM cancel. A second signal
// ends the process as if nobody had listened.
func WithSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
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
		cancel(nil)
	}
}
