package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

const (
	// mutexTime limits how long a request waits for others before its second pass.
	mutexTime = time.Second
	// doubtTime limits how long the second pass waits for requests that hold ports
	// and may give them back.
	doubtTime = time.Second / 2
)

// lock is a bound socket that is the lock of a port.
type lock struct {
	fd       int
	protocol port.Protocol
	port     uint16
	want     int // the index of the want that has the port
}

// hold is a set of ports that this process holds.
type hold struct {
	locks  []lock
	guards []int
	// taken are the ports that this pass need not try: they are ours, or another's.
	taken map[numbered]bool
}

type numbered struct {
	protocol port.Protocol
	port     uint16
}

// mark is the size of a hold at some time.
type mark struct{ locks, guards int }

func (h *hold) mark() mark { return mark{len(h.locks), len(h.guards)} }

// back gives back what was taken since the mark.
func (h *hold) back(m mark) {
	for _, g := range h.guards[m.guards:] {
		unix.Close(g)
	}
	for _, l := range h.locks[m.locks:] {
		unix.Close(l.fd)
		delete(h.taken, numbered{l.protocol, l.port})
	}
	h.locks, h.guards = h.locks[:m.locks], h.guards[:m.guards]
}

// errTaken is the error for ports that another has. errDoubtful is for those that a
// request has bound and may give back: it does not listen yet.
var (
	errTaken    = errors.New("taken")
	errDoubtful = errors.New("taken for now")
)

// take takes the block of ports that starts at first, or nothing.
func (h *hold) take(w Want, index int, first uint16) error {
	before := h.mark()
	for i := range w.Length {
		for _, protocol := range w.Protocols {
			if err := h.takeOne(w, index, protocol, first+uint16(i)); err != nil {
				h.back(before)
				return err
			}
		}
	}
	return nil
}

func (h *hold) takeOne(w Want, index int, protocol port.Protocol, n uint16) error {
	key, name := numbered{protocol, n}, lockName(protocol, n)
	if h.taken[key] {
		return errTaken
	}
	fd, err := bindName(name)
	if errors.Is(err, unix.EADDRINUSE) {
		other, err := connect(name)
		if errors.Is(err, unix.ECONNREFUSED) {
			return errDoubtful
		}
		if err == nil {
			unix.Close(other)
		}
		h.taken[key] = true
		return errTaken
	}
	if err != nil {
		return fmt.Errorf("the lock of port %d can't be made: %w", n, err)
	}
	h.taken[key] = true
	h.locks = append(h.locks, lock{fd, protocol, n, index})
	if protocol != port.TCP || !w.Guard {
		return nil
	}
	g, err := guard(n)
	switch {
	case errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		return errTaken
	case err != nil:
		return fmt.Errorf("port %d can't be guarded: %w", n, err)
	}
	h.guards = append(h.guards, g)
	return nil
}

// pass takes ports for all wants or for none. Of the wants that it could not meet,
// unmet is one. It is doubtful if another request may give ports back.
func (h *hold) pass(ctx context.Context, wants []Want) (first []uint16, unmet int, doubtful bool, err error) {
	order := make([]int, len(wants))
	size := make([]int, len(wants))
	for i, w := range wants {
		order[i] = i
		for _, r := range w.Ports {
			size[i] += r.Len()
		}
	}
	// Those with the least choice come first: others can give way.
	slices.SortStableFunc(order, func(a, b int) int { return size[a] - size[b] })
	first, h.taken = make([]uint16, len(wants)), map[numbered]bool{}
	start := h.mark()
	for _, i := range order {
		found := false
		for n := range wants[i].Ports.All {
			if int(n)+wants[i].Length-1 > port.MaxPort {
				continue
			}
			if ctx.Err() != nil {
				h.back(start)
				return nil, i, false, context.Cause(ctx)
			}
			err := h.take(wants[i], i, n)
			if err == nil {
				first[i], found = n, true
				break
			}
			if errors.Is(err, errDoubtful) {
				doubtful = true
			} else if !errors.Is(err, errTaken) {
				h.back(start)
				return nil, i, false, err
			}
		}
		if !found {
			h.back(start)
			return nil, i, doubtful, nil
		}
	}
	return first, -1, false, nil
}

// choose takes ports for all wants or for none: in one pass without regard for others,
// then in one more while no other does so. Without the second, requests for many ports
// would hinder each other without end.
func (h *hold) choose(ctx context.Context, wants []Want) (first []uint16, unmet int, err error) {
	first, unmet, _, err = h.pass(ctx, wants)
	if unmet < 0 || err != nil {
		return first, unmet, err
	}
	if mutex, ok := lockMutex(ctx, time.Now().Add(mutexTime)); ok {
		defer unix.Close(mutex)
	}
	for deadline := time.Now().Add(doubtTime); ; {
		var doubtful bool
		first, unmet, doubtful, err = h.pass(ctx, wants)
		if unmet < 0 || err != nil || !doubtful || time.Now().After(deadline) {
			return first, unmet, err
		}
		time.Sleep(time.Millisecond) // nothing shows when a bound socket is closed
	}
}

// lockMutex waits until no other request is in its second pass. A connection to its
// socket ends with that pass.
func lockMutex(ctx context.Context, deadline time.Time) (int, bool) {
	for time.Now().Before(deadline) && ctx.Err() == nil {
		fd, err := bindName(mutexName)
		if err == nil {
			if err := unix.Listen(fd, 4096); err != nil {
				unix.Close(fd)
				return -1, false
			}
			return fd, true
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return -1, false
		}
		other, err := connect(mutexName)
		if err != nil { // it is not listening yet, has ended, or its backlog is full
			time.Sleep(time.Millisecond)
			continue
		}
		await(other, unix.POLLIN, deadline) // no event but the end: it sends nothing
		unix.Close(other)
	}
	return -1, false
}
