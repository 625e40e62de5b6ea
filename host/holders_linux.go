package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// findHolders gives each socket the processes that have a descriptor of it.
//
// With every, it looks into all processes. Otherwise it stops when each socket
// has a holder and that process's parent, children and cgroup mates have been
// looked into: a walk over all descriptors of a busy host costs more
// than all else together. It starts where the socket's creator was, and looks
// into processes with few descriptors before those with many.
func findHolders(ctx context.Context, sockets []*Socket, every, showCommand bool) []Gap {
	s := search{wanted: map[uint64][]*Socket{}, looked: map[int]bool{}, details: newDetails(showCommand)}
	for _, socket := range sockets {
		if socket.Inode != 0 {
			s.wanted[socket.Inode] = append(s.wanted[socket.Inode], socket)
		} else {
			socket.Complete = true // no process can have such a socket open
		}
	}
	if len(s.wanted) == 0 {
		return nil
	}
	s.missing = len(s.wanted)
	pids, err := processes()
	if err != nil {
		op, errno := opErrno(err)
		return []Gap{{What: "the list of processes can't be read, so no holder can be named", Op: op, Errno: errno, Kind: GapHolders}}
	}
	s.pids = pids
	if every {
		s.lookInto(ctx, pids)
	} else {
		s.lookAround(ctx)
	}
	for _, same := range s.wanted {
		for _, socket := range same {
			slices.SortFunc(socket.Holders, func(a, b Holder) int { return cmp.Compare(a.PID, b.PID) })
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return s.conclude(sockets)
}

// search is one search for the holders of all sockets together.
type search struct {
	wanted  map[uint64][]*Socket // by inode
	missing int                  // inodes without a holder
	pids    []int                // all processes, ascending
	looked  map[int]bool
	holders []int // in the order in which they were found
	hidden  []int // could not be looked into
	reason  error // why
	details *details
}

// lookAround looks where the holders probably are, and then around them.
func (s *search) lookAround(ctx context.Context) {
	groups := newCgroups()
	defer groups.close()
	var creators []int
	for _, same := range s.wanted {
		creators = append(creators, groups.byID(same[0].Cgroup)...)
	}
	s.lookUntilFound(ctx, creators)
	if s.missing > 0 {
		s.lookUntilFound(ctx, s.pids)
	}
	// What is found among the relatives of a holder has relatives of its own.
	for i := 0; i < len(s.holders); i++ {
		related, known := relatives(s.holders[i], groups)
		if !known {
			s.lookInto(ctx, s.pids)
			return
		}
		s.lookInto(ctx, related)
	}
}

// lookUntilFound looks into processes, those with few descriptors first, until
// every socket has a holder.
func (s *search) lookUntilFound(ctx context.Context, pids []int) {
	type sized struct {
		pid  int
		size int64
	}
	var order []sized
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		s.lookInto(ctx, pids) // in any order
		return
	}
	defer unix.Close(proc)
	for _, pid := range pids {
		if s.looked[pid] {
			continue
		}
		var stat unix.Stat_t
		// Since Linux 6.2 the size is the number of descriptors, before it 0.
		if err := unix.Fstatat(proc, strconv.Itoa(pid)+"/fd", &stat, 0); err != nil {
			stat.Size = 0 // looking into it will tell
		}
		if stat.Size == 0 {
			stat.Size = math.MaxInt64 // most likely a kernel thread: last
		}
		order = append(order, sized{pid, stat.Size})
	}
	slices.SortStableFunc(order, func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	for _, next := range order {
		if s.missing == 0 {
			return
		}
		s.lookInto(ctx, []int{next.pid})
	}
}

// lookInto looks into processes, each once.
func (s *search) lookInto(ctx context.Context, pids []int) {
	for _, pid := range pids {
		if ctx.Err() != nil {
			return
		}
		if s.looked[pid] {
			continue
		}
		s.looked[pid] = true
		found, err := socketsOf(pid, s.wanted)
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			s.hidden = append(s.hidden, pid)
			s.reason = err
		}
		if len(found) > 0 {
			s.credit(pid, found)
		}
	}
}

// credit makes a process the holder of what it was seen to have open, if it
// still has: between two reads a process may end and its PID go to another.
func (s *search) credit(pid int, found []descriptor) {
	holder, ok := s.details.of(pid)
	if !ok {
		return
	}
	held := false
	for _, d := range found {
		if !d.still() {
			continue
		}
		held = true
		same := s.wanted[d.inode]
		if len(same[0].Holders) == 0 {
			s.missing--
		}
		for _, socket := range same {
			socket.Holders = append(socket.Holders, holder)
		}
	}
	if held {
		s.holders = append(s.holders, pid)
	}
}

// conclude says what the search has left open.
func (s *search) conclude(sockets []*Socket) []Gap {
	gap := Gap{Kind: GapHolders}
	switch {
	case len(s.hidden) > 0:
		gap.What = fmt.Sprintf("%d of %d processes can't be looked into", len(s.hidden), len(s.pids))
		if len(s.hidden) == 1 {
			gap.What += fmt.Sprintf(" (pid %d)", s.hidden[0])
		}
		gap.Op, gap.Errno = "readlink /proc/PID/fd", ErrnoName(s.reason)
	case s.pids[0] != 1:
		gap.What = "/proc hides the processes of other users (mount option hidepid)"
	case s.stoppedEarly():
		return nil
	default:
		return completeAll(sockets)
	}
	if os.Geteuid() != 0 {
		gap.What += "; as root every holder can be named"
	}
	return []Gap{gap}
}

func (s *search) stoppedEarly() bool {
	return slices.ContainsFunc(s.pids, func(pid int) bool { return !s.looked[pid] })
}

// completeAll says that nobody else has the sockets open. In a PID namespace of
// our own, /proc shows that alone: a socket that nobody in there has open is
// somebody's elsewhere.
func completeAll(sockets []*Socket) []Gap {
	ours, err := namespaceInode("/proc/self/ns/pid")
	everything := err == nil && ours == initialPIDNamespace
	elsewhere := false
	for _, socket := range sockets {
		socket.Complete = everything || socket.Inode == 0 || len(socket.Holders) > 0
		elsewhere = elsewhere || !socket.Complete
	}
	if elsewhere {
		return []Gap{{What: "a socket is held by a process that /proc does not show: it runs in another PID namespace", Kind: GapHolders}}
	}
	return nil
}
