package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/org/portcheck/port"
)

const (
	// mutexTime limits how long a request waits for others before its second pass.
	mutexTime = time.Second
	// doubtTime limits how long the second pass waits for requests that hold ports
	// and may give them back.
	doubtTime = time.Second / 2
)

// lock is the lock of a port, which this process has.
type lock struct {
	handle
	protocol port.Protocol
	port     uint16
	want     int // the index of the want that has the port
}

// hold is a set of ports that this process holds.
type hold struct {
	place
	locks  []lock
	guards []func() // each closes one
	// taken are the ports that this pass need not try: they are ours, or another's.
	taken     map[numbered]bool
	lingering lingering
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
		g()
	}
	for _, l := range h.locks[m.locks:] {
		l.close()
		delete(h.taken, numbered{l.protocol, l.port})
	}
	h.locks, h.guards = h.locks[:m.locks], h.guards[:m.guards]
}

// errTaken is the error for ports that another has. errDoubtful is for those that a
// request has locked and may give back: they are no lease yet.
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
	key := numbered{protocol, n}
	if h.taken[key] {
		return errTaken
	}
	got, err := h.lock(protocol, n)
	if errors.Is(err, errTaken) {
		h.taken[key] = true
		return err
	}
	if errors.Is(err, errDoubtful) {
		return err
	}
	if err != nil {
		return fmt.Errorf("the lock of port %d can't be made: %w", n, err)
	}
	h.taken[key] = true
	h.locks = append(h.locks, lock{got, protocol, n, index})
	guard := guardTCP
	switch {
	case protocol == port.UDP && w.GuardUDP:
		guard = guardUDP
	case protocol != port.TCP || !w.Guard:
		return nil
	}
	guards, err := guard(n, &h.lingering)
	if err != nil && !errors.Is(err, errTaken) {
		return fmt.Errorf("port %d can't be guarded: %w", n, err)
	}
	h.guards = append(h.guards, guards...)
	return err
}

// mostOrders is how many orders are tried in which wants take their ports.
const mostOrders = 4

// pass takes ports for all wants or for none. Of the wants that it could not meet,
// unmet is one. It is doubtful if another request may give ports back. If one want gets
// nothing because of the others, it comes first in the next order, and all take their
// lowest ports, so that the blocks lie close together.
func (h *hold) pass(ctx context.Context, wants []Want) (first []uint16, unmet int, doubtful bool, err error) {
	order := byChoice(wants)
	h.taken = map[numbered]bool{}
	for n := 1; ; n++ {
		first, unmet, doubtful, err = h.takeAll(ctx, wants, order)
		if unmet < 0 || err != nil || doubtful || unmet == order[0] || n == mostOrders {
			return first, unmet, doubtful, err
		}
		if n == 1 {
			wants = ascending(wants)
		}
		k := slices.Index(order, unmet)
		order = slices.Insert(slices.Delete(order, k, k+1), 0, unmet)
	}
}

// byChoice returns the indexes of wants, those with the least choice first, and then the
// longest: others can give way.
func byChoice(wants []Want) []int {
	order := make([]int, len(wants))
	blocks := make([]int, len(wants))
	for i, w := range wants {
		order[i] = i
		for _, r := range w.Ports {
			blocks[i] += r.Len()
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(blocks[a], blocks[b]), cmp.Compare(wants[b].Length, wants[a].Length))
	})
	return order
}

// ascending returns the wants with their ports in ascending order.
func ascending(wants []Want) []Want {
	wants = slices.Clone(wants)
	for i := range wants {
		wants[i].Ports = slices.SortedFunc(slices.Values(wants[i].Ports), func(a, b port.Range) int { return cmp.Compare(a.First, b.First) })
	}
	return wants
}

// takeAll takes ports for all wants, in that order, or for none.
func (h *hold) takeAll(ctx context.Context, wants []Want, order []int) (first []uint16, unmet int, doubtful bool, err error) {
	first = make([]uint16, len(wants))
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
	if unlock, ok := h.lockMutex(ctx, time.Now().Add(mutexTime)); ok {
		defer unlock()
	}
	for deadline := time.Now().Add(doubtTime); ; {
		var doubtful bool
		first, unmet, doubtful, err = h.pass(ctx, wants)
		if unmet < 0 || err != nil || !doubtful || time.Now().After(deadline) {
			return first, unmet, err
		}
		time.Sleep(time.Millisecond) // nothing shows when a lock is given back
	}
}
