package check

import (
	"path"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// proof is how certain it is that a holder is an owner.
type proof int

const (
	foreign  proof = iota // proven to be another
	unproven              // a deciding fact could not be read
	proven
)

// ownership compares every process that is seen to hold one of the sockets with
// the owners. It returns foreign if one holder is foreign; otherwise unproven if
// one is unproven, or if a socket has no holder.
//
// Sockets that no process holds don't count (TIME_WAIT, orphans, a connection
// that was closed during the check). If there are no others, no owner is in the
// way, and the result is foreign. Processes that can't be read don't count either,
// because most machines have one (docs/adr/0004).
func ownership(owners []config.Owner, sockets []host.Socket) proof {
	result, counted := proven, 0
	for _, s := range sockets {
		if len(s.Holders) == 0 && !holdsPort(s) && (s.Inode == 0 || s.Complete) {
			continue
		}
		counted++
		if len(s.Holders) == 0 {
			result = min(result, unproven)
		}
		for _, h := range s.Holders {
			result = min(result, anyOwner(owners, h))
		}
	}
	switch {
	case counted > 0:
		return result
	case len(sockets) > 0:
		return foreign
	}
	return unproven
}

func anyOwner(owners []config.Owner, h host.Holder) proof {
	best := foreign
	for _, o := range owners {
		best = max(best, isOwner(o, h))
	}
	return best
}

// isOwner matches a holder against every key that the owner sets.
func isOwner(o config.Owner, h host.Holder) proof {
	result := proven
	match := func(pattern, value, fact string) {
		if pattern == "" {
			return
		}
		if slices.Contains(h.Unseen, fact) {
			result = min(result, unproven)
		} else if !matches(pattern, value) {
			result = foreign
		}
	}
	executable := ""
	if h.Executable != "" {
		executable = processName(h)
	}
	match(o.Process, executable, "executable")
	match(o.Executable, h.Executable, "executable")
	match(o.Unit, h.Unit, "unit")
	match(o.User, h.User, "user")
	// The kernel has only a container's ID: name, image and Compose service
	// come from the engine.
	container := func(pattern string, field func(host.ContainerInfo) string) {
		switch {
		case pattern == "":
		case h.ContainerInfo != nil:
			match(pattern, field(*h.ContainerInfo), "")
		case slices.Contains(h.Unseen, "container"), slices.Contains(h.Unseen, host.ContainerName), h.Container != "":
			result = min(result, unproven)
		default:
			result = foreign
		}
	}
	// The container of a CI service has a random name, and the service's name in
	// the workflow.
	service := h.ContainerInfo != nil && matches(o.Container, h.ContainerInfo.Service)
	if !service && !isContainerID(o.Container, h.Container) {
		container(o.Container, func(c host.ContainerInfo) string { return c.Name })
	}
	container(o.Image, func(c host.ContainerInfo) string { return c.Image })
	container(o.Compose, func(c host.ContainerInfo) string { return c.Compose })
	return result
}

func matches(pattern, value string) bool {
	ok, _ := path.Match(pattern, value) // config has validated the pattern
	return ok
}

// isContainerID reports whether a pattern is a container's ID or the start of it,
// of at least the 12 digits that engines print.
func isContainerID(pattern, id string) bool {
	return len(pattern) >= 12 && strings.HasPrefix(id, pattern)
}
