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
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// descriptorsOfRelatives is how many descriptors are read to find out which relatives
// of a holder share its sockets.
const descriptorsOfRelatives = 4096

// findHolders adds to each socket the processes that have a descriptor of it.
//
// If wanted.every is true, it examines all processes. Otherwise it stops when each
// socket has a holder, and the parent, children, siblings and cgroup of each holder
// have been examined, as far as these don't have too many descriptors: a walk over all
// descriptors of a busy host takes longer than the rest of a probe. It starts with
// the cgroup of the socket's creator, and examines processes with few descriptors
// before those with many.
//
// The search ends before ctx does, so that its part of the answer does not delay
// the rest. What it has not seen by then is a gap.
func findHolders(ctx context.Context, sockets []*Socket, wanted holderQuery) []Gap {
	within, cancel := holdersTime(ctx)
	defer cancel()
	s := search{
		descriptorReader: descriptorReader{ctx: within, wanted: map[uint64][]*Socket{}, left: math.MaxInt},
		examined:         map[int]bool{}, details: newDetails(within, wanted.showCommand), most: wanted.most,
	}
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
	if wanted.remedies {
		s.details.jobs = environmentsLimit
	}
	s.missing = len(s.wanted)
	s.readSelf()
	if wanted.every {
		s.examine(s.all(), s.nothingWanted)
		s.examineThreads()
		s.findForks()
	} else {
		s.examineLikely()
	}
	s.addOwn()
	for _, socket := range sockets {
		slices.SortFunc(socket.Holders, func(a, b Holder) int { return cmp.Compare(a.PID, b.PID) })
	}
	nameSocketUnits(ctx, sockets)
	addOwnManager(ctx, sockets, s.details)
	if wanted.remedies {
		addServed(within, sockets)
	}
	gaps := s.gaps(sockets)
	s.markForks(sockets)
	if s.unlisted != nil {
		op, errno := opErrno(s.unlisted)
		return []Gap{{What: "the list of processes can't be read, so no holder can be named", Op: op, Errno: errno, Kind: GapHolders}}
	}
	if ctx.Err() != nil {
		return nil
	}
	markKernels(ctx, sockets)
	return gaps
}

// holdersTime returns the context of a search for holders, which may take half of
// what is left of ctx: the answer has to be on its way before ctx ends.
func holdersTime(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	return context.WithCancel(ctx)
}

// search is one search for the holders of all sockets together. A socket of which
// no more holders are listed is not wanted any more.
type search struct {
	descriptorReader
	missing  int  // inodes without a holder
	listed   int  // holders of all sockets
	most     int  // of these
	commands int  // bytes of their command lines
	cut      bool // holders were left out
	examined map[int]bool
	// pids and unlisted are the results of all, once it was called.
	pids     []int
	unlisted error
	holders  []int // in the order found
	forks    []int // of holders, with what these are forks of
	unsure   bool  // there may be more of them
	self     self
	hidden   []int // could not be examined
	reason   error // why
	details  *details
}

// all returns all processes, ascending. A list of them takes as long as the search where
// the cgroup of a socket's creator has the holder, so it is made when it is needed.
func (s *search) all() []int {
	if s.pids == nil && s.unlisted == nil {
		s.pids, s.unlisted = processes()
	}
	return s.pids
}

func (s *search) nothingMissing() bool { return s.missing == 0 }
func (s *search) nothingWanted() bool  { return len(s.wanted) == 0 }

// examineLikely examines the processes that probably are holders, and then
// their relatives.
func (s *search) examineLikely() {
	groups := newCgroups()
	defer groups.close()
	var creators []int
	asked := map[uint64]bool{}
	for _, same := range s.wanted {
		if id := same[0].Cgroup; !asked[id] {
			asked[id] = true
			creators = append(creators, groups.byID(id)...)
		}
	}
	s.examine(creators, s.nothingMissing)
	if s.missing > 0 {
		s.examine(s.all(), s.nothingMissing)
		s.examineThreads()
	}
	s.left = descriptorsOfRelatives
	s.examineRelatives(groups)
}

// findForks finds the forks of holders after all processes were examined, if some could
// not be. Those of many holders, as a list of a host has them, are not looked for.
func (s *search) findForks() {
	const few = 64
	if s.unsure = len(s.holders) > few; s.unsure || len(s.hidden) == 0 && !hidesProcesses() {
		return
	}
	groups := newCgroups()
	defer groups.close()
	s.examineRelatives(groups)
}

// examineRelatives examines the relatives of holders, next of kin first. A holder
// that is found among them has relatives of its own.
func (s *search) examineRelatives(groups *cgroups) {
	var others []int
	listed := true
	orphans := siblings{}
	for next := 0; ; {
		for ; next < len(s.holders); next++ {
			if s.left <= 0 || s.ctx.Err() != nil {
				s.unsure = true
				return
			}
			kin, mates, forks, known := relatives(s.holders[next], groups, orphans)
			s.forks = append(s.forks, forks...)
			s.examine(kin, s.nothingWanted)
			others = append(others, mates...)
			s.unsure = s.unsure || !known
			if !known && listed {
				listed = false
				others = append(others, s.all()...)
			}
		}
		if len(others) == 0 {
			return
		}
		s.examine(others, s.nothingWanted)
		others = nil
	}
}

// examine examines those of the processes that have not been examined yet, the ones
// with few descriptors first, until done returns true or the search has to end.
func (s *search) examine(pids []int, done func() bool) {
	for _, next := range s.bySize(pids) {
		if done() || s.ctx.Err() != nil || s.left <= 0 || next.known && next.size > int64(s.left) {
			return
		}
		s.examineOne(next.pid)
	}
}

// sized is a process with the number of its descriptors, if that is known.
type sized struct {
	pid   int
	size  int64
	known bool
}

// bySize returns the processes that have not been examined yet, each once, those
// with few descriptors first.
func (s *search) bySize(pids []int) []sized {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(proc)
	}
	var order []sized
	listed := map[int]bool{}
	for _, pid := range pids {
		if s.examined[pid] || listed[pid] {
			continue
		}
		listed[pid] = true
		next := sized{pid: pid, size: math.MaxInt64} // last: most likely a kernel thread
		var stat unix.Stat_t
		// Since Linux 6.2 the size is the number of descriptors, before it 0. If
		// it can't be read, examineOne gets the error.
		if err == nil && unix.Fstatat(proc, strconv.Itoa(pid)+"/fd", &stat, 0) == nil && stat.Size > 0 {
			next.size, next.known = stat.Size, true
		}
		order = append(order, next)
	}
	slices.SortStableFunc(order, func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	return order
}

// examineOne examines one process.
func (s *search) examineOne(pid int) {
	found, err := s.socketsOf(pid)
	switch {
	case errors.Is(err, errTooMany) || s.ctx.Err() != nil:
		// It was not read to its end.
	case err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT):
		s.hidden = append(s.hidden, pid)
		s.reason = err
		s.examined[pid] = true
	default:
		s.examined[pid] = true
	}
	if len(found) > 0 {
		s.addHolder(pid, found)
	}
}

// addHolder makes a process the holder of the sockets that it was found to have open. If
// it may have got its PID since, it must still have them open: between two reads a process
// may end, and another one get its PID.
func (s *search) addHolder(pid int, found []descriptor) {
	holder, ok := s.details.of(pid)
	if !ok {
		return
	}
	held := false
	for _, d := range found {
		if s.holdsOurs(d.inode, holder) || !s.older(holder) && !d.stillOpen() {
			continue
		}
		same := s.wanted[d.inode]
		switch count := len(same[0].Holders); {
		case count == 0:
			s.missing--
		case count >= holdersOfSocket || s.listed >= s.most:
			s.leaveOut(d.inode)
			continue
		}
		held = true
		if s.commands += len(same) * sizeOfCommand(holder.Command); s.commands > s.most*commandsShare {
			holder.Command = nil
		}
		for _, socket := range same {
			socket.Holders = append(socket.Holders, holder)
		}
		s.listed += len(same)
	}
	if held {
		s.holders = append(s.holders, pid)
	}
}

// leaveOut ends the search for holders of a socket.
func (s *search) leaveOut(inode uint64) {
	for _, socket := range s.wanted[inode] {
		socket.MoreHolders = true
	}
	delete(s.wanted, inode)
	s.cut = true
}

// gaps returns what the search could not see. If every process was examined, it
// marks the sockets as complete.
func (s *search) gaps(sockets []*Socket) []Gap {
	var gaps []Gap
	if s.cut {
		gaps = append(gaps, moreHolders(s.most))
	}
	left := 0
	if s.ctx.Err() != nil {
		for _, pid := range s.all() {
			if !s.examined[pid] {
				left++
			}
		}
	}
	late := left > 0 || s.ctx.Err() != nil && s.unlisted != nil
	if late {
		for inode := range s.wanted {
			s.leaveOut(inode)
		}
		gaps = append(gaps, Gap{
			What: fmt.Sprintf("%d of %d processes were not examined, because the search for holders took too long", left, len(s.pids)),
			Kind: GapHolders,
		})
	}
	gap := Gap{Kind: GapHolders}
	switch {
	case len(s.hidden) > 0:
		gap.What = fmt.Sprintf("%d of %d processes can't be examined", len(s.hidden), len(s.all()))
		if len(s.hidden) == 1 {
			gap.What += fmt.Sprintf(" (pid %d)", s.hidden[0])
		}
		gap.Op, gap.Errno = "readlink /proc/PID/fd", ErrnoName(s.reason)
	case hidesProcesses():
		gap.What = "/proc hides the processes of other users (mount option hidepid)"
	case late || s.stoppedEarly():
		return gaps
	default:
		return append(gaps, markComplete(sockets)...)
	}
	switch missing := withheld(); {
	case confined() && readNamespace().AllProcesses:
		gap.What += "; the container lacks CAP_SYS_PTRACE, which this needs"
	case len(missing) > 0 && os.Geteuid() == 0:
		gap.What += "; this needs " + strings.Join(missing, " and ") + ", which root does not have here"
	case len(missing) > 0:
		gap.What += "; to see every holder, run as root with " + strings.Join(missing, " and ") + ", which root does not have here"
	case os.Geteuid() != 0:
		gap.What += "; run as root to see every holder"
	}
	return append(gaps, gap)
}

// markForks marks the sockets with holders if a fork of one could not be examined. The
// first process of the machine forks no servers, and adopts orphans.
func (s *search) markForks(sockets []*Socket) {
	hides := hidesProcesses()
	unseen := s.unsure && (len(s.hidden) > 0 || s.ctx.Err() != nil || hides)
	init := 0
	if initialPIDs() {
		init = 1
	}
	for _, pid := range s.forks {
		if unseen {
			break
		}
		there := hides && errors.Is(unix.Kill(pid, 0), unix.EPERM)
		unseen = pid != init && (!s.examined[pid] || slices.Contains(s.hidden, pid) || there)
	}
	for _, socket := range sockets {
		socket.ForksUnseen = len(socket.Holders) > 0 && (unseen || socket.MoreHolders)
	}
}

// hidesProcesses reports whether /proc lacks the processes of other users.
func hidesProcesses() bool { return unix.Access("/proc/1", unix.F_OK) != nil }

// initialPIDs reports whether /proc shows all processes of the machine.
func initialPIDs() bool {
	ours, err := namespaceInode("/proc/self/ns/pid")
	return err == nil && ours == initialPIDNamespace
}

// stoppedEarly reports whether there are processes that were not examined. Most often
// this one is among them.
func (s *search) stoppedEarly() bool {
	if s.self.pid != 0 && !s.examined[s.self.pid] {
		return true
	}
	pids := s.all()
	return len(pids) == 0 || slices.ContainsFunc(pids, func(pid int) bool { return !s.examined[pid] })
}

// markComplete marks the sockets of which all holders are known, after every
// process in /proc has been examined. A PID namespace other than the initial one
// shows only its own processes, so a socket without a holder there is held by a
// process of another namespace.
func markComplete(sockets []*Socket) []Gap {
	everything, elsewhere := initialPIDs(), false
	for _, socket := range sockets {
		socket.Complete = !socket.MoreHolders && (everything || socket.Inode == 0 || len(socket.Holders) > 0)
		elsewhere = elsewhere || len(socket.Holders) == 0 && !socket.Complete
	}
	if elsewhere {
		return []Gap{{What: "a process that /proc does not show holds a socket: it runs in another PID namespace", Kind: GapHolders}}
	}
	return nil
}
