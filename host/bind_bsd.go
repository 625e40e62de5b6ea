//go:build unix && !linux

package host

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// newSocket keeps out a fork between socket and close-on-exec: macOS has no
// SOCK_CLOEXEC.
func newSocket(family, kind int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, kind, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}
