package host

import (
	"context"

	"github.com/org/portcheck/port"
)

// markKernels marks the sockets that the kernel itself made: for VXLAN, WireGuard, NFS
// and the like. No process has them open although every process was examined, and
// they are still there: the process of another one may have ended meanwhile.
func markKernels(ctx context.Context, sockets []*Socket) {
	ownerless := map[uint64][]*Socket{}
	ports := wantedPorts{}
	for _, s := range sockets {
		if s.Complete && s.Inode != 0 && len(s.Holders) == 0 && (s.State == Listen || s.State == Bound) {
			ownerless[s.Inode] = append(ownerless[s.Inode], s)
			ports.add(s.Protocol, port.Set{port.One(s.Port)})
		}
	}
	var queries []query
	for proto, bits := range ports {
		queries = append(queries, query{protocol: proto, ports: bits})
	}
	if len(queries) == 0 {
		return
	}
	for _, now := range readTable(ctx, queries).sockets {
		for _, s := range ownerless[now.Inode] {
			s.Kernel = true
		}
	}
}
