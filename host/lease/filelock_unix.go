//go:build unix && (!linux || filelocks)

package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockByte locks a byte of a file. POSIX locks can be asked about without taking them.
// They are given up as soon as this process closes the file, however often it has opened
// it: no process opens a lock that it has (fcntl(2)).
func lockByte(f *os.File, at int64) error {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: at, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &l)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errTaken
	}
	return err
}

// byteLocked reports whether another process has locked a byte of a file.
func byteLocked(f *os.File, at int64) (bool, error) {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: at, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l)
	return err == nil && l.Type != unix.F_UNLCK, err
}

// private returns an error if another user can have a hand in a directory.
func private(_ string, info fs.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || int(s.Uid) != os.Geteuid():
		return errors.New("it is that of another user")
	case info.Mode().Perm() != 0o700:
		return fmt.Errorf("its mode is %04o, not 0700", info.Mode().Perm())
	}
	return nil
}

// ended reports whether a process has ended.
func ended(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
