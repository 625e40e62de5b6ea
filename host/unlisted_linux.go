package host

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ringLink is the link of a descriptor of an io_uring.
const ringLink = "anon_inode:[io_uring]"

// mostRegistered bounds what is read about the files of an io_uring: an application may
// register a million.
const mostRegistered = 1 << 20 // bytes

// registeredSockets returns the inodes of the sockets that are registered with an
// io_uring, from its file in /proc/PID/fdinfo. The application may have closed their
// descriptors. The kernel shows them as lines such as "    0: socket:[12345]":
// io_uring_show_fdinfo in io_uring/fdinfo.c. Kernels from before January 2025 print a
// name without the inode.
func registeredSockets(fdinfo string) []uint64 {
	file, err := os.Open(fdinfo)
	if err != nil {
		return nil
	}
	defer file.Close()
	var all []uint64
	for lines := bufio.NewScanner(io.LimitReader(file, mostRegistered)); lines.Scan(); {
		slot, link, _ := strings.Cut(strings.TrimSpace(lines.Text()), ": ")
		if _, err := strconv.ParseUint(slot, 10, 32); err != nil {
			continue
		}
		if inode, ok := parseSocketLink([]byte(link)); ok {
			all = append(all, inode)
		}
	}
	return all
}

// examineThreads looks for the sockets without a holder among the descriptors of threads
// that do not share those of their process: unshare(2), CLONE_FILES.
func (s *search) examineThreads() {
	for _, pid := range s.all() {
		if s.nothingMissing() || s.ctx.Err() != nil {
			return
		}
		threads, _ := otherThreads(pid) // none if it has ended
		for _, tid := range threads {
			if !ownDescriptors(pid, tid) {
				continue
			}
			found, _, _ := s.socketsIn(threadDescriptors(pid, tid))
			// The others are copies of those of the process.
			found = slices.DeleteFunc(found, func(d descriptor) bool { return len(s.wanted[d.inode][0].Holders) > 0 })
			if len(found) > 0 {
				s.addHolder(pid, found)
			}
		}
	}
}

// ownDescriptors reports whether a thread is known to have other descriptors than its
// process.
func ownDescriptors(pid, tid int) bool {
	const files = 2 // KCMP_FILES of include/uapi/linux/kcmp.h
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(tid), files, 0, 0, 0)
	return errno == 0 && order != 0
}
