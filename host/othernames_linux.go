package host

import (
	"bytes"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// systemDirectories are where a system keeps its programs.
var systemDirectories = []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"}

// otherNames returns the names that a process gives itself (its own name, and the
// base name of the first word of its command line) as far as a link in one of the
// system's own directories leads from that name to its executable: redis-server
// is a link to redis-check-rdb, python3 one to python3.11.
func (d *details) otherNames(dir, own string, h Holder) (names []string) {
	if h.File != FileMachine && h.File != FileRoots {
		return nil
	}
	for _, name := range []string{firstWord(dir), own} {
		if name == path.Base(h.Executable) || slices.Contains(names, name) || name == "" || strings.ContainsRune(name, '/') || name[0] == '.' {
			continue
		}
		key := name + "\x00" + h.Executable
		leads, known := d.links[key]
		if !known {
			leads = leadsTo(name, dir+"exe", h.Executable)
			d.links[key] = leads
		}
		if leads {
			names = append(names, name)
		}
	}
	return names
}

// firstWord returns the base name of the first word of a process's command line,
// and reads no more of it.
func firstWord(dir string) string {
	const longest = 256
	f, err := os.Open(dir + "cmdline")
	if err != nil {
		return ""
	}
	defer f.Close()
	start, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil || len(start) == 0 {
		return ""
	}
	end := bytes.IndexAny(start, "\x00 ")
	if end < 0 {
		if len(start) == longest {
			return "" // cut in the middle of a word
		}
		end = len(start)
	}
	if end == 0 {
		return ""
	}
	return path.Base(string(start[:end]))
}

// leadsTo reports whether a name in one of the system's directories, to which only
// root can have written it, leads to the file that exe is: the same file, or where
// an update has replaced that, the same path.
func leadsTo(name, exe, executable string) bool {
	root, err := unix.Open(machineRoot()+"/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	var own unix.Stat_t
	if unix.Stat(exe, &own) != nil {
		return false
	}
	for _, directory := range systemDirectories {
		dir, err := unix.Openat2(root, directory, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			continue
		}
		var stat unix.Stat_t
		trusted := unix.Fstat(dir, &stat) == nil && stat.Uid == 0 && stat.Mode&0o002 == 0
		_ = unix.Close(dir) // only looked at
		if !trusted {
			continue
		}
		// Links of the machine's may be absolute, so they are resolved in its root.
		there, err := unix.Openat2(root, directory+"/"+name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			continue
		}
		leads := unix.Fstat(there, &stat) == nil && stat.Dev == own.Dev && stat.Ino == own.Ino
		if own.Nlink == 0 && !leads {
			at, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(there))
			leads = err == nil && at == executable
		}
		_ = unix.Close(there) // only looked at
		if leads {
			return true
		}
	}
	return false
}
