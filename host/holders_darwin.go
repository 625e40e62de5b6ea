package host

import (
	"context"
	"net/netip"
	"os"
	"slices"

	"github.com/shirou/gopsutil/v4/net"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// place is what lsof and the kernel's list say alike of a socket.
type place struct {
	protocol port.Protocol
	addr     netip.Addr
	port     uint16
	state    State
}

func placeOf(e port.Endpoint, state State) place { return place{e.Protocol, e.Addr, e.Port, state} }

// findHolders asks lsof, by gopsutil, which processes have a socket at each
// place. To anybody but root it shows his own processes alone.
func findHolders(ctx context.Context, sockets []*Socket, _, showCommand bool) []Gap {
	stats, err := net.ConnectionsWithContext(ctx, "inet")
	if err != nil {
		return []Gap{{What: "lsof can't be asked, so no holder can be named", Op: "lsof", Errno: ErrnoName(err), Kind: GapHolders}}
	}
	pids := map[place][]int{}
	for _, stat := range stats {
		s, err := socktab.FromStat(stat)
		if err != nil || len(s.PIDs) == 0 {
			continue
		}
		at := placeOf(s.Endpoint, State(s.State()))
		if !slices.Contains(pids[at], s.PIDs[0]) {
			pids[at] = append(pids[at], s.PIDs[0])
		}
	}
	twins := map[place][]*Socket{}
	for _, s := range sockets {
		at := placeOf(s.Endpoint, s.State)
		twins[at] = append(twins[at], s)
	}
	root := os.Geteuid() == 0
	d := newDetails(ctx, showCommand)
	for at, alike := range twins {
		for _, s := range alike {
			s.Complete = root && len(pids[at]) > 0
		}
		for _, pid := range pids[at] {
			h, ok := d.of(pid)
			if !ok {
				for _, s := range alike {
					s.Complete = false
				}
				continue
			}
			for _, s := range likely(h, alike) {
				s.Holders = append(s.Holders, h)
			}
		}
	}
	if root {
		return nil
	}
	return []Gap{{What: "lsof shows our own processes alone: run as root to have every holder named", Op: "lsof", Kind: GapHolders}}
}

// likely leaves, of sockets that share a place, those of the holder's user, if
// there are such: with SO_REUSEPORT the others are somebody else's.
func likely(h Holder, alike []*Socket) []*Socket {
	own := slices.DeleteFunc(slices.Clone(alike), func(s *Socket) bool {
		return s.UID == nil || int(*s.UID) != h.UID
	})
	if len(own) > 0 {
		return own
	}
	return alike
}
