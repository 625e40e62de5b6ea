package cli

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile waits for the only lock of a file, which ends when it is closed. It is that of a
// byte behind every text, so that others can read the file.
func lockFile(f *os.File) error {
	o := windows.Overlapped{OffsetHigh: 1 << 20}
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, &o)
}
