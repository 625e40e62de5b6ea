package host

import (
	"cmp"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// OwnContainer reports whether this process runs in a container, and returns the
// IDs that the container may have. Engines mount a file with the ID in its path
// at /etc/hostname, and use the first digits of the ID as the host name. With
// `--network container:X` both are those of X, so the result is a hint.
func OwnContainer() (ids []string, inside bool) {
	if text, err := kernelfile.Read("/proc/self/mountinfo"); err == nil {
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

// containerAtStart is what OwnContainer has returned first: the list of mounts may be long.
var containerAtStart = sync.OnceValues(OwnContainer)

// The initial IPC and UTS namespaces: PROC_IPC_INIT_INO and PROC_UTS_INIT_INO of
// include/uapi/linux/nsfs.h.
const (
	initialIPCNamespace = 4026531839
	initialUTSNamespace = 4026531838
)

// SetUpAsContainer reports whether this process has an IPC or UTS namespace of its own,
// as every runtime of containers makes it, or was started with what Podman, LXC and
// systemd-nspawn set: https://systemd.io/CONTAINER_INTERFACE. It is no proof of another
// network than the machine's.
func SetUpAsContainer() bool {
	for path, initial := range map[string]uint64{"/proc/self/ns/ipc": initialIPCNamespace, "/proc/self/ns/uts": initialUTSNamespace} {
		if n := inodeOrZero(path); n != 0 && n != initial {
			return true
		}
	}
	_, err := os.Stat("/run/.containerenv")
	return err == nil || os.Getenv("container") != ""
}

// runsInEngine reports whether an engine has started this container. The files that
// mark a container are no proof: a virtual machine made from an image has them.
func runsInEngine() bool {
	ids, _ := OwnContainer()
	return len(ids) > 0
}

// parseOwnContainer returns the container IDs in the sources of the mounts at
// /etc/hostname and the like. In mountinfo (proc_pid_mountinfo(5)), field 4 is
// the path within the file system, and field 5 the mount point.
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

// machineRoot is what the paths of the machine that /proc shows have before them
// here: "" where they are the same. A container with the host's PID namespace has
// files of its own.
var machineRoot = sync.OnceValue(func() string {
	own, first := inodeOrZero("/proc/self/ns/mnt"), inodeOrZero("/proc/1/ns/mnt")
	pids := inodeOrZero("/proc/self/ns/pid")
	if filesAreMachines(pids, own, first, true) {
		return ""
	}
	// Some systems protect PID 1 from everybody. Then the engine's process that
	// started this container stands in for it.
	root := otherRoot(own, 1)
	if root == "" {
		root = otherRoot(own, ancestors(os.Getppid())...)
	}
	// An image decides where an engine mounts its files: Podman follows links.
	ids, _ := containerAtStart()
	inContainer := len(ids) > 0 || root != "" && !mayBeSame("/", root+"/")
	if filesAreMachines(pids, own, first, inContainer) {
		return ""
	}
	return cmp.Or(root, "/proc/1/root")
})

func prepareSearch() { _ = machineRoot() }

// otherRoot returns the root directory of the first of these processes that has another
// mount namespace than own, and a root that can be entered.
func otherRoot(own uint64, pids ...int) string {
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid)
		if other := inodeOrZero(dir + "/ns/mnt"); other == 0 || other == own {
			continue
		}
		if _, err := os.Stat(dir + "/root/"); err == nil {
			return dir + "/root"
		}
	}
	return ""
}

// mayBeSame reports whether two paths lead to one file, or at least one of them can't
// be followed.
func mayBeSame(a, b string) bool {
	one, err := os.Stat(a)
	two, failed := os.Stat(b)
	return err != nil || failed != nil || os.SameFile(one, two)
}

// inodeOrZero returns the inode of the namespace that a link leads to, 0 if it can't
// be read.
func inodeOrZero(link string) uint64 {
	n, err := namespaceInode(link)
	if err != nil {
		return 0
	}
	return n
}

// filesAreMachines reports whether a process has the files of the machine, from the
// inodes of its PID namespace, of its mount namespace and of the mount namespace of
// PID 1, which are 0 if they can't be read, and whether it runs in a container.
func filesAreMachines(pid, own, first uint64, inContainer bool) bool {
	sameFiles := own == first && own != 0
	return pid != initialPIDNamespace || sameFiles || !inContainer
}
