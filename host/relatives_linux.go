package host

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// relatives returns the processes that most likely share a holder's sockets: next of
// kin, which are its parent and its children, and its siblings and the processes of its
// cgroup. forks are those of which one has forked the other. known is false if the kernel
// does not list them all.
func relatives(pid int, groups *cgroups, orphans siblings) (kin, mates, forks []int, known bool) {
	stat, err := readStat("/proc/" + strconv.Itoa(pid) + "/")
	if err != nil {
		return nil, nil, nil, true // it has ended
	}
	children, err := childrenOf(pid)
	mates, known = groups.matesOf(pid)
	brothers, siblingsErr := orphans.of(stat)
	forks = slices.Concat(children, brothers)
	if stat.copied {
		forks = append(forks, stat.parent)
	}
	return append(children, stat.parent), append(brothers, mates...), forks, known && err == nil && siblingsErr == nil
}

// siblings are the children of processes that are known to have many, by parent. An orphan
// has a parent that did not start it, init or a subreaper (PR_SET_CHILD_SUBREAPER), but is
// still in the session in which it was started, unless it has made one of its own. Its
// stack is then at the address of those of the other copies.
type siblings map[int]*brood

// brood is the children of a process, by session, and the forked copies of others among
// them by the address of their stack, once they are asked for.
type brood struct {
	all      []int
	sessions map[int][]int
	stacks   map[uint64][]int
}

// of returns the children of a process's parent in its session, and those that are copies
// as it is one, each group once. A program that was started by a parent which still runs
// shares no socket with them.
func (all siblings) of(s stat) ([]int, error) {
	under := inSession(s.parent, s.session)
	if s.parent <= 0 || !s.copied && under {
		return nil, nil
	}
	b := all[s.parent]
	if b == nil {
		children, err := childrenOf(s.parent)
		if err != nil {
			return nil, err
		}
		b = &brood{all: children, sessions: map[int][]int{}}
		all[s.parent] = b
		for _, pid := range children {
			if session, err := unix.Getsid(pid); err == nil {
				b.sessions[session] = append(b.sessions[session], pid)
			}
		}
	}
	found := b.sessions[s.session]
	delete(b.sessions, s.session)
	if s.copied && s.stack != 0 && !under {
		found = append(found, b.copies(s.stack)...)
	}
	return found, nil
}

// copies returns the children that are forked copies with a stack at an address.
func (b *brood) copies(stack uint64) []int {
	if b.stacks == nil {
		b.stacks = map[uint64][]int{}
		for _, pid := range b.all {
			if s, err := readStat("/proc/" + strconv.Itoa(pid) + "/"); err == nil && s.copied {
				b.stacks[s.stack] = append(b.stacks[s.stack], pid)
			}
		}
	}
	found := b.stacks[stack]
	delete(b.stacks, stack)
	return found
}

func inSession(pid, session int) bool {
	own, err := unix.Getsid(pid)
	return err == nil && own == session
}

// childrenOf returns the children of all threads of a process.
func childrenOf(pid int) ([]int, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil, unlessEnded(err, dir)
	}
	var all []int
	for _, thread := range threads {
		own := dir + "/" + thread.Name()
		text, err := kernelfile.Read(own + "/children")
		if err = unlessEnded(err, own); err != nil {
			return nil, err
		}
		all = append(all, numbers(bytes.NewReader(text))...)
	}
	return all, nil
}

// unlessEnded returns nil instead of the error of a process or thread that has
// ended. A kernel without CONFIG_PROC_CHILDREN returns the same error for one
// that still runs.
func unlessEnded(err error, dir string) error {
	if err != nil && unix.Access(dir, unix.F_OK) != nil {
		return nil
	}
	return err
}

// numbers returns the positive numbers of a list of PIDs.
func numbers(r io.Reader) []int {
	var all []int
	words := bufio.NewScanner(r)
	words.Split(bufio.ScanWords)
	for words.Scan() {
		if n, err := strconv.Atoi(words.Text()); err == nil && n > 0 { // 0 is a process of another PID namespace
			all = append(all, n)
		}
	}
	return all
}

// cgroups finds processes by their cgroup. Its results are hints: it finds nothing
// where the cgroup file system is empty, as in `ip netns exec`, or may not be
// searched.
type cgroups struct {
	unified string          // mount point of cgroup v2; "" if there is none
	fd      int             // of unified; -1 if it can't be opened
	listed  map[string]bool // paths of which matesOf has returned the processes
}

func newCgroups() *cgroups {
	c := &cgroups{fd: -1, listed: map[string]bool{}, unified: unifiedMount()}
	if c.unified == "" {
		return c
	}
	var err error
	if c.fd, err = unix.Open(c.unified, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		c.fd = -1
	}
	return c
}

func (c *cgroups) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd) // only read from
	}
}

// byID returns the processes of the cgroup with this ID, which is the inode of
// its directory. Only root may open a file by its inode.
func (c *cgroups) byID(id uint64) []int {
	const (
		fileIDKernfs = 0xfe // FILEID_KERNFS of include/linux/exportfs.h
		rootID       = 1    // of the root cgroup
	)
	if c.fd < 0 || id == 0 || id == rootID {
		return nil
	}
	handle := unix.NewFileHandle(fileIDKernfs, binary.NativeEndian.AppendUint64(nil, id))
	dir, err := unix.OpenByHandleAt(c.fd, handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, "cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	procs := os.NewFile(uintptr(fd), "cgroup.procs")
	defer procs.Close()
	return numbers(procs)
}

// matesOf returns the processes in the cgroup of a process. For the root cgroup
// it returns none, because its processes have nothing in common, and none for a
// cgroup of which it has returned them before: there may be thousands of both
// holders and processes in one.
func (c *cgroups) matesOf(pid int) (mates []int, known bool) {
	text, err := kernelfile.Read("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, true // it has ended, or the kernel has no cgroups
	}
	path, found := parseUnifiedCgroup(string(text))
	if !found || c.unified == "" {
		return nil, false // cgroup v1 alone
	}
	if up, _ := levelsUp(path); up > 0 {
		return nil, false // outside of our cgroup namespace, and so of the mount
	}
	if path == "/" || c.listed[path] {
		return nil, true
	}
	procs, err := os.Open(filepath.Join(c.unified, path, "cgroup.procs"))
	if err != nil {
		return nil, false
	}
	defer procs.Close()
	c.listed[path] = true
	return numbers(procs), true
}

// unifiedMount returns the mount point of cgroup v2, "" if there is none. The list of
// mounts is long on a host with containers, so the usual places come first.
func unifiedMount() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var stat unix.Statfs_t
		if unix.Statfs(dir, &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	text, err := kernelfile.Read("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return parseUnifiedMount(string(text))
}

// parseUnifiedMount returns the mount point of cgroup v2:
//
//	28 1 0:25 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw
func parseUnifiedMount(mountinfo string) string {
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) >= 5 {
			return fields[4]
		}
	}
	return ""
}

// parseUnifiedCgroup returns the cgroup v2 path, from the line "0::/path".
func parseUnifiedCgroup(text string) (path string, found bool) {
	for line := range strings.Lines(text) {
		if path, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); found {
			return path, true
		}
	}
	return "", false
}
