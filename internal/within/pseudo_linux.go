package within

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// pseudo are the file systems of the kernel itself. Their files look regular, but
// reading one can wait for ever (/proc/kmsg) or take from others what is read.
var pseudo = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
	unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC,
}

// isPseudo reports whether a file is known to be one of the kernel itself.
func isPseudo(f *os.File) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fs) == nil && slices.Contains(pseudo, int64(fs.Type))
}
