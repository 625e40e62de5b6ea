package host

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// executable returns the path of the file that a process executes, as the process
// has it in its own mount namespace, and what is known about the file. There any
// user may have mounted a file of his own over /usr/sbin/sshd, so the file is
// compared with the machine's.
func (d *details) executable(dir string) (name string, file FileProof, err error) {
	link, err := os.Readlink(dir + "exe")
	for range 3 {
		if err != nil {
			return "", "", err
		}
		name, file = d.compare(dir, link)
		before := link
		if link, err = os.Readlink(dir + "exe"); link == before {
			break // no update replaced the file meanwhile
		}
	}
	return name, file, err
}

// compare compares a process's file with the machine's.
func (d *details) compare(dir, link string) (name string, file FileProof) {
	// The kernel adds this to the path of a file that was removed, as an update
	// does. A file may also have such a name.
	name, removed := strings.CutSuffix(link, " (deleted)")
	var own, there unix.Stat_t
	if unix.Stat(dir+"exe", &own) != nil {
		return name, ""
	}
	err := unix.Stat(machineRoot()+link, &there)
	switch {
	case err == nil && own.Dev == there.Dev && own.Ino == there.Ino:
		name, file = link, FileMachine
	case removed:
		file = d.compareRemoved(dir, name)
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		file = FileOther
	}
	if file == FileMachine && onlyRootWrites(own) {
		// In a directory of his own a user may link root's python3 as docker-proxy.
		// Debian gives /usr/local/bin to a group.
		if unix.Stat(machineRoot()+path.Dir(name), &there) == nil && there.Uid == 0 && there.Mode&0o002 == 0 {
			file = FileRoots
		}
	}
	return name, file
}

// onlyRootWrites reports whether a file is root's and nobody else may write to it. An
// access control list that lets others shows as the group's right.
func onlyRootWrites(s unix.Stat_t) bool { return s.Uid == 0 && s.Mode&0o022 == 0 }

// compareRemoved reports whether the file that a process executes, which was
// removed, had that path on the machine. It had if the mount that it is on is one
// of the machine, or shows there the same directory of the same file system, as in
// the mount namespace of a service with PrivateTmp=.
func (d *details) compareRemoved(dir, name string) FileProof {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir+"exe", 0, unix.STATX_MNT_ID, &stat)
	if err != nil || stat.Mask&unix.STATX_MNT_ID == 0 { // before Linux 5.8
		return ""
	}
	machine := d.mounts()
	for _, m := range machine {
		if m.id == stat.Mnt_id {
			return FileMachine
		}
	}
	text, err := kernelfile.Read(dir + "mountinfo")
	if err != nil || len(machine) == 0 {
		return ""
	}
	for _, m := range parseMounts(string(text)) {
		if m.id != stat.Mnt_id {
			continue
		}
		own, ok := m.within(name)
		there, okThere := mountOf(machine, name).within(name)
		switch {
		case !ok || !okThere:
			return ""
		case own == there:
			return FileMachine
		}
		return FileOther
	}
	return "" // on a mount that was detached
}

// machineMounts returns the mounts of the machine, or nil if they can't be read.
func machineMounts() []mount {
	dir := "/proc/self"
	if root := machineRoot(); root != "" {
		dir = path.Dir(root)
	}
	text, err := kernelfile.Read(dir + "/mountinfo")
	if err != nil {
		return nil
	}
	return parseMounts(string(text))
}

// mount is a line of mountinfo.
type mount struct {
	id     uint64
	device string // of the file system, "major:minor"
	root   string // the directory or file of the file system that it shows
	point  string // where
}

// parseMounts parses /proc/PID/mountinfo (proc_pid_mountinfo(5)):
//
//	28 1 0:25 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw
func parseMounts(mountinfo string) (all []mount) {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if id, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
			all = append(all, mount{id, fields[2], unescapeMount(fields[3]), unescapeMount(fields[4])})
		}
	}
	return all
}

// unescapeMount replaces the escapes of mountinfo: space, tab, newline, # and
// backslash are written as "\040" and the like.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`).Replace(s)
}

// mountOf returns the mount that a path is on: of those with the longest mount
// point, the last, which covers the others.
func mountOf(mounts []mount, name string) (found mount) {
	for _, m := range mounts {
		if _, ok := m.within(name); ok && len(m.point) >= len(found.point) {
			found = m
		}
	}
	return found
}

// place is a path within a file system.
type place struct{ device, path string }

// within returns where a path below the mount point is within the file system.
func (m mount) within(name string) (place, bool) {
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(m.point, "/"))
	if !ok || m.point == "" || rest != "" && rest[0] != '/' {
		return place{}, false
	}
	return place{m.device, path.Join(m.root, rest)}, true
}
