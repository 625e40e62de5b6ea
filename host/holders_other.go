//go:build !linux && !darwin

package host

import (
	"context"
	"os"
	"runtime"
)

// findHolders describes the processes that the table named.
func findHolders(ctx context.Context, sockets []*Socket, _, showCommand bool) []Gap {
	gap := Gap{Kind: GapHolders}
	switch {
	case runtime.GOOS == "windows":
		// dwOwningPid is who bound it; a child may have inherited the handle.
		gap.What = "Windows names the process that bound a socket and nobody who inherited it"
	case runtime.GOOS == "freebsd" && os.Geteuid() == 0:
	case runtime.GOOS == "freebsd":
		gap.What = "lsof shows our own processes alone: run as root to have every holder named"
	default:
		gap.What = "netstat names no process"
	}
	d := newDetails(ctx, showCommand)
	for _, s := range sockets {
		var found []Holder
		for _, named := range s.Holders {
			if h, ok := d.of(named.PID); ok {
				found = append(found, h)
			}
		}
		s.Complete = gap.What == "" && len(found) == len(s.Holders)
		s.Holders = found
	}
	if gap.What == "" {
		return nil
	}
	return []Gap{gap}
}
