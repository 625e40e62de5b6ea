package host

import (
	"path"
	"slices"
	"strings"
)

// Podman's conmon has its container in its command line, also where no engine answers:
// Podman needs no service.

// nameMonitored sets the container of a conmon of Podman's that only root can have started.
func nameMonitored(h *Holder, f *Forwarder, dir, cgroup string) {
	if f.Name != "conmon" || h.UID != 0 || slices.Contains(h.Unseen, "container") {
		return
	}
	line, err := readKernelFile(dir + "cmdline")
	if err != nil {
		return
	}
	id, name := parseMonitor(line)
	// One in a container's cgroup is not Podman's own.
	if id == "" || h.Container != "" && (h.Container != id || !strings.Contains(cgroup, "/libpod-conmon-"+id+".scope")) {
		return
	}
	h.Container, h.Engine, h.ContainerInfo = id, f.Engine, &ContainerInfo{Name: name, Engine: f.Engine, NameOnly: true}
	if !slices.Contains(h.Vouched, "container") {
		h.Vouched = append(h.Vouched, "container")
	}
}

// parseMonitor returns the ID and the name of the container in the command line of a
// conmon, empty if it is not one that Podman has started.
func parseMonitor(line []byte) (id, name string) {
	words := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	podman := false
	for i := 1; i < len(words); i++ {
		option, value, joined := strings.Cut(words[i], "=")
		if !joined && i+1 < len(words) {
			value = words[i+1]
		}
		switch option {
		case "-c", "--cid":
			id = value
		case "-n", "--name":
			name = value
		case "--exit-command":
			podman = path.Base(value) == "podman"
		case "-b", "--bundle", "-u", "--cuuid", "-r", "--runtime", "-l", "--log-path", "-p", "--container-pidfile", "-P", "--conmon-pidfile", "--runtime-arg", "--exit-command-arg":
		default:
			continue
		}
		if !joined {
			i++
		}
	}
	if !podman || len(id) != 64 || !isHex(id) || len(name) > nameLimit {
		return "", ""
	}
	return id, name
}

// nameLimit is what a name of Podman's can have at most, and more.
const nameLimit = 512
