//go:build unix

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockFile waits for the only lock of a file.
func lockFile(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// closeToReplace is false: a file can be replaced while it is open, and is locked until it
// is closed.
const closeToReplace = false

// linksOf returns how many names a file has.
func linksOf(info fs.FileInfo) uint64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(stat.Nlink)
}

// keepAttributes gives a new file the owner, group, mode and extended attributes of
// another one.
func keepAttributes(old *os.File, info fs.FileInfo, f *os.File) error {
	created, err := f.Stat()
	if err != nil {
		return err
	}
	from, ok := info.Sys().(*syscall.Stat_t)
	to, is := created.Sys().(*syscall.Stat_t)
	if ok && is && (from.Uid != to.Uid || from.Gid != to.Gid) {
		if err := f.Chown(int(from.Uid), int(from.Gid)); err != nil {
			return fmt.Errorf("its owner and group (%d:%d) can't be kept: %w", from.Uid, from.Gid, withoutPath(err))
		}
	}
	if err := keepExtended(old, f); err != nil {
		return err
	}
	return f.Chmod(info.Mode()) // after the change of the owner, which clears some of its bits
}
