package host

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

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

// descriptor is the proof that a process has a socket open.
type descriptor struct {
	inode uint64
	path  string // /proc/PID/fd/N
}

// still says whether the descriptor is open and of the same socket.
func (d descriptor) still() bool {
	link, err := os.Readlink(d.path)
	inode, ok := parseSocketLink([]byte(link))
	return err == nil && ok && inode == d.inode
}

// socketsOf lists which of the wanted sockets a process has open, each once.
func socketsOf(pid int, wanted map[uint64][]*Socket) ([]descriptor, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	found, open, err := socketsIn(dir+"/fd", wanted)
	if open > 0 || err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
		return found, err
	}
	// Where the main thread has ended, its descriptors are no longer shown, to
	// anybody but root not even as none; the other threads still have them.
	threads, listErr := os.ReadDir(dir + "/task")
	if listErr != nil {
		return nil, listErr
	}
	for _, thread := range threads {
		if thread.Name() == strconv.Itoa(pid) {
			continue
		}
		if found, open, err = socketsIn(dir+"/task/"+thread.Name()+"/fd", wanted); open > 0 || errors.Is(err, unix.EACCES) {
			break
		}
	}
	return found, err
}

// socketsIn reads one directory of descriptors, and says how many there are.
func socketsIn(path string, wanted map[uint64][]*Socket) (found []descriptor, open int, err error) {
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
		if inode, ok := parseSocketLink(link[:n]); ok && wanted[inode] != nil &&
			!slices.ContainsFunc(found, func(d descriptor) bool { return d.inode == inode }) {
			found = append(found, descriptor{inode, path + "/" + name})
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
