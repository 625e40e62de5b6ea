package host

import (
	"os"
	"slices"
	"strconv"
)

// ownSockets are the wanted sockets that this process was started with. It and the processes
// that it starts are no holders of these beside others, but have to be told if there are none.
type ownSockets struct {
	pid   int
	found []descriptor
}

// findOwn looks for wanted sockets among the descriptors of this process. /proc may be that
// of another PID namespace, so it says which number this process has there.
func (s *search) findOwn() {
	link, err := os.Readlink("/proc/self")
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(link)
	if err != nil {
		return
	}
	found, _ := s.socketsOf(pid) // with an error, those that could be read
	s.own = ownSockets{pid, found}
}

// has reports whether a socket is one of these, and its holder this process or one that it
// has started.
func (o ownSockets) has(inode uint64, h Holder) bool {
	return slices.ContainsFunc(o.found, func(d descriptor) bool { return d.inode == inode }) &&
		(h.PID == o.pid || slices.Contains(ancestors(h.Parent), o.pid))
}

// addOwn makes this process the holder of the sockets of its own that no other one holds.
func (s *search) addOwn() {
	for _, d := range s.own.found {
		for _, socket := range s.wanted[d.inode] {
			if len(socket.Holders) > 0 || socket.MoreHolders || !d.stillOpen() {
				continue
			}
			if holder, ok := s.details.of(s.own.pid); ok {
				holder.Self = true
				socket.Holders = append(socket.Holders, holder)
			}
		}
	}
}
