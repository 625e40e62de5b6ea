//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// wasClosed reports whether a standard stream was closed at the start. Go's runtime has
// opened /dev/null in its place then, for reading and writing (runtime/fds_unix.go).
// `>/dev/null` opens it for writing alone.
func wasClosed(f *os.File) bool {
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return false
	}
	at, err := f.Stat()
	if err != nil || !os.SameFile(at, null) {
		return false
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}
