//go:build !windows

package cli

import (
	"errors"
	"syscall"
)

// readerGone reports whether a write failed because nobody reads the pipe any more.
func readerGone(err error) bool { return errors.Is(err, syscall.EPIPE) }
