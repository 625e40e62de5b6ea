package host

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// readTable reads the socket table by sock_diag, which filters in the kernel. A
// protocol for which that fails it reads from /proc/net, and adds a gap.
func readTable(ctx context.Context, queries []query) tableRead {
	read := tableRead{whole: map[port.Protocol]bool{}, boundHidden: !listsBound()}
	if len(queries) == 0 {
		return read
	}
	devices := newDevices()
	for _, q := range queries {
		sockets, err := readDiag(ctx, q, devices)
		if err == nil {
			read.add(sockets)
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
		read.add(sockets)
		read.whole[q.protocol] = true
		what := fmt.Sprintf("sock_diag can't be used, so the %s sockets are read from /proc/net", q.protocol)
		if q.protocol == port.TCP {
			what += ", which does not show sockets that are bound and do not listen"
			read.boundHidden = true
		}
		read.gaps = append(read.gaps, Gap{What: what, Op: op, Errno: errno, Kind: GapSockets})
	}
	return read
}

// add adds sockets. It does not copy those of the first protocol, which may be many.
func (r *tableRead) add(sockets []Socket) {
	if r.sockets == nil {
		r.sockets = sockets
		return
	}
	r.sockets = append(r.sockets, sockets...)
}

// listsBound reports whether sock_diag of this kernel lists TCP sockets that are
// bound and do not listen. Linux does since 6.8: commit 91051f003948 ("tcp: Dump
// bound-only sockets in inet_diag.").
func listsBound() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return true
	}
	return atLeast(unix.ByteSliceToString(name.Release[:]), 6, 8)
}

// atLeast reports whether a kernel's release, such as "6.1.0-56-cloud-amd64", is at
// least this version, or can't be parsed.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return true
	}
	return a > major || a == major && b >= minor
}

// settleV6Only finds out which sockets on [::] are IPv6-only, where the table does
// not show it and a try is about IPv4. A bind of 0.0.0.0 works only beside an
// IPv6-only socket, if it has no option that could let it share the port. In gVisor,
// a bind of another address can work beside a dual-stack one.
func settleV6Only(t table, tries []Try) {
	for _, try := range tries {
		if try.Look || !slices.ContainsFunc(try.At(try.Ports.First), func(e port.Endpoint) bool { return e.Addr.Is4() }) {
			continue
		}
		strict := try.Binding
		strict.ReusePort = false
		strict.ReuseAddress = strict.ReuseAddress && strict.Protocol == port.TCP
		for n := int(try.Ports.First); n <= int(try.Ports.Last); n++ {
			for i := range t.indexes(uint16(n)) {
				s := &t.sockets[i]
				if !s.MayBeV6Only || s.Protocol != try.Protocol {
					continue
				}
				e := port.Endpoint{Protocol: s.Protocol, Addr: ipv4Unspecified, Port: s.Port}
				if release, _, err := openSocket(strict, e); err == nil {
					release()
					s.V6Only, s.MayBeV6Only = true, false
				}
			}
		}
	}
}
