package check

import (
	"slices"

	"github.com/org/portcheck/host"
)

func isAllocated(s host.Socket) bool { return s.State == host.Allocated }

// withAllocated adds to the sockets of a port what engines have allocated of it,
// unless the container is known to hold a socket there.
func withAllocated(sockets []host.Socket, allocated []host.Allocation) []host.Socket {
	if len(allocated) == 0 {
		return sockets
	}
	all := slices.Clone(sockets)
	for _, a := range allocated {
		known := slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.Overlaps(a.Endpoint) && holdsFor(s, a) })
		if known {
			continue
		}
		// The engine's own process for it, which can't be seen.
		all = slices.DeleteFunc(all, func(s host.Socket) bool {
			return len(s.Holders) == 0 && !isAllocated(s) && holdsPort(s) && s.Overlaps(a.Endpoint) && s.UID != nil && int(*s.UID) == a.User
		})
		h := host.Holder{UID: -1, Container: a.Container, ContainerInfo: a.ContainerInfo, Vouched: []string{host.FactContainer}}
		all = append(all, host.Socket{Endpoint: a.Endpoint, State: host.Allocated, Holders: []host.Holder{h}, Complete: true})
	}
	return all
}

// holdsFor reports whether a socket is held for the container of an allocation.
func holdsFor(s host.Socket, a host.Allocation) bool {
	return holdsPort(s) && slices.ContainsFunc(s.Holders, func(h host.Holder) bool { return h.Container == a.Container })
}
