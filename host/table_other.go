//go:build !linux && !darwin

package host

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// readTable reads the socket table by listSockets, which each system has.
func readTable(ctx context.Context, queries []query) tableRead {
	read := tableRead{whole: map[port.Protocol]bool{}, boundHidden: runtime.GOOS == "windows"}
	for _, q := range queries {
		all, err := readProtocol(ctx, q.protocol)
		if err != nil {
			read.gaps = append(read.gaps, Gap{
				What: fmt.Sprintf("the system's %s socket table can't be read", q.protocol),
				Op:   "read " + string(q.protocol) + " sockets", Errno: ErrnoName(err), Kind: GapSockets,
			})
			continue
		}
		read.sockets = append(read.sockets, q.socketsFrom(all)...)
		if runtime.GOOS == "freebsd" && os.Geteuid() != 0 {
			read.gaps = append(read.gaps, Gap{
				What: "lsof shows only the sockets of this user: run as root to see all",
				Op:   "lsof", Kind: GapSockets,
			})
			continue
		}
		read.whole[q.protocol] = true
	}
	return read
}

// readProtocol returns an error if one entry can't be parsed: a partial table is
// not used.
func readProtocol(ctx context.Context, protocol port.Protocol) ([]socktab.Socket, error) {
	listed, err := listSockets(ctx, protocol)
	if err != nil {
		return nil, err
	}
	var all []socktab.Socket
	for _, s := range listed {
		// Windows lists a dual-stack socket with both families: the stack
		// "opens an endpoint for both" (Microsoft, "Dual Stack Sockets on
		// Windows Vista"). OpenBSD has none. On other systems it is unknown.
		s.V6Only = s.Addr.Is6() && s.Addr.IsUnspecified() && (runtime.GOOS == "windows" || runtime.GOOS == "openbsd")
		if s.Protocol == protocol && s.Port != 0 {
			all = append(all, s)
		}
	}
	return socktab.Group(all), nil
}
