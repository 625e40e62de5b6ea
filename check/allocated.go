package check

import (
	"slices"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

func isAllocated(s host.Socket) bool { return s.State == host.Allocated }

// withAllocated adds to the sockets of a port what engines have allocated of it,
// unless the container is known to hold a socket there.
func withAllocated(sockets []host.Socket, allocated []host.Allocation) []host.Socket {
	if len(allocated) == 0 {
		return sockets
	}
	held := map[string][]host.Socket{} // by container
	for _, s := range sockets {
		for _, h := range s.Holders {
			if h.Container != "" && holdsPort(s) {
				held[h.Container] = append(held[h.Container], s)
			}
		}
	}
	unseen := map[int][]port.Endpoint{} // by user
	var added []host.Socket
	for _, a := range allocated {
		if len(overlapping(held[a.Container], a.Endpoint)) > 0 {
			continue
		}
		unseen[a.User] = append(unseen[a.User], a.Endpoint)
		h := host.Holder{UID: -1, Container: a.Container, ContainerInfo: a.ContainerInfo, Vouched: []string{host.FactContainer}}
		added = append(added, host.Socket{Endpoint: a.Endpoint, State: host.Allocated, Holders: []host.Holder{h}, Complete: true})
	}
	// The engine's own process for an allocation can't be seen.
	all := slices.DeleteFunc(slices.Clone(sockets), func(s host.Socket) bool {
		return len(s.Holders) == 0 && holdsPort(s) && s.UID != nil && slices.ContainsFunc(unseen[int(*s.UID)], s.Overlaps)
	})
	return append(all, added...)
}
