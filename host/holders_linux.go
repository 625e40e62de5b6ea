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

// findHolders adds to each socket the processes that have a descriptor of it.
//
// If every is true, it examines all processes. Otherwise it stops when each
// socket has a holder, and the parent, children and cgroup of each holder have
// been examined: a walk over all descriptors of a busy host takes longer than the
// rest of a probe. It starts with the cgroup of the socket's creator, and
// examines processes with few descriptors before those with many.
func findHolders(ctx context.Context, sockets []*Socket, every, showCommand bool) []Gap {
	s := search{wanted: map[uint64][]*Socket{}, examined: map[int]bool{}, details: newDetails(showCommand)}
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
		s.examine(ctx, pids)
	} else {
		s.examineLikely(ctx)
	}
	for _, same := range s.wanted {
		for _, socket := range same {
			slices.SortFunc(socket.Holders, func(a, b Holder) int { return cmp.Compare(a.PID, b.PID) })
		}
	}
	nameSocketUnits(ctx, sockets)
	gaps := s.gaps(sockets)
	if ctx.Err() != nil {
		return nil
	}
	markKernels(ctx, sockets)
	return gaps
}

// search is one search for the holders of all sockets together.
type search struct {
	wanted   map[uint64][]*Socket // by inode
	missing  int                  // inodes without a holder
	pids     []int                // all processes, ascending
	examined map[int]bool
	holders  []int // in the order found
	hidden   []int // could not be examined
	reason   error // why
	details  *details
}

// examineLikely examines the processes that probably are holders, and then
// their relatives.
func (s *search) examineLikely(ctx context.Context) {
	groups := newCgroups()
	defer groups.close()
	var creators []int
	for _, same := range s.wanted {
		creators = append(creators, groups.byID(same[0].Cgroup)...)
	}
	s.examineUntilFound(ctx, creators)
	if s.missing > 0 {
		s.examineUntilFound(ctx, s.pids)
	}
	// A holder that is found among the relatives has relatives of its own.
	for i := 0; i < len(s.holders); i++ {
		related, known := relatives(s.holders[i], groups)
		if !known {
			s.examine(ctx, s.pids)
			return
		}
		s.examine(ctx, related)
	}
}

// examineUntilFound examines processes, those with few descriptors first, until
// every socket has a holder.
func (s *search) examineUntilFound(ctx context.Context, pids []int) {
	type sized struct {
		pid  int
		size int64
	}
	var order []sized
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		s.examine(ctx, pids) // in any order
		return
	}
	defer unix.Close(proc)
	for _, pid := range pids {
		if s.examined[pid] {
			continue
		}
		var stat unix.Stat_t
		// Since Linux 6.2 the size is the number of descriptors, before it 0.
		if err := unix.Fstatat(proc, strconv.Itoa(pid)+"/fd", &stat, 0); err != nil {
			stat.Size = 0 // examine returns the error
		}
		if stat.Size == 0 {
			stat.Size = math.MaxInt64 // last: most likely a kernel thread
		}
		order = append(order, sized{pid, stat.Size})
	}
	slices.SortStableFunc(order, func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	for _, next := range order {
		if s.missing == 0 {
			return
		}
		s.examine(ctx, []int{next.pid})
	}
}

// examine examines those of the processes that have not been examined yet.
func (s *search) examine(ctx context.Context, pids []int) {
	for _, pid := range pids {
		if ctx.Err() != nil {
			return
		}
		if s.examined[pid] {
			continue
		}
		s.examined[pid] = true
		found, err := socketsOf(pid, s.wanted)
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			s.hidden = append(s.hidden, pid)
			s.reason = err
		}
		if len(found) > 0 {
			s.addHolder(pid, found)
		}
	}
}

// addHolder makes a process the holder of the sockets that it was found to have
// open, if it still has them open: between two reads a process may end, and
// another one may get its PID.
func (s *search) addHolder(pid int, found []descriptor) {
	holder, ok := s.details.of(pid)
	if !ok {
		return
	}
	held := false
	for _, d := range found {
		if !d.stillOpen() {
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

// gaps returns what the search could not see. If every process was examined, it
// marks the sockets as complete.
func (s *search) gaps(sockets []*Socket) []Gap {
	gap := Gap{Kind: GapHolders}
	switch {
	case len(s.hidden) > 0:
		gap.What = fmt.Sprintf("%d of %d processes can't be examined", len(s.hidden), len(s.pids))
		if len(s.hidden) == 1 {
			gap.What += fmt.Sprintf(" (pid %d)", s.hidden[0])
		}
		gap.Op, gap.Errno = "readlink /proc/PID/fd", ErrnoName(s.reason)
	case s.pids[0] != 1:
		gap.What = "/proc hides the processes of other users (mount option hidepid)"
	case s.stoppedEarly():
		return nil
	default:
		return markComplete(sockets)
	}
	if os.Geteuid() != 0 {
		gap.What += "; run as root to see every holder"
	}
	return []Gap{gap}
}

// stoppedEarly reports whether there are processes that were not examined.
func (s *search) stoppedEarly() bool {
	return slices.ContainsFunc(s.pids, func(pid int) bool { return !s.examined[pid] })
}

// markComplete marks the sockets of which all holders are known, after every
// process in /proc has been examined. A PID namespace other than the initial one
// shows only its own processes, so a socket without a holder there is held by a
// process of another namespace.
func markComplete(sockets []*Socket) []Gap {
	ours, err := namespaceInode("/proc/self/ns/pid")
	everything := err == nil && ours == initialPIDNamespace
	elsewhere := false
	for _, socket := range sockets {
		socket.Complete = everything || socket.Inode == 0 || len(socket.Holders) > 0
		elsewhere = elsewhere || !socket.Complete
	}
	if elsewhere {
		return []Gap{{What: "a process that /proc does not show holds a socket: it runs in another PID namespace", Kind: GapHolders}}
	}
	return nil
}
