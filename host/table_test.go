package host

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/org/portcheck/port"
)

func TestSameSocket(t *testing.T) {
	web := Socket{Endpoint: port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr("::"), Port: 80}, State: Listen}
	numbered := func(s Socket, inode uint64) Socket { s.Inode = inode; return s }
	heldBy := func(s Socket, pid int) Socket { s.Holders = []Holder{{PID: pid}}; return s }
	bound := web
	bound.State = Bound
	for name, c := range map[string]struct {
		a, b Socket
		want bool
	}{
		"one inode":                {numbered(web, 7), numbered(web, 7), true},
		"one inode, listening now": {numbered(bound, 7), numbered(web, 7), true},
		"two inodes":               {numbered(web, 7), numbered(web, 8), false},
		"one inode, one orphan":    {numbered(web, 7), web, false},
		"no inodes, one process":   {heldBy(web, 1), heldBy(web, 1), true},
		"no inodes, two processes": {heldBy(web, 1), heldBy(web, 2), false},
		"no inodes, another state": {heldBy(web, 1), heldBy(bound, 1), false},
		"no inodes and no process": {web, web, true},
		"one inode, two processes": {heldBy(numbered(web, 7), 1), heldBy(numbered(web, 7), 2), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.a.same(c.b); got != c.want {
				t.Errorf("same: %t, want %t", got, c.want)
			}
			if got := c.b.same(c.a); got != c.want {
				t.Errorf("same the other way: %t, want %t", got, c.want)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	at := func(addr string, n uint16, s State, pids ...int) Socket {
		socket := Socket{Endpoint: port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr(addr), Port: n}, State: s}
		for _, pid := range pids {
			socket.Holders = append(socket.Holders, Holder{PID: pid})
		}
		return socket
	}
	inode := func(s Socket, n uint64) Socket { s.Inode = n; return s }
	complete := func(s Socket) Socket { s.Complete = true; return s }
	for name, c := range map[string]struct {
		sockets []Socket
		want    int
	}{
		"none":                                {nil, 0},
		"connections of one process":          {[]Socket{inode(at("::1", 80, Connected, 7), 1), inode(at("::1", 80, Connected, 7), 2), inode(at("::1", 80, Connected, 7), 3)}, 1},
		"connections of two processes":        {[]Socket{at("::1", 80, Connected, 7), at("::1", 80, Connected, 8)}, 2},
		"PIDs 1, 2 and PID 12":                {[]Socket{at("::1", 80, Connected, 1, 2), at("::1", 80, Connected, 12)}, 2},
		"one held, one not":                   {[]Socket{at("::1", 80, Connected, 7), at("::1", 80, Connected)}, 2},
		"one of which all holders are known":  {[]Socket{complete(at("::1", 80, Connected, 7)), at("::1", 80, Connected, 7)}, 2},
		"TIME_WAIT without an inode":          {[]Socket{at("::1", 80, TimeWait), at("::1", 80, TimeWait)}, 1},
		"TIME_WAIT beside a connection":       {[]Socket{at("::1", 80, TimeWait), at("::1", 80, Connected)}, 2},
		"connections on two addresses":        {[]Socket{at("::1", 80, Connected, 7), at("127.0.0.1", 80, Connected, 7)}, 2},
		"connections on two ports":            {[]Socket{at("::1", 80, Connected, 7), at("::1", 81, Connected, 7)}, 2},
		"listeners that share a port":         {[]Socket{at("::1", 80, Listen, 7), at("::1", 80, Listen, 7)}, 2},
		"bound sockets that share an address": {[]Socket{at("::1", 80, Bound, 7), at("::1", 80, Bound, 7)}, 2},
	} {
		if got := merge(c.sockets); len(got) != c.want {
			t.Errorf("%s: %d sockets, want %d: %+v", name, len(got), c.want, got)
		}
	}
	// In the order of ports, and as they were within one endpoint.
	got := merge([]Socket{at("::1", 81, Listen, 1), at("::1", 80, Connected, 3), at("::1", 80, Listen, 2)})
	if len(got) != 3 || got[0].State != Connected || got[1].State != Listen || got[1].Port != 80 || got[2].Port != 81 {
		t.Errorf("%+v", got)
	}
}

// The sockets of a port are in the order in which they were read.
func TestTableByPort(t *testing.T) {
	at := func(addr string) Socket {
		a := netip.MustParseAddrPort(addr)
		return Socket{Endpoint: port.Endpoint{Protocol: port.TCP, Addr: a.Addr(), Port: a.Port()}, State: Listen}
	}
	table := newTable([]Socket{at("10.0.0.1:1"), at("10.0.0.2:80"), at("10.0.0.1:80"), at("10.0.0.1:65535"), at("10.0.0.3:80")})
	binding := port.Binding{Protocol: port.TCP, Addresses: []port.Address{"10.0.0.1"}}
	for n, want := range map[uint16]struct {
		on []string
		at bool
	}{
		1: {[]string{"10.0.0.1"}, true}, 2: {}, 80: {[]string{"10.0.0.2", "10.0.0.1", "10.0.0.3"}, true}, 65535: {[]string{"10.0.0.1"}, true},
	} {
		var got []string
		for _, s := range table.on(n) {
			got = append(got, s.Addr.String())
		}
		if !slices.Equal(got, want.on) {
			t.Errorf("on(%d): %q, want %q", n, got, want.on)
		}
		if table.hasAt(binding, n) != want.at || len(table.at(binding, n)) > 0 != want.at {
			t.Errorf("at %d: %t, %v, want %t", n, table.hasAt(binding, n), table.at(binding, n), want.at)
		}
	}
}
