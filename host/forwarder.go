package host

import (
	"path"
	"slices"
)

// Forwarder is a kind of program that holds ports on behalf of others.
type Forwarder struct {
	Name  string   // in reports
	files []string // base names of its executable
	For   Client
	// Engine is the engine whose containers it serves, empty if several use it.
	Engine string
	// Own is set if it has ports of its own as well.
	Own bool
	// users is set if it also runs as the user of the containers or units that it serves.
	users bool
	// parents are the names of the programs that start it, and end it with the
	// container. Without one of them it is left over.
	parents []string
}

// Client is what a forwarder serves.
type Client string

// The clients.
const (
	ForContainers Client = "containers"
	ForUnits      Client = "units"    // socket units of systemd
	ForServices   Client = "services" // of inetd
)

// forwarders lists every kind. dockerd holds the ports of containers itself without
// --userland-proxy, conmon those of rootful Podman's.
var forwarders = []Forwarder{
	{Name: "docker-proxy", files: []string{"docker-proxy"}, For: ForContainers, Engine: "docker", parents: []string{"dockerd"}},
	{Name: "dockerd", files: []string{"dockerd"}, For: ForContainers, Engine: "docker", Own: true},
	{Name: "rootlesskit", files: []string{"rootlesskit"}, For: ForContainers, users: true},
	{Name: "rootlessport", files: []string{"rootlessport"}, For: ForContainers, Engine: "podman", users: true},
	{Name: "slirp4netns", files: []string{"slirp4netns"}, For: ForContainers, users: true},
	{Name: "pasta", files: []string{"pasta", "passt", "pasta.avx2", "passt.avx2"}, For: ForContainers, users: true},
	{Name: "conmon", files: []string{"conmon"}, For: ForContainers, Engine: "podman", users: true},
	{Name: "containerd", files: []string{"containerd"}, For: ForContainers, Own: true, users: true},
	{Name: "containerd-shim", files: []string{"containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2"}, For: ForContainers, users: true},
	{Name: "systemd", files: []string{"systemd"}, For: ForUnits, users: true},
	{Name: "inetd", files: []string{"inetd", "xinetd", "openbsd-inetd", "inetutils-inetd", "rlinetd"}, For: ForServices},
}

// ForwarderOf returns what kind of forwarder a process is, nil if it is none.
//
// A process can choose its own name, but not that of its file; a user can give the
// name to a file of his own, or run the machine's docker-proxy himself. So a process
// is one only if its file is the machine's and only root can write to it, and if it
// runs as root. Those that also run as the user of the containers may be run by any
// user: that is proof of nothing but that the user's own word counts, so whoever
// resolves them has to ask that user's engine or service manager. proven is false if
// the file could not be compared: then it may be one.
func ForwarderOf(h Holder) (f *Forwarder, proven bool) {
	if h.File != FileRoots && h.File != "" {
		return nil, false
	}
	names := append([]string{path.Base(h.Executable)}, h.Names...)
	for i := range forwarders {
		f := &forwarders[i]
		if slices.ContainsFunc(names, func(name string) bool { return slices.Contains(f.files, name) }) && (h.UID <= 0 || f.users) {
			return f, h.File == FileRoots && h.UID >= 0
		}
	}
	return nil, false
}

// reapers are the names of programs that become the parent of a process which has
// lost its own, as PID 1 does.
var reapers = []string{"systemd", "init", "tini", "docker-init", "catatonit", "dumb-init", "runit", "s6-svscan", "openrc-init"}

// lostParent reports whether a forwarder has lost the program that started it.
func (f Forwarder) lostParent(h Holder) bool {
	return len(f.parents) > 0 && h.ParentName != "" && !slices.Contains(f.parents, h.ParentName) &&
		(h.Parent == 1 || slices.Contains(reapers, h.ParentName))
}

// overflowUID is what the kernel shows for users that have no uid in a user namespace
// (Documentation/admin-guide/sysctl/kernel.rst), as for root in a container of an
// engine with --userns-remap.
const overflowUID = 65534

// ServesEngine reports whether a forwarder may serve containers of an engine that
// runs as a user, -1 if that is not known.
func (f Forwarder) ServesEngine(h Holder, user int) bool {
	if h.UID == 0 {
		return user <= 0 || user == overflowUID
	}
	return f.users && h.UID == user
}
