package host

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// pcbLists are the sysctls that netstat(1) reads as well. They show every user the
// sockets of all users. They show only one process of a socket, the last that used
// it, which need not hold it.
var pcbLists = map[port.Protocol]string{
	port.TCP: "net.inet.tcp.pcblist_n",
	port.UDP: "net.inet.udp.pcblist_n",
}

// readTable reads the kernel's lists. It sets Socket.Inode to the kernel's
// generation number, which is unique among the sockets of a protocol.
func readTable(ctx context.Context, queries []query) tableRead {
	read := tableRead{whole: map[port.Protocol]bool{}}
	for _, q := range queries {
		if ctx.Err() != nil {
			return read
		}
		name := pcbLists[q.protocol]
		list, err := readPCBList(name)
		var all []socktab.Socket
		if err == nil {
			all, err = socktab.ParsePCBList(list, q.protocol)
		}
		if err != nil {
			read.gaps = append(read.gaps, Gap{
				What: fmt.Sprintf("the kernel's %s socket table can't be read", q.protocol),
				Op:   "sysctl " + name, Errno: ErrnoName(err), Kind: GapSockets,
			})
			continue
		}
		read.sockets = append(read.sockets, q.socketsFrom(all)...)
		read.whole[q.protocol] = true
	}
	return read
}

// readPCBList tries again if the list has grown since the kernel returned its
// size.
func readPCBList(name string) (list []byte, err error) {
	for range 3 {
		if list, err = unix.SysctlRaw(name); !errors.Is(err, unix.ENOMEM) {
			break
		}
	}
	return list, err
}
