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
// one is unproven, or if a socket has no holder, or more than were examined.
//
// Sockets that no process holds don't count (TIME_WAIT, orphans, a connection
// that was closed during the check). If there are no others, no owner is in the
// way, and the result is foreign. Processes that can't be read don't count either,
// because most machines have one (docs/adr/0004).
func ownership(owners []config.Owner, sockets []host.Socket, m host.Machine) proof {
	result, counted := proven, 0
	for _, s := range sockets {
		if len(s.Holders) == 0 && !holdsPort(s) && (s.Inode == 0 || s.Complete) {
			continue
		}
		counted++
		if s.Kernel {
			return foreign
		}
		if len(s.Holders) == 0 || s.MoreHolders {
			result = min(result, unproven)
		}
		for _, h := range s.Holders {
			result = min(result, isOneOf(owners, h, s, m))
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

// isOneOf returns how certain it is that a holder of a socket is one of the owners.
func isOneOf(owners []config.Owner, h host.Holder, s host.Socket, m host.Machine) proof {
	best := foreign
	for _, o := range owners {
		best = max(best, isOwner(o, h, s, m))
	}
	return best
}

// markOwners marks the holders that are the need's owner, or may be: the remedy for the
// others leaves these alone.
func (n Need) markOwners(r *Result, m host.Machine) {
	for i := range r.Held {
		if x := &r.Held[i]; x.Holder != nil {
			x.owner = isOneOf(n.Owner, *x.Holder, *x.Socket, m)
		}
	}
}

// isOwner matches a holder of a socket against every key that the owner sets. What
// matches counts only as far as no user of the machine can have forged it.
func isOwner(o config.Owner, h host.Holder, s host.Socket, m host.Machine) proof {
	result := proven
	// match also reports whether the value is known and matches.
	match := func(pattern, value, fact string) bool {
		switch {
		case pattern == "":
			return false
		case slices.Contains(h.Unseen, fact):
			result = min(result, unproven)
			return false
		case !matches(pattern, value):
			result = foreign
			return false
		}
		return true
	}
	byName := o.Process != "" && matchesName(o.Process, h, m)
	if o.Process != "" && !byName && slices.Contains(h.Unseen, host.NamesUnseen) {
		result = min(result, unproven)
	} else if o.Process != "" && !byName {
		match(o.Process, executableName(h), host.FactExecutable) // it is unseen, or another
	}
	byPath := match(o.Executable, h.Executable, host.FactExecutable)
	if (byName || byPath) && !pathOfContainer(o, h, m) {
		switch h.File {
		case host.FileMachine, host.FileRoots:
		case host.FileOther:
			result = foreign
		default:
			result = min(result, unproven)
		}
	}
	if !heldForUnit(o.Unit, h, s) && match(o.Unit, h.Unit, host.FactUnit) && !slices.Contains(h.Vouched, host.FactUnit) {
		result = min(result, unproven)
	}
	if match(o.User, h.User, host.FactUser) && !madeBy(s, h) {
		result = min(result, unproven)
	}
	// The kernel has only a container's ID: name, image and Compose service
	// come from the engine.
	container := func(pattern string, matches func(pattern, value string) bool, field func(host.ContainerInfo) string) {
		switch {
		case pattern == "":
		case h.ContainerInfo != nil && h.ContainerInfo.NameOnly && field(*h.ContainerInfo) == "":
			result = min(result, unproven)
		case h.ContainerInfo != nil:
			if !matches(pattern, field(*h.ContainerInfo)) {
				result = foreign
			}
		case slices.Contains(h.Unseen, host.FactContainer), slices.Contains(h.Unseen, host.ContainerName), h.Container != "":
			result = min(result, unproven)
		default:
			result = foreign
		}
	}
	if namesContainer(o) && h.Container != "" && !slices.Contains(h.Vouched, host.FactContainer) && !(saidByUser(h) && o.User != "") {
		result = min(result, unproven)
	}
	// The container of a CI service has a random name, and the service's name in
	// the workflow.
	service := h.ContainerInfo != nil && matches(o.Container, h.ContainerInfo.Service)
	if !service && !isContainerID(o.Container, h.Container) {
		container(o.Container, matches, func(c host.ContainerInfo) string { return c.Name })
	}
	container(o.Image, matchesImage, func(c host.ContainerInfo) string { return c.Image })
	container(o.Compose, matches, func(c host.ContainerInfo) string { return c.Compose })
	return result
}

// saidByUser reports whether a conmon of another user's is all that tells for which
// container a process holds the port. That counts for an owner that names the user.
func saidByUser(h host.Holder) bool {
	return h.ContainerInfo != nil && h.ContainerInfo.NameOnly && h.UID > 0 && !slices.Contains(h.Vouched, host.FactContainer)
}

// executableName returns the base name of a holder's executable.
func executableName(h host.Holder) string {
	if h.Executable == "" {
		return ""
	}
	h.Names = nil
	return processName(h)
}

// matchesName reports whether a pattern matches a name of a holder's executable. The
// name that a process has chosen counts only if the machine has a link of that name
// to the executable.
//
// On Windows names of files have no case, and ".exe" may be left out.
func matchesName(pattern string, h host.Holder, m host.Machine) bool {
	if slices.Contains(h.Unseen, host.FactExecutable) {
		return false
	}
	return slices.ContainsFunc(append([]string{executableName(h)}, h.Names...), func(name string) bool {
		if m.OS != "windows" {
			return matches(pattern, name)
		}
		name, pattern := strings.ToLower(name), strings.ToLower(pattern)
		return matches(pattern, name) || name != "" && matches(pattern, strings.TrimSuffix(name, ".exe"))
	})
}

// heldForUnit reports whether systemd holds a socket for a unit, and the holder is
// systemd or a service that it starts with the socket.
func heldForUnit(pattern string, h host.Holder, s host.Socket) bool {
	return pattern != "" && slices.Contains(s.Units, h.Unit) && slices.Contains(h.Vouched, host.FactUnit) &&
		slices.ContainsFunc(s.Units, func(unit string) bool { return matches(pattern, unit) })
}

// pathOfContainer reports whether the path of a holder's executable is meant to be
// that of a container: the owner names the container, or the ports are those of one.
func pathOfContainer(o config.Owner, h host.Holder, m host.Machine) bool {
	return namesContainer(o) || m.Namespace.Kind == host.NamespaceContainer && slices.Contains(h.Vouched, host.FactContainer)
}

func namesContainer(o config.Owner) bool { return o.Container+o.Image+o.Compose != "" }

// madeBy reports whether the holder's user, or root, made the socket. Any user can
// open a socket and then run a setuid program, or pass the socket to another user's.
func madeBy(s host.Socket, h host.Holder) bool {
	return s.UID == nil || *s.UID == 0 || int(*s.UID) == h.UID
}

func matches(pattern, value string) bool {
	ok, _ := path.Match(pattern, value) // config has validated the pattern
	return ok
}

// matchesImage reports whether a pattern matches the name of an image. One of Docker Hub
// has a short name (nginx) and a full one (docker.io/library/nginx). A pattern that
// starts with */ matches from any slash on.
func matchesImage(pattern, image string) bool {
	const hub, official = "docker.io/", "library/"
	first, _, path := strings.Cut(image, "/")
	full := image
	switch {
	case image == "":
		return false
	case !path:
		full = hub + official + image
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		full = hub + image
	}
	names := []string{full}
	if short, ok := strings.CutPrefix(full, hub); ok {
		names = append(names, short, strings.TrimPrefix(short, official))
	}
	if strings.HasPrefix(pattern, "*/") {
		for _, rest, ok := strings.Cut(full, "/"); ok; _, rest, ok = strings.Cut(rest, "/") {
			names = append(names, rest)
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return matches(pattern, name) })
}

// isContainerID reports whether a pattern is a container's ID or the start of it,
// of at least the 12 digits that engines print.
func isContainerID(pattern, id string) bool {
	return len(pattern) >= 12 && strings.HasPrefix(id, pattern)
}
