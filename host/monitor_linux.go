package host

import (
	"os"
	"path"
	"slices"
	"strings"
)

// Podman's conmon has its container in its command line, also where no engine answers:
// Podman needs no service.

// nameMonitored sets the container of a forwarder that belongs to a conmon of Podman's. The
// conmons of another user say what that user likes.
func (d *details) nameMonitored(h *Holder, f *Forwarder, dir, cgroup string) {
	if slices.Contains(h.Unseen, FactContainer) {
		return
	}
	var m monitor
	ok := false
	switch {
	case f.Name == "conmon" && h.UID == 0:
		m, _ = readMonitor(dir) // what can't be read names nothing
		ok = m.podmans
		// One in a container's cgroup is not Podman's own.
		ok = ok && (h.Container == "" || h.Container == m.container && strings.Contains(cgroup, "/libpod-conmon-"+m.container+".scope"))
	case h.Container != "":
	case f.Name == "rootlessport", f.Name == "slirp4netns":
		m, ok = d.atPipesOf(h.PID, h.UID)
	case f.Name == "pasta":
		m, ok = d.inNetworkOf(h.PID, h.UID)
	}
	if !ok {
		return
	}
	h.Container, h.Engine, h.ContainerInfo = m.container, "podman", &ContainerInfo{Name: m.name, Engine: "podman", NameOnly: true}
	if m.pid != 0 {
		h.MonitorUnit = d.unitOf(m.pid)
	}
	if ours := h.UID == 0 || h.UID == os.Geteuid(); ours && !slices.Contains(h.Vouched, FactContainer) {
		h.Vouched = append(h.Vouched, FactContainer)
	}
}

// monitor is what the command line of a conmon says.
type monitor struct {
	pid             int    // 0 for the holder itself
	podmans         bool   // Podman has started it for a container
	container, name string // of Podman's
}

// monitorLimit is how many bytes of a command line are read. Podman writes some thousand.
const monitorLimit = 64 << 10

// readMonitor returns what the command line of a conmon says.
func readMonitor(dir string) (monitor, error) {
	line, cut, err := readCmdline(dir, monitorLimit)
	if err != nil || cut {
		return monitor{}, err
	}
	id, name := parseMonitor(line)
	return monitor{podmans: id != "", container: strings.Clone(id), name: strings.Clone(name)}, nil
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
	if !podman || len(id) != 64 || !isHex(id) || len(name) > nameLimit || !isPodmansName(name) {
		return "", ""
	}
	return id, name
}

// isPodmansName reports whether Podman takes a name for a container, or there is none.
func isPodmansName(name string) bool {
	const first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return name == "" || strings.Contains(first, name[:1]) && strings.Trim(name, first+"_.-") == ""
}

// nameLimit is more than a name of Podman's can have.
const nameLimit = 512
