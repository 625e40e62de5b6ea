package report

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// remedies returns, for each status that is not ok, what a person can do.
var remedies = map[check.Status]func(check.Result) string{
	check.InUse:        remedyInUse,
	check.Shadowed:     remedyShadowed,
	check.Redirected:   remedyRedirected,
	check.Leased:       remedyLeased,
	check.Denied:       remedyDenied,
	check.Unavailable:  remedyUnavailable,
	check.OSReserved:   remedyReserved,
	check.NotListening: remedyNotListening,
	check.WrongOwner:   remedyWrongOwner,
	check.Unreachable:  remedyUnreachable,
	check.Unknown:      remedyUnknown,
}

// Remedies returns what a person can do about a result that is not met, a
// sentence each. If it is met, it returns none. Names from outside are safe in
// them, and are part of a command only if they are one word to every shell.
func Remedies(r check.Result) []string {
	if r.OK {
		return nil
	}
	var all []string
	if remedy, ok := remedies[r.Status]; ok {
		all = append(all, onTarget(r)+remedy(r))
	}
	if hasNotice(r, config.Duplicate) {
		all = append(all, "give one of the two needs another port: only one app at a time can bind this one")
	}
	return all
}

// onTarget names the target on which a command has to be run: a pid there is
// another process here.
func onTarget(r check.Result) string {
	if r.Target == "" || r.Target == localTarget {
		return ""
	}
	return "on " + Safe(r.Target) + ": "
}

func remedyInUse(r check.Result) string {
	switch {
	case hasNotice(r, config.TimeWait) || allHolders(r, "time-wait", "closing"):
		return "wait: the system releases the port within a minute; " + waitHint(r, "60s")
	case allHolders(r, "connected", "time-wait", "closing"):
		return fmt.Sprintf("wait until the connection ends (%s), or end it: %s", waitHint(r, "30s"), stop(r))
	}
	s := stop(r)
	if owner := ownerHint(r); owner != "" {
		what := "this app's own old instance"
		if h := r.Holders[0]; h.Container != nil && h.Container.Service != "" {
			what = "the app itself"
		}
		s += "; if it is " + what + ", allow it with `owner: " + owner + "`"
	}
	return s
}

func remedyShadowed(r check.Result) string {
	return stop(r) + "; the app could bind the port as well, but each would get a part of the other's traffic"
}

func remedyLeased(r check.Result) string {
	return "wait until the other job ends (" + waitHint(r, "60s") + ") or use another port"
}

func remedyDenied(r check.Result) string {
	if r.Port >= 1024 {
		return "ports from `sysctl net.ipv4.ip_unprivileged_port_start` up need no privilege; if this is one of them, a security policy denies the bind (SELinux, AppArmor, seccomp)"
	}
	return fmt.Sprintf("grant the app CAP_NET_BIND_SERVICE (in its unit: `AmbientCapabilities=CAP_NET_BIND_SERVICE`), "+
		"or lower the limit: `sudo sysctl net.ipv4.ip_unprivileged_port_start=%d`", r.Port)
}

func remedyUnavailable(r check.Result) string {
	missing := "the address"
	for _, e := range r.Endpoints {
		if e.Outcome == "no-family" {
			return "enable IPv6 on the host, or use an IPv4 address"
		}
		if e.Errno == "ENODEV" {
			return "check the name in `socket: {device: NAME}` (`ip link` lists the devices)"
		}
		if e.Outcome == "no-address" {
			missing = e.Address
			if strings.Contains(missing, ":") {
				missing = "[" + missing + "]" // GitHub's runner takes :: at the start for a command
			}
			break
		}
	}
	return "check that " + Safe(missing) + " belongs to an interface that is up (`ip address` lists them), or use `address: any`"
}

func remedyReserved(r check.Result) string {
	return fmt.Sprintf("use another port: the system reserves this one (on Windows, `netsh int ipv4 show excludedportrange protocol=%s` lists reserved ports)", Safe(string(r.Protocol)))
}

func remedyNotListening(r check.Result) string {
	return fmt.Sprintf("start the service that should listen on %s; if it takes a while to start, %s", protocolPort(r), waitHint(r, "30s"))
}

func remedyWrongOwner(r check.Result) string {
	s := stop(r)
	if owner := ownerHint(r); owner != "" {
		s += "; if it is the right process, set `owner: " + owner + "`"
	}
	return s
}

func remedyUnreachable(r check.Result) string {
	remote := Safe(r.Remote)
	if slices.ContainsFunc(r.Endpoints, func(e check.Endpoint) bool { return strings.HasSuffix(e.Errno, "ECONNREFUSED") }) {
		return fmt.Sprintf("start the service on %s; if it takes a while to start, %s", remote, waitHint(r, "30s"))
	}
	return fmt.Sprintf("check that the name %s resolves, that the service is up and that no firewall is in between; if it takes a while to start, %s", remote, waitHint(r, "30s"))
}

func remedyUnknown(r check.Result) string {
	const pass = "; `--allow-unknown` lets the run pass without an answer"
	errnos := []string{r.TableErrno}
	for _, e := range r.Endpoints {
		errnos = append(errnos, e.Errno)
	}
	for _, errno := range errnos {
		switch errno {
		case "EMFILE", "WSAEMFILE": // a limit of each process; root has it too
			return "portcheck ran out of file descriptors: raise the limit of open files (`ulimit -n`), which running as root does not change" + pass
		case "ENFILE":
			return "the system ran out of file descriptors: raise `sysctl fs.file-max`, or close files" + pass
		}
	}
	switch {
	case r.Expect == config.Reachable && slices.ContainsFunc(errnos, func(e string) bool { return strings.Contains(e, "--timeout") }):
		return "allow more time with `--timeout`, or need fewer ports" + pass
	case r.Method == check.None:
		return "nothing was probed" + pass
	case r.TableOnly:
		return "let portcheck run on the target, where it can try to bind the port (docs/ssh.md)" + pass
	default:
		return "run portcheck as root, which can read more" + pass
	}
}

// stop returns how to stop the first holder that can be stopped, with the time of
// its start and the number of other holders. Processes of one unit or container
// stop together.
func stop(r check.Result) string {
	ways := map[string]bool{}
	var firstWay string
	var first check.Holder
	for _, h := range r.Holders {
		way := stopHolder(h, r)
		switch {
		case way == "":
		case !ways[way]:
			if ways[way] = true; len(ways) == 1 {
				first, firstWay = h, way
			}
		case way == firstWay && h.Started != nil && (first.Started == nil || h.Started.Before(*first.Started)):
			first = h // of several workers, the oldest
		}
	}
	switch {
	case len(ways) == 0 && r.Unlisted:
		return "find out which process holds it: `sudo lsof -nP | grep 'protocol: TCP'` lists the processes with sockets that are in no table"
	case len(ways) == 0 && r.TableOnly:
		return "find out which process holds it: `" + ssCommand(r) + "` there"
	case len(ways) == 0:
		return "find out which process holds it: run portcheck as root, or `" + ssCommand(r) + "`"
	}
	s := firstWay
	if since := started(first); since != "" {
		name := Safe(holderName(first))
		if name == "" {
			name = "it"
		}
		s = name + " has run since " + since + "; " + s
	}
	if len(ways) > 1 {
		s += fmt.Sprintf("; then the same for %d more", len(ways)-1)
	}
	return s
}

// stopHolder returns how to stop a holder, empty if it is not known.
func stopHolder(h check.Holder, r check.Result) string {
	name := Safe(holderName(h))
	if h.Container != nil && h.Container.Service != "" {
		return "this job's own service holds it: give it another port in the workflow's `services:`, or give the app another port"
	}
	if h.Container != nil {
		for _, ref := range []string{h.Container.Name, h.Container.ID[:min(len(h.Container.ID), 12)]} {
			if isWord(ref) {
				return "stop its container: `docker stop " + ref + "`"
			}
		}
	}
	switch {
	case name == "docker-proxy":
		return fmt.Sprintf("stop the container that publishes it: `docker ps --filter publish=%d/%s` shows its name", h.Port, Safe(string(r.Protocol)))
	case isWord(h.Unit) && stoppable(h.Unit):
		return "stop its service: `systemctl stop " + h.Unit + "`"
	case h.PID == 1:
		return "pid 1 holds it: if that is systemd, `systemctl list-sockets` names the unit to stop"
	case h.PID > 0 && name != "":
		return fmt.Sprintf("stop %s: `kill %d`", name, h.PID)
	case h.PID > 0:
		return fmt.Sprintf("stop its process: `kill %d`", h.PID)
	default:
		return ""
	}
}

// stoppable reports whether stopping the unit stops only the holder. A scope or a
// user manager is a whole login session.
func stoppable(unit string) bool {
	return strings.HasSuffix(unit, ".socket") ||
		strings.HasSuffix(unit, ".service") && !strings.HasPrefix(unit, "user@")
}

// ownerHint returns the owner mapping that all holders match. It is empty if no
// mapping matches all, or if there is no manifest to write it to.
func ownerHint(r check.Result) string {
	if len(r.Holders) == 0 || r.Source.IsFlag() {
		return ""
	}
	hint := holderOwner(r.Holders[0])
	if slices.ContainsFunc(r.Holders, func(h check.Holder) bool { return holderOwner(h) != hint }) {
		return ""
	}
	return hint
}

// holderOwner returns an owner mapping that the holder matches, empty if there is
// none.
func holderOwner(h check.Holder) string {
	switch {
	case h.Container != nil && isWord(h.Container.Service):
		return "{container: " + yamlString(h.Container.Service) + "}"
	case h.Container != nil && isWord(h.Container.Name):
		return "{container: " + yamlString(h.Container.Name) + "}"
	case isWord(h.Unit) && stoppable(h.Unit):
		return "{unit: " + yamlString(h.Unit) + "}"
	case isWord(path.Base(h.Executable)) && h.Executable != "" && !h.OwnFile:
		return "{process: " + yamlString(path.Base(h.Executable)) + "}"
	default:
		return ""
	}
}

// yamlString quotes a word unless YAML reads it as a string anyway. YAML's words
// for true, false and null have at most five letters.
func yamlString(plain string) string {
	letter := 'a' <= plain[0]|0x20 && plain[0]|0x20 <= 'z'
	if letter && len(plain) > 5 && !strings.Contains(plain, ":") {
		return plain
	}
	return `"` + plain + `"`
}

// isWord reports whether a name is one word to every shell, and not a flag.
func isWord(name string) bool {
	if name == "" || len(name) > nameLimit || name[0] == '-' {
		return false
	}
	for _, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && !('0' <= r && r <= '9') && !strings.ContainsRune("@:._-", r) {
			return false
		}
	}
	return true
}

// ssCommand returns the command that shows the process at the result's port.
func ssCommand(r check.Result) string {
	kind, number := "t", r.Port
	if r.Protocol == port.UDP {
		kind = "u"
	}
	if len(r.Holders) > 0 {
		number = r.Holders[0].Port // the taken one of a block
	}
	return fmt.Sprintf("sudo ss -%slnp sport = :%d", kind, number)
}

// waitHint returns the key or flag that makes portcheck wait.
func waitHint(r check.Result, d string) string {
	if r.Source.IsFlag() {
		return "use `--wait " + d + "`"
	}
	return "use `wait: " + d + "`"
}

// protocolPort returns "tcp 8080" or "tcp 8000-8003".
func protocolPort(r check.Result) string {
	return Safe(string(r.Protocol)) + " " + r.Ports().String()
}

func hasNotice(r check.Result, code config.NoticeCode) bool {
	return slices.ContainsFunc(r.Notices, func(n check.Notice) bool { return n.Code == code })
}

// allHolders reports whether there are holders and each is in one of the states.
func allHolders(r check.Result, states ...string) bool {
	return len(r.Holders) > 0 && !slices.ContainsFunc(r.Holders, func(h check.Holder) bool { return !slices.Contains(states, h.State) })
}
