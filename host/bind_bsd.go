//go:build unix && !linux

package host

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// newSocket holds the fork lock until the descriptor is close-on-exec, because
// macOS has no SOCK_CLOEXEC.
func newSocket(family, kind int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, kind, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}

func bindToDevice(int, string) error { return errNoDevices }

// kernelHasIPv6 is for Linux, where a filter can forbid a process what the kernel has.
func kernelHasIPv6() bool { return false }
