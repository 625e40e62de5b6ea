package host

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// pcbLists are the sysctls that netstat(1) reads as well. They show the sockets
// of all users to everybody, but of the processes only who touched a socket
// last, which proves nothing.
var pcbLists = map[port.Protocol]string{
	port.TCP: "net.inet.tcp.pcblist_n",
	port.UDP: "net.inet.udp.pcblist_n",
}

// readTable reads the kernel's lists. Socket.Inode is the kernel's generation
// number, which no two sockets of a protocol share.
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
		read.sockets = append(read.sockets, q.choose(all)...)
		read.whole[q.protocol] = true
	}
	return read
}

// readPCBList tries again if the list has outgrown the buffer that the kernel
// had asked for.
func readPCBList(name string) (list []byte, err error) {
	for range 3 {
		if list, err = unix.SysctlRaw(name); !errors.Is(err, unix.ENOMEM) {
			break
		}
	}
	return list, err
}
