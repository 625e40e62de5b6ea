package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// findHolders walks every process once and gives each socket the processes
// that have a descriptor of it.
func findHolders(ctx context.Context, sockets []*Socket, showCommand bool) []Gap {
	byInode := map[uint64][]*Socket{}
	for _, s := range sockets {
		if s.Inode != 0 {
			byInode[s.Inode] = append(byInode[s.Inode], s)
		} else {
			s.Complete = true // no process can have such a socket open
		}
	}
	if len(byInode) == 0 {
		return nil
	}
	pids, err := processes()
	if err != nil {
		op, errno := opErrno(err)
		return []Gap{{What: "the list of processes can't be read, so no holder can be named", Op: op, Errno: errno, Holders: true}}
	}
	details := newDetails(showCommand)
	var hidden []int
	var reason error
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil
		}
		found, err := socketsOf(pid, byInode)
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			hidden = append(hidden, pid)
			reason = err
		}
		if len(found) == 0 {
			continue
		}
		holder, still := details.of(pid)
		if !still {
			continue
		}
		for _, inode := range found {
			for _, s := range byInode[inode] {
				s.Holders = append(s.Holders, holder)
			}
		}
	}
	gap := Gap{Holders: true}
	switch {
	case len(hidden) > 0:
		gap.What = fmt.Sprintf("%d of %d processes can't be looked into", len(hidden), len(pids))
		if len(hidden) == 1 {
			gap.What += fmt.Sprintf(" (pid %d)", hidden[0])
		}
		gap.Op, gap.Errno = "readlink /proc/PID/fd", errnoName(reason)
	case pids[0] != 1:
		gap.What = "/proc hides the processes of other users (mount option hidepid)"
	default:
		// In a PID namespace of our own, /proc shows that alone. A socket that
		// nobody in there has open is somebody's elsewhere.
		ours, err := namespaceInode("/proc/self/ns/pid")
		everything := err == nil && ours == initialPIDNamespace
		elsewhere := false
		for _, s := range sockets {
			s.Complete = everything || s.Inode == 0 || len(s.Holders) > 0
			elsewhere = elsewhere || !s.Complete
		}
		if elsewhere {
			return []Gap{{What: "a socket is held by a process that /proc does not show: it runs in another PID namespace", Holders: true}}
		}
		return nil
	}
	if os.Geteuid() != 0 {
		gap.What += "; as root every holder can be named"
	}
	return []Gap{gap}
}

// processes lists the PIDs in /proc, ascending.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	if len(pids) == 0 {
		return nil, &fs.PathError{Op: "read", Path: "/proc", Err: unix.ENOENT}
	}
	return pids, nil
}

// socketsOf lists which of the wanted inodes a process has open, each once.
func socketsOf(pid int, wanted map[uint64][]*Socket) ([]uint64, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	found, open, err := socketsIn(dir+"/fd", wanted)
	if open > 0 || err != nil && !errors.Is(err, unix.ENOENT) {
		return found, err
	}
	// Where the main thread has ended, its descriptors are no longer shown;
	// the other threads still have them.
	threads, err := os.ReadDir(dir + "/task")
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		if thread.Name() == strconv.Itoa(pid) {
			continue
		}
		if found, open, err = socketsIn(dir+"/task/"+thread.Name()+"/fd", wanted); open > 0 {
			return found, err
		}
	}
	return nil, nil
}

// socketsIn reads one directory of descriptors, and says how many there are.
func socketsIn(path string, wanted map[uint64][]*Socket) (found []uint64, open int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	dir := os.NewFile(uintptr(fd), "fd")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, 0, err
	}
	var link [64]byte
	for _, name := range names {
		n, err := unix.Readlinkat(fd, name, link[:])
		if err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue // closed meanwhile
			}
			return found, len(names), err
		}
		if inode, ok := parseSocketLink(link[:n]); ok && wanted[inode] != nil && !slices.Contains(found, inode) {
			found = append(found, inode)
		}
	}
	return found, len(names), nil
}

// parseSocketLink reads "socket:[12345]".
func parseSocketLink(link []byte) (inode uint64, ok bool) {
	const prefix = "socket:["
	if len(link) <= len(prefix)+1 || string(link[:len(prefix)]) != prefix || link[len(link)-1] != ']' {
		return 0, false
	}
	inode, err := strconv.ParseUint(string(link[len(prefix):len(link)-1]), 10, 64)
	return inode, err == nil
}
