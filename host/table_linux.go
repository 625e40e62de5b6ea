package host

import (
	"context"
	"fmt"

	"github.com/org/portcheck/port"
)

// readTable reads the socket table by sock_diag, which filters in the kernel. A
// protocol for which that fails it reads from /proc/net, and adds a gap.
func readTable(ctx context.Context, queries []query) tableRead {
	read := tableRead{whole: map[port.Protocol]bool{}}
	if len(queries) == 0 {
		return read
	}
	devices := newDevices()
	for _, q := range queries {
		sockets, err := readDiag(ctx, q, devices)
		if err == nil {
			read.sockets = append(read.sockets, sockets...)
			read.whole[q.protocol] = true
			continue
		}
		op, errno := opErrno(err)
		var procErr error
		sockets, procErr = readProcNet(q)
		if procErr != nil {
			procOp, procErrno := opErrno(procErr)
			read.gaps = append(read.gaps, Gap{
				What: fmt.Sprintf("the kernel's %s socket table can't be read, neither by sock_diag (%s: %s) nor in /proc/net", q.protocol, op, errno),
				Op:   procOp, Errno: procErrno, Kind: GapSockets,
			})
			continue
		}
		read.sockets = append(read.sockets, sockets...)
		read.whole[q.protocol] = true
		what := fmt.Sprintf("sock_diag can't be used, so the %s sockets are read from /proc/net", q.protocol)
		if q.protocol == port.TCP {
			what += ", which does not show sockets that are bound and do not listen"
		}
		read.gaps = append(read.gaps, Gap{What: what, Op: op, Errno: errno, Kind: GapSockets})
	}
	return read
}
