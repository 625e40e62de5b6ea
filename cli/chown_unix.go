//go:build unix

package cli

import (
	"os"
	"syscall"
)

// chownLike calls chown with the owner and group of a directory, if this process is
// root and the directory is not root's.
func chownLike(dir *os.Root, chown func(uid, gid int) error) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := dir.Stat(".")
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && (stat.Uid != 0 || stat.Gid != 0) {
		return chown(int(stat.Uid), int(stat.Gid))
	}
	return nil
}
