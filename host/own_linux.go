package host

import (
	"math"
	"os"
	"slices"
	"strconv"
	"time"
)

// self is this process during a search. It and the processes that it starts are no
// holders beside others of the sockets that it was started with, but have to be told if
// there are none.
type self struct {
	pid     int       // in /proc, which may be that of another PID namespace; 0 if unknown
	started time.Time // zero if unknown
	sockets []descriptor
	read    bool // sockets were
}

func (s *search) readSelf() {
	link, err := os.Readlink("/proc/self")
	if err != nil {
		return
	}
	s.self.pid, _ = strconv.Atoi(link)
	if own, err := readStat("/proc/self/"); err == nil {
		s.self.started = s.details.started(own)
	}
}

// ownSockets returns the wanted sockets that this process has open. Most searches need
// not know them.
func (s *search) ownSockets() []descriptor {
	if !s.self.read && s.self.pid != 0 {
		s.self.read = true
		all := descriptorReader{s.ctx, s.wanted, math.MaxInt} // whatever is left for relatives
		s.self.sockets, _ = all.socketsOf(s.self.pid)         // with an error, those that could be read
	}
	return s.self.sockets
}

// older reports whether a holder was started before this process: then it is none that
// this process has started, and its PID has not been another's since.
func (s *search) older(h Holder) bool {
	return !h.Started.IsZero() && h.Started.Before(s.self.started)
}

// holdsOurs reports whether a holder is this process or one that it has started, and the
// socket one with which this process was started.
func (s *search) holdsOurs(inode uint64, h Holder) bool {
	return !s.older(h) &&
		slices.ContainsFunc(s.ownSockets(), func(d descriptor) bool { return d.inode == inode }) &&
		(h.PID == s.self.pid || slices.Contains(ancestors(h.Parent), s.self.pid))
}

// addOwn makes this process the holder of the sockets of its own that no other one holds.
func (s *search) addOwn() {
	if s.missing == 0 {
		return
	}
	for _, d := range s.ownSockets() {
		for _, socket := range s.wanted[d.inode] {
			if len(socket.Holders) > 0 || socket.MoreHolders || !d.stillOpen() {
				continue
			}
			if holder, ok := s.details.of(s.self.pid); ok {
				holder.Self = true
				socket.Holders = append(socket.Holders, holder)
			}
		}
	}
}
