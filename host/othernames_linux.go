package host

import (
	"bytes"
	"cmp"
	"errors"
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
// is a link to redis-check-rdb, python3 one to python3.11. With an error there may be
// more of them.
func (d *details) otherNames(dir, own string, h Holder) (names []string, unseen error) {
	if h.File != FileMachine && h.File != FileRoots {
		return nil, nil
	}
	first, unseen := firstWord(dir)
	for _, name := range []string{first, own} {
		if name == path.Base(h.Executable) || slices.Contains(names, name) || name == "" || strings.ContainsRune(name, '/') || name[0] == '.' {
			continue
		}
		key := name + "\x00" + h.Executable
		link, known := d.links[key]
		if !known {
			var own unix.Stat_t
			if err := unix.Stat(dir+"exe", &own); err != nil {
				unseen = err // another process may have a file of that path
				continue
			}
			link.leads, link.unseen = leadsTo(name, own, h.Executable)
			if !passes(link.unseen) {
				d.links[key] = link
			}
		}
		if link.unseen != nil {
			unseen = link.unseen
		}
		if link.leads {
			names = append(names, name)
		}
	}
	return names, unseen
}

// firstWord returns the base name of the first word of a process's command line,
// and reads no more of it.
func firstWord(dir string) (string, error) {
	const longest = 256
	f, err := os.Open(dir + "cmdline")
	if err != nil {
		return "", err
	}
	defer f.Close()
	start, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil || len(start) == 0 {
		return "", err
	}
	end := bytes.IndexAny(start, "\x00 ")
	if end < 0 {
		if len(start) == longest {
			return "", nil // cut in the middle of a word
		}
		end = len(start)
	}
	if end == 0 {
		return "", nil
	}
	return path.Base(string(start[:end])), nil
}

// link is a result of leadsTo.
type link struct {
	leads  bool
	unseen error // why it may lead there nevertheless
}

// leadsTo reports whether a name in one of the system's directories, to which only
// root can have written it, leads to a process's own file: the same file, or where
// an update has replaced that, the same path.
func leadsTo(name string, own unix.Stat_t, executable string) (bool, error) {
	root, err := unix.Open(machineRoot()+"/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(root)
	var unseen error
	for _, directory := range systemDirectories {
		dir, err := openIn(root, directory)
		if err != nil {
			if !notThere(err) {
				unseen = err
			}
			continue
		}
		var stat unix.Stat_t
		trusted := unix.Fstat(dir, &stat) == nil && stat.Uid == 0 && stat.Mode&0o002 == 0
		_ = unix.Close(dir) // only looked at
		if !trusted {
			continue
		}
		there, err := openIn(root, directory+"/"+name)
		if err != nil {
			if !notThere(err) {
				unseen = err
			}
			continue
		}
		leads := unix.Fstat(there, &stat) == nil && stat.Dev == own.Dev && stat.Ino == own.Ino
		if own.Nlink == 0 && !leads {
			at, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(there))
			leads = err == nil && at == executable
		}
		_ = unix.Close(there) // only looked at
		if leads {
			return true, nil
		}
	}
	return false, unseen
}

// passes reports whether an error may be gone at the next attempt.
func passes(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// notThere reports whether an error of openIn says that the name leads to no file.
func notThere(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// openIn opens what a name leads to in a root, without a right to read it. Links of the
// machine's may be absolute, so they are resolved in its root.
func openIn(root int, name string) (int, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	// Kernels before 5.6 have no such call, and filters may forbid it.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return walkIn(root, name)
	}
	return fd, err
}

// walkIn is like openIn. It goes by the text of the links, so that it follows none of
// those of /proc that lead elsewhere than their text says.
func walkIn(root int, name string) (int, error) {
	const maxLinks = 40 // as the kernel has it
	var at []string     // none of these is a link
	text := make([]byte, unix.PathMax)
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		next := rest[0]
		rest = rest[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			at = at[:max(len(at)-1, 0)]
			continue
		}
		at = append(at, next)
		n, err := unix.Readlinkat(root, strings.Join(at, "/"), text)
		if errors.Is(err, unix.EINVAL) {
			continue // no link
		}
		if err != nil {
			return -1, err
		}
		if links++; links > maxLinks {
			return -1, unix.ELOOP
		}
		at = at[:len(at)-1]
		target := string(text[:n])
		if strings.HasPrefix(target, "/") {
			at = nil
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return unix.Openat(root, cmp.Or(strings.Join(at, "/"), "."), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}
