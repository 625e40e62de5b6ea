package host

import (
	"context"
	"net/netip"
	"os"
	"slices"

	"github.com/org/portcheck/port"
)

// lsofKey is what identifies a socket both in lsof and in the kernel's list.
type lsofKey struct {
	protocol port.Protocol
	addr     netip.Addr
	port     uint16
	state    State
}

func lsofKeyOf(e port.Endpoint, state State) lsofKey {
	return lsofKey{e.Protocol, e.Addr, e.Port, state}
}

// findHolders runs lsof, and adds to each socket the processes that have one like it.
// Without root, lsof shows only the processes of this user.
func findHolders(ctx context.Context, sockets []*Socket, wanted holderQuery) []Gap {
	listed, err := lsof(ctx)
	if err != nil && len(listed) == 0 {
		return []Gap{{What: "lsof can't be run, so no holder can be named", Op: "lsof", Errno: ErrnoName(err), Kind: GapHolders}}
	}
	var gaps []Gap
	if err != nil {
		gaps = []Gap{{What: "lsof shows a socket that can't be read, so holders may be missing", Op: "lsof", Errno: ErrnoName(err), Kind: GapHolders}}
	}
	pids := map[lsofKey][]int{}
	for _, s := range listed {
		at := lsofKeyOf(s.Endpoint, State(s.State()))
		if !slices.Contains(pids[at], s.PIDs[0]) {
			pids[at] = append(pids[at], s.PIDs[0])
		}
	}
	twins := map[lsofKey][]*Socket{}
	for _, s := range sockets {
		at := lsofKeyOf(s.Endpoint, s.State)
		twins[at] = append(twins[at], s)
	}
	named, more := 0, false
	root := os.Geteuid() == 0
	d := newDetails(ctx, wanted.showCommand)
	for at, alike := range twins {
		for _, s := range alike {
			s.Complete = root && err == nil && len(pids[at]) > 0
		}
		for i, pid := range pids[at] {
			if i >= holdersOfSocket || i > 0 && named >= wanted.most {
				for _, s := range alike {
					s.Complete, s.MoreHolders = false, true
				}
				more = true
				break
			}
			named += len(alike)
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
	for _, s := range sockets {
		s.ForksUnseen = len(s.Holders) > 0 && !s.Complete
	}
	if more {
		gaps = append(gaps, moreHolders(wanted.most))
	}
	if root {
		return gaps
	}
	return append(gaps, Gap{What: "lsof shows only the processes of this user: run as root to see every holder", Op: "lsof", Kind: GapHolders})
}

// likely chooses the sockets of a holder among alike, which have the same lsofKey:
// those of the holder's user, or all of them if no socket is that user's. With
// SO_REUSEPORT, the others may be other users'.
func likely(h Holder, alike []*Socket) []*Socket {
	own := slices.DeleteFunc(slices.Clone(alike), func(s *Socket) bool {
		return s.UID == nil || int(*s.UID) != h.UID
	})
	if len(own) > 0 {
		return own
	}
	return alike
}
