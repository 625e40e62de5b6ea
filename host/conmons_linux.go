package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Without root, Podman's ports are held by processes that don't name their container.
// The kernel shows to which conmon they belong.

// descriptorsOfConmons is how many descriptors and processes of conmons are read in a
// search. A conmon has twenty.
const descriptorsOfConmons = 1 << 16

// conmons finds the conmons of users.
type conmons struct {
	ctx    context.Context
	all    []int // processes of that name; nil until they are needed
	failed bool  // there may be more
	left   int   // of descriptorsOfConmons
	byUser map[int]*watch
}

func newConmons(ctx context.Context) *conmons {
	return &conmons{ctx: ctx, left: descriptorsOfConmons, byUser: map[int]*watch{}}
}

// watch is what the conmons of one user have.
type watch struct {
	writers  map[uint64][]int     // conmons by the pipes into which they can write
	networks map[uint64][]watched // what they watch, by network namespaces
	complete bool
}

// watched is a process that a conmon has started.
type watched struct{ pid, conmon int }

// of returns what the conmons of a user have.
func (c *conmons) of(uid int) *watch {
	if w := c.byUser[uid]; w != nil {
		return w
	}
	w := &watch{writers: map[uint64][]int{}, networks: map[uint64][]watched{}}
	c.byUser[uid] = w
	if c.all == nil && !c.failed {
		c.list()
	}
	if c.failed {
		return w
	}
	for _, pid := range c.all {
		dir := "/proc/" + strconv.Itoa(pid) + "/"
		if user, err := effectiveUID(dir); err == nil && user != uid || !runs(dir) {
			continue
		}
		if err := c.add(w, pid); err != nil && runs(dir) {
			return w
		}
	}
	w.complete = true
	return w
}

// list lists the processes that are called conmon. The file comm is read faster than stat.
func (c *conmons) list() {
	pids, err := processes()
	c.failed = err != nil
	c.all = []int{}
	for _, pid := range pids {
		if c.ctx.Err() != nil {
			c.failed = true
			return
		}
		if name, err := readKernelFile("/proc/" + strconv.Itoa(pid) + "/comm"); err == nil && string(name) == "conmon\n" {
			c.all = append(c.all, pid)
		}
	}
}

// add adds what a conmon has. One in another PID namespace is a process of a container.
func (c *conmons) add(w *watch, pid int) error {
	inside, err := namespaceInode("/proc/" + strconv.Itoa(pid) + "/ns/pid")
	own, ownErr := namespaceInode("/proc/self/ns/pid")
	if err := errors.Join(err, ownErr); err != nil || inside != own {
		return err
	}
	err = c.eachDescriptor(pid, func(at, link string) {
		if pipe, ok := parsePipeLink(link); ok && opened(at)&unix.S_IWUSR != 0 {
			w.writers[pipe] = append(w.writers[pipe], pid)
		}
	})
	if err != nil {
		return err
	}
	children, err := childrenOf(pid)
	if c.left -= len(children); err != nil || c.left < 0 {
		return errors.Join(err, errTooMany)
	}
	for _, child := range children {
		dir := "/proc/" + strconv.Itoa(child) + "/"
		network, err := namespaceInode(dir + "ns/net")
		switch {
		case err == nil:
			w.networks[network] = append(w.networks[network], watched{child, pid})
		case runs(dir):
			return err
		}
	}
	return nil
}

// runs reports whether a process has not ended. A zombie has.
func runs(dir string) bool {
	s, err := readStat(dir)
	return err == nil && s.state != "Z" && s.state != "X"
}

func effectiveUID(dir string) (int, error) {
	status, err := readKernelFile(dir + "status")
	if err != nil {
		return -1, err
	}
	return parseEffectiveUID(status)
}

// eachDescriptor calls do with the path and the target of each descriptor of a process.
func (c *conmons) eachDescriptor(pid int, do func(at, link string)) error {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(512)
		if c.left -= len(names); c.left < 0 || c.ctx.Err() != nil {
			return errTooMany
		}
		for _, name := range names {
			at := path.Join(dir.Name(), name)
			link, err := os.Readlink(at)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			do(at, link)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// parsePipeLink parses "pipe:[12345]".
func parsePipeLink(link string) (inode uint64, ok bool) {
	number, found := strings.CutPrefix(link, "pipe:[")
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	return inode, found && err == nil
}

// opened returns for what a descriptor is open, as the mode of its link has it
// (proc_pid_fd(5)).
func opened(at string) uint32 {
	var stat unix.Stat_t
	if unix.Lstat(at, &stat) != nil {
		return 0
	}
	return stat.Mode
}

// atPipesOf returns the conmon with the other end of a pipe from which a forwarder
// reads. Podman gives that end to the conmon of the container alone, and the forwarder
// ends when it is closed.
func (d *details) atPipesOf(pid, uid int) (monitor, bool) {
	var pipes []uint64
	err := d.conmons.eachDescriptor(pid, func(at, link string) {
		if pipe, ok := parsePipeLink(link); ok && opened(at)&unix.S_IRUSR != 0 {
			pipes = append(pipes, pipe)
		}
	})
	user := d.conmons.of(uid)
	if err != nil || !user.complete {
		return monitor{}, false
	}
	var found []monitor
	for _, pipe := range pipes {
		for _, writer := range user.writers[pipe] {
			m, ok := d.monitor(writer, uid)
			if !ok {
				return monitor{}, false
			}
			found = append(found, m)
		}
	}
	return onlyContainer(found)
}

// inNetworkOf returns the conmon of the container whose network namespace a forwarder
// has open. Other containers may have joined it: Podman mounts the files of the first
// one there.
func (d *details) inNetworkOf(pid, uid int) (monitor, bool) {
	device, ok := deviceOfNamespaces()
	var networks []uint64
	err := d.conmons.eachDescriptor(pid, func(at, link string) {
		if isPodmansNetwork(link) {
			if inode, err := namespaceAt(at, device); err == nil {
				networks = append(networks, inode)
			}
		}
	})
	user := d.conmons.of(uid)
	if err != nil || !ok || !user.complete {
		return monitor{}, false
	}
	var found []monitor
	for _, network := range networks {
		for _, w := range user.networks[network] {
			m, ok := d.monitor(w.conmon, uid)
			text, err := readKernelFile("/proc/" + strconv.Itoa(w.pid) + "/mountinfo")
			if !ok || err != nil {
				return monitor{}, false
			}
			if ids := parseNetworkFiles(string(text)); len(ids) == 1 && ids[0] == m.container {
				found = append(found, m)
			}
		}
	}
	return onlyContainer(found)
}

// isPodmansNetwork reports whether a file is where Podman mounts a network namespace that
// it makes for a container: netns-UUID. A user may serve a namespace of his own.
func isPodmansNetwork(file string) bool {
	uuid, ok := strings.CutPrefix(path.Base(file), "netns-")
	return ok && strings.HasPrefix(file, "/") && len(uuid) == 36 && isHex(strings.ReplaceAll(uuid, "-", ""))
}

// monitor returns what the command line of a conmon says, if it is the machine's.
func (d *details) monitor(pid, uid int) (monitor, bool) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	before, err := readStat(dir)
	if err != nil || d.conmons.ctx.Err() != nil {
		return monitor{}, false
	}
	h := Holder{PID: pid, UID: -1}
	h.Executable, h.File, _ = d.executable(dir)
	h.UID, _ = effectiveUID(dir)
	f, proven := ForwarderOf(h)
	if !proven || f.Name != "conmon" || h.UID != uid {
		return monitor{}, false
	}
	m, ok := readMonitor(dir)
	m.pid = pid
	after, err := readStat(dir)
	return m, ok && err == nil && after.start == before.start
}

// onlyContainer returns the container of conmons, if it is one.
func onlyContainer(found []monitor) (monitor, bool) {
	if len(found) == 0 || slices.ContainsFunc(found, func(m monitor) bool { return m.container != found[0].container || m.name != found[0].name }) {
		return monitor{}, false
	}
	return found[0], true
}

// deviceOfNamespaces returns the device on which the inodes of namespaces are.
func deviceOfNamespaces() (device [2]uint32, ok bool) {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, "/proc/self/ns/net", 0, unix.STATX_INO, &stat)
	return [2]uint32{stat.Dev_major, stat.Dev_minor}, err == nil
}

// namespaceAt returns the inode of the namespace that a descriptor has open. It does not
// wait for the file system of another file.
func namespaceAt(at string, device [2]uint32) (uint64, error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, at, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &stat); err != nil {
		return 0, err
	}
	if [2]uint32{stat.Dev_major, stat.Dev_minor} != device {
		return 0, unix.EINVAL
	}
	return stat.Ino, nil
}

// parseNetworkFiles returns the IDs of the containers whose files for the network a
// container has.
func parseNetworkFiles(mountinfo string) []string {
	var ids []string
	for line := range strings.Lines(mountinfo) {
		if fields := strings.Fields(line); len(fields) > 4 && (fields[4] == "/etc/hosts" || fields[4] == "/etc/resolv.conf") {
			for _, id := range parseOwnContainer(line) {
				if !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}
