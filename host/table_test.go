package host

import (
	"net/netip"
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
