//go:build !linux && !darwin

package host

import (
	"context"
	"os"
	"runtime"
)

// findHolders adds the details of the processes that the table lists.
func findHolders(ctx context.Context, sockets []*Socket, wanted holderQuery) []Gap {
	gap := Gap{Kind: GapHolders}
	switch {
	case runtime.GOOS == "windows":
		// dwOwningPid is the process that bound the socket; a child may have
		// inherited the handle.
		gap.What = "Windows lists the process that bound a socket, and not those that inherited it"
	case runtime.GOOS == "freebsd" && os.Geteuid() == 0:
	case runtime.GOOS == "freebsd":
		gap.What = "lsof shows only the processes of this user: run as root to see every holder"
	default:
		gap.What = "netstat does not show processes"
	}
	d := newDetails(ctx, wanted.showCommand)
	for _, s := range sockets {
		var found []Holder
		for _, named := range s.Holders {
			if h, ok := d.of(named.PID); ok {
				found = append(found, h)
			}
		}
		s.Complete = gap.What == "" && len(found) == len(s.Holders)
		s.Holders, s.ForksUnseen = found, len(found) > 0 && !s.Complete
	}
	if gap.What == "" {
		return nil
	}
	return []Gap{gap}
}
