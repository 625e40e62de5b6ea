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

// remedies says, for each status that is not ok, what a person can do.
var remedies = map[check.Status]func(check.Result) string{
	check.InUse:        freeIt,
	check.Shadowed:     unshadow,
	check.Leased:       awaitLease,
	check.Denied:       allowBind,
	check.Unavailable:  checkAddress,
	check.OSReserved:   leaveReserved,
	check.NotListening: startIt,
	check.WrongOwner:   rightOwner,
	check.Unreachable:  connectIt,
	check.Unknown:      lookCloser,
}

// Remedies says what a person can do about a result that is not met, a
// sentence each, none if it is met. Names from outside are safe in them, and
// appear in a command only if no shell reads more than a name.
func Remedies(r check.Result) []string {
	if r.OK {
		return nil
	}
	var all []string
	if remedy, ok := remedies[r.Status]; ok {
		all = append(all, elsewhere(r)+remedy(r))
	}
	if hasNotice(r, config.Duplicate) {
		all = append(all, "give one of the two needs another port: both can't be open at the same time")
	}
	return all
}

// elsewhere names the machine on which a command has to be run, lest a pid of
// another machine is killed here.
func elsewhere(r check.Result) string {
	if r.Target == "" || r.Target == "local" {
		return ""
	}
	return "on " + Safe(r.Target) + ": "
}

func freeIt(r check.Result) string {
	switch {
	case hasNotice(r, config.TimeWait) || allHolders(r, "time-wait", "closing"):
		return "wait: the system lets go of it within a minute; " + waitHint(r, "60s")
	case allHolders(r, "connected", "time-wait", "closing"):
		return fmt.Sprintf("wait until the connection ends (%s), or end it: %s", waitHint(r, "30s"), stop(r))
	}
	s := stop(r)
	if owner := ownerHint(r); owner != "" {
		what := "this app's own old instance"
		if h := r.Holders[0]; h.Container != nil && h.Container.Service != "" {
			what = "the app that is meant"
		}
		s += "; if it is " + what + ", allow it with `owner: " + owner + "`"
	}
	return s
}

func unshadow(r check.Result) string {
	return stop(r) + "; the app could bind beside it, but each would get a part of the other's traffic"
}

func awaitLease(r check.Result) string {
	return "another job has claimed it: wait until that job ends (" + waitHint(r, "60s") + ") or use another port"
}

func allowBind(r check.Result) string {
	if r.Port >= 1024 {
		return "ports from `sysctl net.ipv4.ip_unprivileged_port_start` up need no right; if this is one, a security policy forbids it (SELinux, AppArmor, seccomp)"
	}
	return fmt.Sprintf("grant the app CAP_NET_BIND_SERVICE (in its unit: `AmbientCapabilities=CAP_NET_BIND_SERVICE`), "+
		"or lower the limit: `sudo sysctl net.ipv4.ip_unprivileged_port_start=%d`", r.Port)
}

func checkAddress(r check.Result) string {
	missing := "the address"
	for _, e := range r.Endpoints {
		if e.Outcome == "no-family" {
			return "turn on IPv6 there, or use an IPv4 address"
		}
		if e.Outcome == "no-address" {
			missing = e.Address
			if strings.Contains(missing, ":") {
				missing = "[" + missing + "]" // what starts with :: is a command to GitHub's runner
			}
			break
		}
	}
	return "check that " + Safe(missing) + " belongs to an interface that is up (`ip address` lists them), or use `address: any`"
}

func leaveReserved(r check.Result) string {
	return fmt.Sprintf("use another port: the system keeps this one back (Windows lists such ports: `netsh int ipv4 show excludedportrange protocol=%s`)", Safe(string(r.Protocol)))
}

func startIt(r check.Result) string {
	return fmt.Sprintf("start what should listen on %s; if it needs a while, %s", protocolPort(r), waitHint(r, "30s"))
}

func rightOwner(r check.Result) string {
	s := stop(r)
	if owner := ownerHint(r); owner != "" {
		s += "; if it is the right one, write `owner: " + owner + "`"
	}
	return s
}

func connectIt(r check.Result) string {
	remote := Safe(r.Remote)
	if slices.ContainsFunc(r.Endpoints, func(e check.Endpoint) bool { return e.Errno == "ECONNREFUSED" }) {
		return fmt.Sprintf("nothing listens there: start it on %s; if it needs a while, %s", remote, waitHint(r, "30s"))
	}
	return fmt.Sprintf("check that the name %s resolves, that the service is up and that no firewall is in between; if it needs a while, %s", remote, waitHint(r, "30s"))
}

func lookCloser(r check.Result) string {
	if r.Method == check.None {
		return "nothing was probed; `--allow-unknown` lets the run pass without an answer"
	}
	if r.TableOnly {
		return "have a portcheck run there, which tries it (docs/ssh.md); `--allow-unknown` lets the run pass without an answer"
	}
	return "run portcheck as root, which sees more; `--allow-unknown` lets the run pass without an answer"
}

// stop is how to end the first holder for which there is a way, since when it
// runs, and how many others there are. Processes of one unit or container end
// together.
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
			first = h // of workers, the one that was there before
		}
	}
	switch {
	case len(ways) == 0 && r.TableOnly:
		return "find out who holds it: `" + ss(r) + "` there"
	case len(ways) == 0:
		return "find out who holds it: run portcheck as root, or `" + ss(r) + "`"
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

func stopHolder(h check.Holder, r check.Result) string {
	name := Safe(holderName(h))
	if h.Container != nil && h.Container.Service != "" {
		return "it is this job's own service: give it another port in the workflow's `services:`, or the app one"
	}
	if h.Container != nil {
		for _, ref := range []string{h.Container.Name, h.Container.ID[:min(len(h.Container.ID), 12)]} {
			if plain(ref) {
				return "stop its container: `docker stop " + ref + "`"
			}
		}
	}
	switch {
	case name == "docker-proxy":
		return fmt.Sprintf("stop the container that publishes it: `docker ps --filter publish=%d/%s` names it", h.Port, Safe(string(r.Protocol)))
	case plain(h.Unit) && stoppable(h.Unit):
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

// stoppable leaves out scopes and user managers: to stop these ends the whole
// login session for the sake of one process in it.
func stoppable(unit string) bool {
	return strings.HasSuffix(unit, ".socket") ||
		strings.HasSuffix(unit, ".service") && !strings.HasPrefix(unit, "user@")
}

// ownerHint is the manifest's owner mapping that all holders match, empty if
// there is none, or no manifest to write it to.
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

func holderOwner(h check.Holder) string {
	switch {
	case h.Container != nil && plain(h.Container.Service):
		return "{container: " + yamlString(h.Container.Service) + "}"
	case h.Container != nil && plain(h.Container.Name):
		return "{container: " + yamlString(h.Container.Name) + "}"
	case plain(h.Unit) && stoppable(h.Unit):
		return "{unit: " + yamlString(h.Unit) + "}"
	case plain(path.Base(h.Executable)) && h.Executable != "":
		return "{process: " + yamlString(path.Base(h.Executable)) + "}"
	default:
		return ""
	}
}

// yamlString quotes what YAML might read as something else than a string; its
// words for true, false and null have five letters at most.
func yamlString(plain string) string {
	letter := 'a' <= plain[0]|0x20 && plain[0]|0x20 <= 'z'
	if letter && len(plain) > 5 && !strings.Contains(plain, ":") {
		return plain
	}
	return `"` + plain + `"`
}

// plain says whether a name is one word to every shell, and no flag.
func plain(name string) bool {
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

func ss(r check.Result) string {
	kind, number := "t", r.Port
	if r.Protocol == port.UDP {
		kind = "u"
	}
	if len(r.Holders) > 0 {
		number = r.Holders[0].Port // of a block, the one that is taken
	}
	return fmt.Sprintf("sudo ss -%slnp sport = :%d", kind, number)
}

func waitHint(r check.Result, d string) string {
	if r.Source.IsFlag() {
		return "use `--wait " + d + "`"
	}
	return "use `wait: " + d + "`"
}

// protocolPort is "tcp 8080" or "tcp 8000-8003".
func protocolPort(r check.Result) string {
	return Safe(string(r.Protocol)) + " " + r.Ports().String()
}

func hasNotice(r check.Result, code config.NoticeCode) bool {
	return slices.ContainsFunc(r.Notices, func(n check.Notice) bool { return n.Code == code })
}

// allHolders says whether there are holders and each is in one of the states.
func allHolders(r check.Result, states ...string) bool {
	return len(r.Holders) > 0 && !slices.ContainsFunc(r.Holders, func(h check.Holder) bool { return !slices.Contains(states, h.State) })
}
