package check

import (
	"path"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// proof is how sure it is that a holder is, or is not, an owner.
type proof int

const (
	foreign  proof = iota // proven to be somebody else
	unproven              // some fact that decides could not be read
	proven
)

// ownership judges every process that is seen to hold one of the sockets: one
// foreign holder makes the whole foreign; one unproven, or a socket without any
// holder, leaves it unproven.
//
// Sockets that no process holds do not count (TIME_WAIT, orphans, a connection
// that was closed while we looked): where there are no others, no owner is in
// the way. Processes that can't be looked into do not count either
// (docs/adr/0004): there is one on most machines.
func ownership(owners []config.Owner, sockets []host.Socket) proof {
	result, any := proven, false
	for _, s := range sockets {
		if len(s.Holders) == 0 && !holdsPort(s) && (s.Inode == 0 || s.Complete) {
			continue
		}
		any = true
		if len(s.Holders) == 0 {
			result = min(result, unproven)
		}
		for _, h := range s.Holders {
			result = min(result, anyOwner(owners, h))
		}
	}
	switch {
	case any:
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

// isOwner matches every key that the owner sets.
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
	// Of a container the kernel knows the ID alone; name, image and compose
	// service are the engine's to say.
	container := func(pattern string, told func(host.ContainerInfo) string) {
		switch {
		case pattern == "":
		case h.ContainerInfo != nil:
			match(pattern, told(*h.ContainerInfo), "")
		case slices.Contains(h.Unseen, "container"), slices.Contains(h.Unseen, host.ContainerName), h.Container != "":
			result = min(result, unproven)
		default:
			result = foreign
		}
	}
	// A service's container has a random name, and the one of the workflow.
	service := h.ContainerInfo != nil && h.ContainerInfo.Service != "" && matches(o.Container, h.ContainerInfo.Service)
	if !service && !isContainerID(o.Container, h.Container) {
		container(o.Container, func(c host.ContainerInfo) string { return c.Name })
	}
	container(o.Image, func(c host.ContainerInfo) string { return c.Image })
	container(o.Compose, func(c host.ContainerInfo) string { return c.Compose })
	return result
}

func matches(pattern, value string) bool {
	ok, err := path.Match(pattern, value)
	return err == nil && ok
}

// isContainerID says whether a pattern is a container's ID, or so much of it
// that people take it for one.
func isContainerID(pattern, id string) bool {
	return len(pattern) >= 12 && strings.HasPrefix(id, pattern)
}
