package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/lease"
)

// processes returns the PIDs in /proc in ascending order.
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

// descriptor is a descriptor of a socket, or of an io_uring with which the socket is
// registered. It proves that the process has the socket open.
type descriptor struct {
	inode uint64
	path  string // /proc/PID/fd/N, or /proc/PID/fdinfo/N of an io_uring
}

// stillOpen reports whether the descriptor still is one of the same socket.
func (d descriptor) stillOpen() bool {
	if filepath.Base(filepath.Dir(d.path)) == "fdinfo" {
		return slices.Contains(registeredSockets(d.path), d.inode)
	}
	link, err := os.Readlink(d.path)
	inode, ok := parseSocketLink([]byte(link))
	return err == nil && ok && inode == d.inode
}

// errTooMany is the error of a process with more descriptors than may be read.
var errTooMany = errors.New("too many descriptors")

// descriptorReader reads the descriptors of processes.
type descriptorReader struct {
	ctx    context.Context
	wanted map[uint64][]*Socket // by inode
	left   int                  // descriptors that may still be read
}

// socketsOf returns a descriptor for each of the wanted sockets that a process
// has open. With an error, these are not all.
func (r *descriptorReader) socketsOf(pid int) ([]descriptor, error) {
	found, open, err := r.socketsIn("/proc/" + strconv.Itoa(pid) + "/fd")
	if open > 0 || err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
		return found, err
	}
	// If the main thread has ended, its directory of descriptors is empty for
	// root and can't be read by other users. The other threads still have them.
	threads, listErr := otherThreads(pid)
	if listErr != nil {
		return nil, listErr
	}
	for _, tid := range threads {
		if found, open, err = r.socketsIn(threadDescriptors(pid, tid)); open > 0 || errors.Is(err, unix.EACCES) {
			break
		}
	}
	return found, err
}

// otherThreads returns the IDs of the threads of a process without the main one.
func otherThreads(pid int) (tids []int, err error) {
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	for _, thread := range threads {
		if tid, err := strconv.Atoi(thread.Name()); err == nil && tid != pid {
			tids = append(tids, tid)
		}
	}
	return tids, err
}

func threadDescriptors(pid, tid int) string {
	return "/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/fd"
}

// socketsIn reads one directory of descriptors. open is the number of them.
func (r *descriptorReader) socketsIn(path string) (found []descriptor, open int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	dir := os.NewFile(uintptr(fd), "fd")
	defer dir.Close()
	var link [64]byte
	known := map[uint64]bool{}
	for { // in batches: a busy server has tens of thousands
		if err := r.ctx.Err(); err != nil {
			return found, open, err
		}
		names, err := dir.Readdirnames(512)
		open += len(names)
		if r.left -= len(names); r.left < 0 {
			return found, open, errTooMany
		}
		for _, name := range names {
			n, err := unix.Readlinkat(fd, name, link[:])
			if errors.Is(err, unix.ENOENT) {
				continue // closed meanwhile
			}
			if err != nil {
				return found, open, err
			}
			var all []uint64
			at := path + "/" + name
			if inode, ok := parseSocketLink(link[:n]); ok {
				all = append(all, inode)
			} else if string(link[:n]) == ringLink {
				at = filepath.Dir(path) + "/fdinfo/" + name
				all = registeredSockets(at)
			}
			for _, inode := range all {
				if r.wanted[inode] == nil || known[inode] {
					continue
				}
				known[inode] = true
				if found = append(found, descriptor{inode, at}); len(found) == len(r.wanted) {
					return found, open, nil
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return found, open, nil
		}
		if err != nil {
			return found, open, err
		}
	}
}

// parseSocketLink parses "socket:[12345]".
func parseSocketLink(link []byte) (inode uint64, ok bool) {
	digits, found := bytes.CutPrefix(link, []byte("socket:["))
	digits, closed := bytes.CutSuffix(digits, []byte("]"))
	if !found || !closed || len(digits) == 0 || len(digits) > 19 { // a socket's inode has 32 bits
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		inode = inode*10 + uint64(c-'0')
	}
	return inode, true
}

// fewDescriptors reports whether this process may have so few that two parts of a probe
// could take them from each other.
func fewDescriptors() bool {
	const enough = 256
	return lease.Descriptors() < enough
}
