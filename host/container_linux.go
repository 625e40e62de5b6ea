package host

import (
	"os"
	"strings"
)

// OwnContainer says whether this process runs in a container, and which IDs
// that container may have: engines put a file of theirs, whose path has the ID,
// in the place of /etc/hostname, and give the host name the ID's first digits.
// With `--network container:X` both are those of X. The answer is a hint.
func OwnContainer() (ids []string, inside bool) {
	if text, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		ids = parseOwnContainer(string(text))
	}
	for _, marker := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(marker); err == nil {
			inside = true
		}
	}
	inside = inside || len(ids) > 0
	if name, err := os.Hostname(); err == nil && inside && len(name) == 12 && isHex(name) {
		ids = append(ids, name)
	}
	return ids, inside
}

// parseOwnContainer reads the source of the mounts on /etc/hostname and its
// like out of mountinfo (proc_pid_mountinfo(5)): field 4 is the path within its
// file system, field 5 the place.
func parseOwnContainer(mountinfo string) []string {
	var ids []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[4] != "/etc/hostname" && fields[4] != "/etc/hosts" && fields[4] != "/etc/resolv.conf" {
			continue
		}
		for part := range strings.SplitSeq(fields[3], "/") {
			if len(part) == 64 && isHex(part) && (len(ids) == 0 || ids[len(ids)-1] != part) {
				ids = append(ids, part)
			}
		}
	}
	return ids
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
