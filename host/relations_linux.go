package host

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
)

// master returns the process of which a process is a forked copy: both execute the
// same file, and the copy has executed no other one since. It returns 0 if there is
// none. A daemon that has left its parent is in a session of its own. Where the file of
// another user's process may not be read, its name has to do.
func master(dir string, s stat) int {
	found := 0
	for range 64 {
		if !s.copied || s.parent <= 1 {
			break
		}
		above := "/proc/" + strconv.Itoa(s.parent) + "/"
		parent, err := readStat(above)
		if err != nil || parent.session != s.session {
			break
		}
		if _, err := os.Readlink(above + "exe"); !sameFile(above+"exe", dir+"exe") && !(errors.Is(err, fs.ErrPermission) && parent.name == s.name) {
			break
		}
		found, s = s.parent, parent
	}
	return found
}

// sameFile reports whether two paths are known to lead to one file.
func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// parentName returns the name of a process, empty if it can't be read.
func parentName(pid int) string {
	s, err := readStat("/proc/" + strconv.Itoa(pid) + "/")
	if err != nil {
		return ""
	}
	return s.name
}
