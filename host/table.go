package host

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"

	"github.com/org/portcheck/port"
)

var ipv4Unspecified = netip.IPv4Unspecified()

// table is the socket table, by port.
type table struct {
	sockets []Socket
	// first has the index of the first socket with each port, plus one, and next that
	// of the next one for each socket: there may be tens of thousands.
	first map[uint16]int32
	next  []int32
}

func newTable(sockets []Socket) table {
	t := table{sockets, make(map[uint16]int32, len(sockets)), make([]int32, len(sockets))}
	for i := len(sockets) - 1; i >= 0; i-- {
		n := sockets[i].Port
		t.next[i], t.first[n] = t.first[n], int32(i+1)
	}
	return t
}

// indexes yields the indexes of the sockets with one port, in their order.
func (t table) indexes(n uint16) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := t.first[n]; i > 0 && yield(int(i-1)); i = t.next[i-1] {
		}
	}
}

// overlapping returns the sockets that overlap a try.
func (t table) overlapping(try Try) []Socket {
	var all []Socket
	for n := int(try.Ports.First); n <= int(try.Ports.Last); n++ {
		all = append(all, t.at(try.Binding, uint16(n))...)
	}
	return all
}

// on returns the sockets with one port.
func (t table) on(n uint16) []Socket {
	var all []Socket
	for i := range t.indexes(n) {
		all = append(all, t.sockets[i])
	}
	return all
}

// at returns the sockets that overlap a binding at one port.
func (t table) at(b port.Binding, n uint16) []Socket {
	var all []Socket
	for i := range t.indexesAt(b, n) {
		all = append(all, t.sockets[i])
	}
	return all
}

// withoutTaken returns the ports at which no socket overlaps a binding.
func (t table) withoutTaken(b port.Binding, ports port.Set) port.Set {
	endpoints := endpointsAt(b, 0)
	return ports.Without(func(n uint16) bool {
		for i := range endpoints {
			endpoints[i].Port = n
		}
		for i := range t.indexes(n) {
			if overlapsAny(t.sockets[i].Endpoint, endpoints) {
				return true
			}
		}
		return false
	})
}

// indexesAt yields the indexes of the sockets that overlap a binding at one port.
func (t table) indexesAt(b port.Binding, n uint16) iter.Seq[int] {
	return func(yield func(int) bool) {
		if t.first[n] == 0 {
			return
		}
		endpoints := endpointsAt(b, n)
		for i := range t.indexes(n) {
			if overlapsAny(t.sockets[i].Endpoint, endpoints) && !yield(i) {
				return
			}
		}
	}
}

// blocking returns the sockets that can be the reason why binds failed at which no
// socket overlaps.
func (t table) blocking(attempts []Attempt) []Socket {
	var all []Socket
	for _, a := range attempts {
		here := t.on(a.Port)
		if a.Outcome != InUse || anyOverlaps(here, a.Endpoint) {
			continue
		}
		for _, s := range here {
			if s.MayBlock(a.Endpoint) {
				all = append(all, s)
			}
		}
	}
	return all
}

// socketKey identifies a socket. TIME_WAIT and orphaned sockets have no inode, so
// those of one local endpoint count as one socket. On an OS that doesn't number
// its sockets, pid is the holder in the table.
type socketKey struct {
	port.Endpoint
	state State
	inode uint64
	pid   int
}

func keyOf(s Socket) socketKey {
	k := socketKey{s.Endpoint, s.State, s.Inode, 0}
	if s.Inode == 0 && len(s.Holders) > 0 {
		k.pid = s.Holders[0].PID
	}
	return k
}

// same reports whether two entries, read at different times, are of one socket.
func (s Socket) same(o Socket) bool {
	if s.Inode != 0 {
		return s.Inode == o.Inode
	}
	return keyOf(s) == keyOf(o)
}

// merge returns the sockets with a single entry for connections that differ only
// in their peer. A busy server has thousands of these on one local endpoint,
// with the same holders.
func merge(sockets []Socket) []Socket {
	var kept []Socket
	known := map[connectionKey]bool{}
	for _, s := range sockets {
		if holdsForGood(s) {
			kept = append(kept, s)
			continue
		}
		if key := connectionKeyOf(s); !known[key] {
			known[key] = true
			kept = append(kept, s)
		}
	}
	slices.SortStableFunc(kept, func(a, b Socket) int { return a.Compare(b.Endpoint) })
	return kept
}

// connectionKey is what the facts hold of a connection.
type connectionKey struct {
	port.Endpoint
	state    State
	complete bool
	more     bool
	unseen   bool
	holders  string
}

func connectionKeyOf(s Socket) connectionKey {
	k := connectionKey{Endpoint: s.Endpoint, state: s.State, complete: s.Complete, more: s.MoreHolders, unseen: s.ForksUnseen}
	for _, h := range s.Holders {
		k.holders += strconv.Itoa(h.PID) + " "
	}
	return k
}
