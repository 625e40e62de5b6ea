//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"syscall"
)

// chownLikeParent calls chown with the owner and group of the directory that
// name is in, if this process is root and the directory is not root's.
func chownLikeParent(name string, chown func(uid, gid int) error) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	if dir, ok := info.Sys().(*syscall.Stat_t); ok && (dir.Uid != 0 || dir.Gid != 0) {
		return chown(int(dir.Uid), int(dir.Gid))
	}
	return nil
}
