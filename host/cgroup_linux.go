package host

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// cgroupNames are the names in the cgroup of a process.
//
// A user may own a part of the tree: his user manager's, a service with Delegate=,
// the inside of a container. He names what is in there as he likes. So the names
// of units come from the part that systemd's system manager makes, and enginesOwn
// is true only where a container engine of root makes the cgroups.
type cgroupNames struct {
	// unit is a system unit. A unit of a user's manager has the manager's name
	// before it: "user@1000.service/shop.service".
	unit       string
	container  string // ID
	engine     string // of the container, as its name has it; empty if unknown
	enginesOwn bool   // only a container engine of root can have named the container
	// The parts of the path that can't be seen from here may have the name.
	unitUnknown, containerUnknown bool
}

// cgroupLine is a line of /proc/PID/cgroup: "hierarchy:controllers:path".
type cgroupLine struct{ hierarchy, controllers, path string }

// cgroupLines returns the lines of /proc/PID/cgroup. The unified hierarchy and that
// of systemd come first, then the others.
func cgroupLines(text string) []cgroupLine {
	var first, others []cgroupLine
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		l := cgroupLine{parts[0], parts[1], parts[2]}
		if l.controllers == "" || l.controllers == "name=systemd" {
			first = append(first, l)
		} else {
			others = append(others, l)
		}
	}
	return append(first, others...)
}

// cgroupRoot is the root of our cgroup namespace, to which the paths in
// /proc/PID/cgroup are relative. That of a cgroup outside of it starts with "/.."
// for each level up to the first parent that both have (cgroup_namespaces(7)). It
// leaves out the names of these parents, and a user may own one of them.
//
// It maps each hierarchy to the number of levels that our root is below the top. Of
// a hierarchy that is missing the number is unknown. With a nil map our root is the
// top of all.
type cgroupRoot map[string]int

// ownCgroupRoot returns the root of this process's cgroup namespace.
func ownCgroupRoot() cgroupRoot {
	own, err := namespaceInode("/proc/self/ns/cgroup")
	if errors.Is(err, fs.ErrNotExist) || own == initialCgroupNamespace { // Linux before 4.6 has none
		return nil
	}
	if pids, err := namespaceInode("/proc/self/ns/pid"); err == nil && pids != initialPIDNamespace {
		return nil // a container, which has nothing above its root
	}
	// kthreadd can't leave the top of any hierarchy (cgroup_init_kthreadd of
	// include/linux/cgroup.h).
	text, _ := kernelfile.Read("/proc/2/cgroup") // without it, every level is unknown
	return parseCgroupRoot(string(text))
}

// initialCgroupNamespace is PROC_CGROUP_INIT_INO of include/linux/proc_ns.h.
const initialCgroupNamespace = 0xEFFFFFFB

// parseCgroupRoot returns the root of our cgroup namespace from the cgroup of a
// process at the top, such as "0::/../..".
func parseCgroupRoot(top string) cgroupRoot {
	root := cgroupRoot{}
	for _, l := range cgroupLines(top) {
		if up, rest := levelsUp(l.path); rest == "" || rest == "/" {
			root[l.hierarchy] = up
		}
	}
	return root
}

// isAbsolute reports whether a path, apart from "/.." at its start, starts at the
// top of its hierarchy.
func (r cgroupRoot) isAbsolute(l cgroupLine) bool {
	up, _ := levelsUp(l.path)
	depth, known := r[l.hierarchy]
	return up == depth && (known || r == nil)
}

// levelsUp returns how often a path starts with "/..", and what follows.
func levelsUp(path string) (n int, rest string) {
	for {
		after, found := strings.CutPrefix(path, "/..")
		if !found || after != "" && after[0] != '/' {
			return n, path
		}
		n, path = n+1, after
	}
}

// parseCgroup returns the names in /proc/PID/cgroup.
func parseCgroup(text string, root cgroupRoot) cgroupNames {
	var all cgroupNames
	for _, l := range cgroupLines(text) {
		_, path := levelsUp(l.path)
		names := parseCgroupPath(path)
		if !root.isAbsolute(l) {
			// What a name is depends on those before it, except that the last
			// container is that of the process.
			names = cgroupNames{container: names.container, engine: names.engine, unitUnknown: true, containerUnknown: names.container == ""}
		}
		if all.unit == "" && !all.unitUnknown {
			all.unit, all.unitUnknown = names.unit, names.unitUnknown
		}
		if all.container == "" && !all.containerUnknown {
			all.container, all.engine, all.enginesOwn, all.containerUnknown = names.container, names.engine, names.enginesOwn, names.containerUnknown
		}
	}
	if all.enginesOwn {
		all.unit, all.unitUnknown = "", false // the container is named instead of docker-<id>.scope
	}
	return all
}

// engineParents are the cgroups at the top of the tree, and the system services,
// in which container engines of root make their cgroups. An engine that uses
// systemd makes scopes in slices instead.
var engineParents = []string{
	"docker", "libpod_parent", "kubepods", "k8s.io", // by default, without systemd
	"actions_job",                          // dockerd of GitHub's runners
	"ecs",                                  // Amazon ECS
	"containerd.service", "docker.service", // containerd with a name in systemd's form and no systemd driver
	"crio.service", "k3s.service", "k3s-agent.service",
}

// parseCgroupPath returns the names in one path, such as
//
//	/system.slice/nginx.service
//	/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service
//	/docker/<id>, /system.slice/docker-<id>.scope, /kubepods/besteffort/pod<uid>/<id>
//
// The container is the innermost. Only systemd's system manager makes slices above
// the first service or scope, and what is in them.
func parseCgroupPath(path string) (names cgroupNames) {
	const (
		onlySlices = iota // only slices so far
		engines           // in the parent of an engine
		manager           // in the user manager that names.unit is
		foreign           // in what somebody else may own
	)
	where := onlySlices
	top := true
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		name = strings.TrimPrefix(name, "_") // systemd's escape of a name that clashes with a controller's
		id, isContainer := containerID(name)
		isUnit := strings.LastIndexByte(name, '.') > 0 && (strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope"))
		isEngine := slices.Contains(engineParents, name)
		switch {
		case isContainer:
			names.container, names.enginesOwn = id, where == onlySlices || where == engines
			names.engine = engineOf(path, strings.TrimSuffix(strings.TrimSuffix(name, ".scope"), id))
			where = foreign
		case where == onlySlices && isUnit:
			names.unit = name
			where = foreign
			switch {
			case isEngine:
				where = engines
			case isUserManager(name):
				where = manager
			}
		case where == onlySlices && top && isEngine:
			where = engines
		case where == onlySlices && !strings.HasSuffix(name, ".slice"):
			where = foreign
		case where == manager && isUnit:
			names.unit += "/" + name
			where = foreign
		}
		top = false
	}
	return names
}

// engineOf returns the engine of a container from the path of its cgroup, and from
// what is before the ID there. Its name is a hint for people.
func engineOf(path, before string) string {
	switch {
	case strings.Contains(path, "kubepods"):
		return "kubernetes"
	case strings.HasPrefix(before, "docker-"), strings.HasPrefix(path, "/docker/"), strings.HasPrefix(path, "/actions_job/"):
		return "docker"
	case strings.HasPrefix(before, "libpod-"), strings.HasPrefix(path, "/libpod_parent/"):
		return "podman"
	case strings.HasPrefix(before, "nerdctl-"), strings.Contains(before, "containerd"):
		return "containerd"
	case strings.HasPrefix(before, "crio-"):
		return "cri-o"
	}
	return ""
}

// isUserManager reports whether a system unit is the service manager of a user,
// who owns its cgroup.
func isUserManager(unit string) bool {
	return strings.HasPrefix(unit, "user@") && strings.HasSuffix(unit, ".service")
}

// containerID returns the 64 hexadecimal digits of "<id>", "docker-<id>.scope",
// "libpod-<id>.scope", "cri-containerd-<id>.scope", "crio-<id>" and the like; and
// of "<slice>:cri-containerd:<id>", which containerd creates if it uses a name in
// systemd's form as a path.
func containerID(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".scope")
	name = name[strings.LastIndexAny(name, "-:")+1:]
	return name, len(name) == 64 && isHex(name)
}
