package cli

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// checkReader returns EPIPE if a file is a pipe that nobody can read any more, as a write
// would: poll(2) has POLLERR for that.
func checkReader(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return nil // a write says what is wrong
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	gone := false
	err = conn.Control(func(fd uintptr) {
		polled := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(polled, 0)
		gone = err == nil && n == 1 && polled[0].Revents&unix.POLLERR != 0
	})
	if err == nil && gone {
		return unix.EPIPE
	}
	return nil
}
