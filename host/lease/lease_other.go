//go:build !linux

package lease

import (
	"context"
	"errors"
	"io"
)

// errUnsupported is the error of systems without abstract unix sockets.
var errUnsupported = errors.New("ports can be leased on Linux only")

// Keep returns an error: nothing can be held here.
func Keep(context.Context, io.Reader, io.Writer, func() error) error { return errUnsupported }

// Detach returns an error: nothing can be held here.
func Detach() error { return errUnsupported }

// CloseInherited does nothing.
func CloseInherited() {}
