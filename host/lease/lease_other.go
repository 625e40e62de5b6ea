//go:build !linux

package lease

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/org/portcheck/port"
)

// errUnsupported is the error of systems without abstract unix sockets.
var errUnsupported = errors.New("ports can be leased on Linux only")

// Keep returns an error: nothing can be held here.
func Keep(context.Context, io.Reader, io.Writer, func() error) error { return errUnsupported }

// Detach returns an error: nothing can be held here.
func Detach() error { return errUnsupported }

// CloseInherited does nothing.
func CloseInherited() {}

// Start returns an error: nothing can be held here.
func Start(context.Context, string, []string, []string, Request) (Reply, error) {
	return Reply{}, errUnsupported
}

// List returns no port: none is leased here.
func List(time.Time) ([]Held, error) { return nil, nil }

// ListOwn returns no port: none is leased here.
func ListOwn(time.Time) ([]Held, error) { return nil, nil }

// LookAll returns no port: none is leased here.
func LookAll([]Held, time.Time) []Held { return nil }

// Look reports that a port is not leased.
func Look(port.Protocol, uint16, time.Time) (Lease, bool) { return Lease{}, false }

// Release reports that nothing was released.
func Release(port.Protocol, uint16, time.Time) bool { return false }
