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

	"github.com/org/portcheck/host/internal/kernelfile"
)

// Without root, Podman's ports are held by processes that don't name their container.
// The kernel shows to which conmon they belong.

// What a search for conmons may cost, counted in descriptors. A conmon has twenty. One
// user's processes can't keep those of others from being found.
const (
	costOfConmons = 1 << 16
	costOfUser    = 1 << 14
	costOfConmon  = 16  // to find out what a process executes
	costOfText    = 256 // bytes of a file that are read at the cost of a descriptor
)

// conmons finds the conmons of users.
type conmons struct {
	ctx    context.Context
	all    []called // of that name; nil until they are needed
	failed bool     // there may be more
	inside uint64   // the PID namespace of this process
	left   int      // of costOfConmons
	byUser map[int]*watch
}

func newConmons(ctx context.Context) *conmons {
	return &conmons{ctx: ctx, left: costOfConmons, byUser: map[int]*watch{}}
}

// called is a process of that name.
type called struct{ pid, uid int }

// watch is what the conmons of one user have.
type watch struct {
	writers  map[uint64][]monitor // conmons by the pipes into which they can write
	networks map[uint64][]watched // what they watch, by network namespaces
	complete bool
	left     int // of costOfUser
}

// watched is a process that a conmon has started.
type watched struct {
	pid    int
	conmon monitor
}

// spend counts what something costs.
func (c *conmons) spend(w *watch, cost int) error {
	c.left -= cost
	w.left -= cost
	if c.left < 0 || w.left < 0 || c.ctx.Err() != nil {
		return errTooMany
	}
	return nil
}

// watchOf returns what the conmons of a user have.
func (d *details) watchOf(uid int) *watch {
	c := d.conmons
	if w := c.byUser[uid]; w != nil {
		return w
	}
	w := &watch{writers: map[uint64][]monitor{}, networks: map[uint64][]watched{}, left: costOfUser}
	c.byUser[uid] = w
	if c.all == nil && !c.failed {
		c.list()
	}
	if c.failed {
		return w
	}
	for _, p := range c.all {
		if p.uid != uid {
			continue
		}
		if err := d.addConmon(w, p.pid, uid); err != nil && runs("/proc/"+strconv.Itoa(p.pid)+"/") {
			return w
		}
	}
	w.complete = true
	return w
}

// list lists the processes that are called conmon.
func (c *conmons) list() {
	c.all = []called{}
	own, ownErr := namespaceInode("/proc/self/ns/pid")
	pids, err := processes()
	if c.failed = errors.Join(ownErr, err) != nil; c.failed {
		return
	}
	c.inside = own
	for _, pid := range pids {
		if c.ctx.Err() != nil {
			c.failed = true
			return
		}
		if parentName(pid) != "conmon" {
			continue
		}
		if uid, err := effectiveUID("/proc/" + strconv.Itoa(pid) + "/"); err == nil {
			c.all = append(c.all, called{pid, uid})
		} else if runs("/proc/" + strconv.Itoa(pid) + "/") {
			c.failed = true
			return
		}
	}
}

// addConmon adds what a process has if it executes the machine's conmon. One in another
// PID namespace is a process of a container.
func (d *details) addConmon(w *watch, pid, uid int) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if err := d.conmons.spend(w, costOfConmon); err != nil {
		return err
	}
	if inside, err := namespaceInode(dir + "ns/pid"); err != nil || inside != d.conmons.inside {
		return err
	}
	m, proven, err := d.monitor(pid, uid)
	if err != nil || !proven {
		return err
	}
	err = d.conmons.eachDescriptor(w, pid, func(at, link string) {
		if pipe, ok := parsePipeLink(link); ok && opened(at)&unix.S_IWUSR != 0 {
			if all := w.writers[pipe]; len(all) == 0 || all[len(all)-1].pid != pid {
				w.writers[pipe] = append(all, m)
			}
		}
	})
	if err != nil {
		return err
	}
	children, err := childrenOf(pid)
	if err := errors.Join(err, d.conmons.spend(w, len(children))); err != nil {
		return err
	}
	for _, child := range children {
		dir := "/proc/" + strconv.Itoa(child) + "/"
		network, err := namespaceInode(dir + "ns/net")
		switch {
		case err == nil:
			w.networks[network] = append(w.networks[network], watched{child, m})
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
	status, err := kernelfile.Read(dir + "status")
	if err != nil {
		return -1, err
	}
	return parseEffectiveUID(status)
}

// eachDescriptor calls do with the path and the target of each descriptor of a process.
func (c *conmons) eachDescriptor(w *watch, pid int, do func(at, link string)) error {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(512)
		if err := c.spend(w, len(names)); err != nil {
			return err
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
	user := d.watchOf(uid)
	if !user.complete {
		return monitor{}, false
	}
	pipes := map[uint64]bool{}
	err := d.conmons.eachDescriptor(user, pid, func(at, link string) {
		if pipe, ok := parsePipeLink(link); ok && opened(at)&unix.S_IRUSR != 0 {
			pipes[pipe] = true
		}
	})
	var found monitors
	for pipe := range pipes {
		for _, m := range user.writers[pipe] {
			found.add(m)
		}
	}
	return found.only(err)
}

// inNetworkOf returns the conmon of the container whose network namespace a forwarder
// has open. Other containers may have joined it: Podman mounts the files of the first
// one there.
func (d *details) inNetworkOf(pid, uid int) (monitor, bool) {
	user := d.watchOf(uid)
	device, ok := deviceOfNamespaces()
	if !user.complete || !ok {
		return monitor{}, false
	}
	networks := map[uint64]bool{}
	err := d.conmons.eachDescriptor(user, pid, func(at, link string) {
		if isPodmansNetwork(link) {
			if inode, err := namespaceAt(at, device); err == nil {
				networks[inode] = true
			}
		}
	})
	var found monitors
	for network := range networks {
		for _, w := range user.networks[network] {
			text, readErr := kernelfile.Read("/proc/" + strconv.Itoa(w.pid) + "/mountinfo")
			if err = errors.Join(err, readErr, d.conmons.spend(user, 1+len(text)/costOfText)); err != nil {
				return monitor{}, false
			}
			if ids := parseNetworkFiles(string(text)); len(ids) == 1 && ids[0] == w.conmon.container || !w.conmon.podmans {
				found.add(w.conmon)
			}
		}
	}
	return found.only(err)
}

// isPodmansNetwork reports whether a file is where Podman mounts a network namespace that
// it makes for a container: netns-UUID. A user may serve a namespace of his own.
func isPodmansNetwork(file string) bool {
	uuid, ok := strings.CutPrefix(path.Base(file), "netns-")
	return ok && strings.HasPrefix(file, "/") && len(uuid) == 36 && isHex(strings.ReplaceAll(uuid, "-", ""))
}

// monitor returns what the command line of a conmon says. proven is false if the process
// executes something else.
func (d *details) monitor(pid, uid int) (m monitor, proven bool, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	before, err := readStat(dir)
	if err != nil {
		return monitor{}, false, err
	}
	h := Holder{PID: pid, UID: uid}
	if h.Executable, h.File, err = d.executable(dir); err != nil {
		return monitor{}, false, err
	}
	if f, proven := ForwarderOf(h); !proven || f.Name != "conmon" {
		return monitor{}, false, nil
	}
	if m, err = readMonitor(dir); err != nil {
		return monitor{}, false, err
	}
	m.pid = pid
	now, err := effectiveUID(dir)
	if err != nil {
		return monitor{}, false, err
	}
	after, err := readStat(dir)
	m.podmans = m.podmans && now == uid && after.start == before.start
	return m, true, err
}

// monitors are conmons, those of one container once.
type monitors []monitor

func (all *monitors) add(m monitor) {
	known := slices.ContainsFunc(*all, func(x monitor) bool { return x.container == m.container && x.name == m.name })
	if !known && len(*all) < 2 { // two are as good as more
		*all = append(*all, m)
	}
}

// only returns the one that there is, if it is Podman's.
func (all monitors) only(err error) (monitor, bool) {
	if err != nil || len(all) != 1 || !all[0].podmans {
		return monitor{}, false
	}
	return all[0], true
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
