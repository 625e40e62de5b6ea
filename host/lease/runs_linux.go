package lease

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Runs reports whether there is a process with which a lease can end. A zombie has ended
// already.
func Runs(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) // the last two: a thread
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return err != nil || n == 0
		}
	}
}
