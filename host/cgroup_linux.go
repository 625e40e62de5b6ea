package host

import (
	"slices"
	"strings"
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
}

// parseCgroup returns the names in /proc/PID/cgroup, which has lines of
// "hierarchy:controllers:path". The unified hierarchy and that of systemd come
// first, then the others.
func parseCgroup(text string) cgroupNames {
	var first, others []string
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if parts[1] == "" || parts[1] == "name=systemd" {
			first = append(first, parts[2])
		} else {
			others = append(others, parts[2])
		}
	}
	var all cgroupNames
	for _, path := range append(first, others...) {
		names := parseCgroupPath(path)
		if all.unit == "" {
			all.unit = names.unit
		}
		if all.container == "" {
			all.container, all.engine, all.enginesOwn = names.container, names.engine, names.enginesOwn
		}
	}
	if all.enginesOwn {
		all.unit = "" // the container is named instead of docker-<id>.scope
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
// the first service or scope, and what is in them. A path that starts with ".." is
// relative to the cgroup namespace of this process; what such a path leaves out are
// parents of this process.
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
		if name == "" || name == ".." {
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
