package host

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/org/portcheck/port"
)

var ipv4Unspecified = netip.IPv4Unspecified()

// table is the socket table, by port.
type table struct {
	sockets []Socket
	byPort  map[uint16][]int
}

func newTable(sockets []Socket) table {
	t := table{sockets, make(map[uint16][]int, len(sockets))}
	for i, s := range sockets {
		t.byPort[s.Port] = append(t.byPort[s.Port], i)
	}
	return t
}

// overlapping lists the sockets that overlap a try.
func (t table) overlapping(try Try) []Socket {
	var all []Socket
	for n := int(try.Ports.First); n <= int(try.Ports.Last); n++ {
		all = append(all, t.at(try.Binding, uint16(n))...)
	}
	return all
}

// at lists the sockets that overlap a binding at one port.
func (t table) at(b port.Binding, n uint16) []Socket {
	candidates := t.byPort[n]
	if len(candidates) == 0 {
		return nil
	}
	endpoints := endpointsAt(b, n)
	var all []Socket
	for _, i := range candidates {
		if overlapsAny(t.sockets[i].Endpoint, endpoints) {
			all = append(all, t.sockets[i])
		}
	}
	return all
}

// socketKey tells sockets apart. TIME_WAIT and orphaned sockets have no inode:
// they count once for each local endpoint. Where the OS numbers no socket, the
// table names the process that holds it.
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

// same says whether two readings of the table show one socket.
func (s Socket) same(o Socket) bool {
	if s.Inode != 0 || o.Inode != 0 {
		return s.Inode == o.Inode
	}
	return keyOf(s) == keyOf(o)
}

// merge leaves one entry of connections that differ in their peer alone: a busy
// server has thousands on one local endpoint, with the same holders.
func merge(sockets []Socket) []Socket {
	var kept []Socket
	known := map[story]bool{}
	for _, s := range sockets {
		if holdsForGood(s) {
			kept = append(kept, s)
			continue
		}
		if told := storyOf(s); !known[told] {
			known[told] = true
			kept = append(kept, s)
		}
	}
	slices.SortStableFunc(kept, func(a, b Socket) int { return a.Compare(b.Endpoint) })
	return kept
}

// story is what there is to tell of a connection.
type story struct {
	port.Endpoint
	state    State
	complete bool
	holders  string
}

func storyOf(s Socket) story {
	t := story{Endpoint: s.Endpoint, state: s.State, complete: s.Complete}
	for _, h := range s.Holders {
		t.holders += strconv.Itoa(h.PID) + " "
	}
	return t
}
