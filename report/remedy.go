package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// advice is what a person can do, with the first command of the text if it has one.
type advice struct{ text, command string }

// remedies returns, for each status that is not ok, what a person can do.
var remedies = map[check.Status]func(check.Result) advice{
	check.InUse:        remedyInUse,
	check.Shadowed:     remedyShadowed,
	check.Redirected:   remedyRedirected,
	check.Leased:       remedyLeased,
	check.Denied:       remedyDenied,
	check.Unavailable:  remedyUnavailable,
	check.OSReserved:   remedyReserved,
	check.NotListening: remedyNotListening,
	check.Exposed:      remedyExposed,
	check.WrongOwner:   stop,
	check.Undeclared:   remedyUndeclared,
	check.Reachable:    remedyReachable,
	check.Unreachable:  remedyUnreachable,
	check.Unknown:      remedyUnknown,
}

// hints returns what a person can do about a result that is not met, or may want to
// know, a sentence each. If it is met, it returns none. Names from outside are safe
// in them, and are part of a command only if they are one word to every shell.
func hints(r check.Result) []check.Hint {
	if r.OK {
		return nil
	}
	var all []check.Hint
	if remedy, ok := remedies[r.Status]; ok {
		a := remedy(r)
		all = append(all, check.Hint{Kind: check.HintRemedy, Text: onTarget(r) + a.text, Command: a.command})
		for _, text := range leftOver(r) {
			all = append(all, check.Hint{Kind: check.HintNote, Text: text})
		}
		if text := allowOwner(r); text != "" {
			all = append(all, check.Hint{Kind: check.HintOwner, Text: text})
		}
	}
	if hasNotice(r, config.Duplicate) {
		which := "one of the two needs"
		if r.Rivals > 1 {
			which = fmt.Sprintf("all but one of the %d needs", r.Rivals+1)
		}
		text := "give " + which + " another port: only one app at a time can bind this one"
		if r.Source.IsFlag() {
			text = "leave this `-p` out if another need is for the same app; else " + text
		}
		all = append(all, check.Hint{Kind: check.HintRemedy, Text: text})
	}
	if hasNotice(r, config.Replicas) {
		all = append(all, check.Hint{Kind: check.HintRemedy, Text: "run one replica, or publish a range such as 8080-8089:80, from which each gets a port"})
	}
	for _, line := range blockLines(r) {
		all = append(all, check.Hint{Kind: check.HintNote, Text: line})
	}
	if line := alternatives(r); line != "" {
		all = append(all, check.Hint{Kind: check.HintAlternative, Text: line})
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

func remedyInUse(r check.Result) advice {
	switch {
	case r.Auto:
		return advice{text: "give it a wider range, or wait until one of these is free: " + waitHint(r, "60s")}
	case hasNotice(r, config.TimeWait) || allHolders(r, "time-wait", "closing") && !anyProcess(r):
		if peers := awaitedPeers(r); peers != "" {
			return advice{text: "let " + peers + " read what was sent, or end the program there: the connection was closed and lasts until that end acknowledges it, or until the kernel gives up (net.ipv4.tcp_orphan_retries)"}
		}
		return advice{text: "wait: the system releases the port within a minute; " + waitHint(r, "60s")}
	case allHolders(r, "connected", "time-wait", "closing"):
		a := stop(r)
		a.text = fmt.Sprintf("wait until the connection ends (%s), or end it: %s", waitHint(r, "30s"), a.text)
		return a
	}
	return stop(r)
}

// anyProcess reports whether a process has one of the sockets open.
func anyProcess(r check.Result) bool {
	return slices.ContainsFunc(r.Holders, func(h check.Holder) bool { return h.PID > 0 })
}

// awaitedPeers returns the first of the ends that have to acknowledge that their
// connections were closed.
func awaitedPeers(r check.Result) string {
	const most = 3
	var peers []string
	for _, h := range r.Holders {
		if peer := h.From().Peer; peer != "" && len(peers) < most && !slices.Contains(peers, Safe(peer)) {
			peers = append(peers, Safe(peer))
		}
	}
	return strings.Join(peers, " and ")
}

func remedyShadowed(r check.Result) advice {
	a := stop(r)
	a.text += "; the app could bind the port as well, but each would get a part of the other's traffic"
	return a
}

// allowOwner returns how to allow the holder with owner, empty if that does not apply.
func allowOwner(r check.Result) string {
	passing := allHolders(r, "connected", "time-wait", "closing") || hasNotice(r, config.TimeWait)
	owner := ownerHint(r)
	switch {
	case owner == "", r.Auto:
	case r.Status == check.WrongOwner:
		return "if it is the right process, set " + keyOf(r, "owner: "+owner)
	case r.Status == check.Redirected:
		return "if this is the app itself, allow it with " + keyOf(r, "owner: "+owner)
	case r.Status != check.InUse || passing:
	case r.Holders[0].Container != nil && r.Holders[0].Container.Service != "":
		return "if it is the app itself, allow it with " + keyOf(r, "owner: "+owner)
	default:
		return "if it is this app's own old instance, allow it with " + keyOf(r, "owner: "+owner)
	}
	return ""
}

func remedyLeased(r check.Result) advice {
	return advice{text: "wait until the other job ends (" + waitHint(r, "60s") + ") or use another port"}
}

func remedyDenied(r check.Result) advice {
	a := grant(r)
	if slices.ContainsFunc(r.Holders, func(h check.Holder) bool { return !h.Owner && !h.MayBeOwner }) {
		a.text += "; it is taken, too: " + stop(r).text
	}
	return a
}

// grant returns how an app may get the right to bind its port.
func grant(r check.Result) advice {
	if r.OS != "" && r.OS != "linux" {
		return advice{text: fmt.Sprintf("run the app as a user that may bind port %d, or use another port", r.Port)}
	}
	switch {
	case r.UnprivilegedFrom == nil && r.Port >= 1024: // of a merged report
		return advice{text: "grant the app CAP_NET_BIND_SERVICE if the port is below `sysctl net.ipv4.ip_unprivileged_port_start`; else a security policy denies the bind (SELinux, AppArmor, seccomp)"}
	case r.UnprivilegedFrom != nil && int(r.Port) >= *r.UnprivilegedFrom:
		return advice{text: fmt.Sprintf("ports from %d up (`sysctl net.ipv4.ip_unprivileged_port_start`) need no privilege here, so a security policy denies the bind (SELinux, AppArmor, seccomp): allow port %d in it, or use another port", *r.UnprivilegedFrom, r.Port)}
	}
	command := fmt.Sprintf("sudo sysctl net.ipv4.ip_unprivileged_port_start=%d", r.Port)
	return advice{"grant the app CAP_NET_BIND_SERVICE (in its unit: `AmbientCapabilities=CAP_NET_BIND_SERVICE`), " +
		"or lower the limit: `" + command + "`", command}
}

func remedyUnavailable(r check.Result) advice {
	missing := "the address"
	for _, e := range r.Endpoints {
		if e.Outcome == "no-family" {
			return advice{text: "enable IPv6 on the host, or use an IPv4 address"}
		}
		if e.Errno == "ENODEV" {
			return advice{text: "check the name in `socket: {device: NAME}` (`ip link` lists the devices)", command: "ip link"}
		}
		if e.Outcome == "no-address" {
			missing = bracketed(e.Address)
			break
		}
	}
	list := map[string]string{"windows": "ipconfig", "darwin": "ifconfig", "freebsd": "ifconfig"}[r.OS]
	if list == "" {
		list = "ip address"
	}
	instead := "use `address: any`"
	switch {
	case r.Source.IsFlag():
		instead = "leave the address out"
	case r.Compose:
		instead = "publish the port without a host IP"
	}
	return advice{text: "check that " + Safe(missing) + " belongs to an interface that is up (`" + list + "` lists them), or " + instead, command: list}
}

func remedyReserved(r check.Result) advice {
	if r.OS == "windows" {
		command := "netsh int ipv4 show excludedportrange protocol=" + Safe(string(r.Protocol))
		return advice{"use another port: the system reserves this one (`" + command + "` lists reserved ports)", command}
	}
	return advice{text: fmt.Sprintf("use another port: the system reserves this one (on Windows, `netsh int ipv4 show excludedportrange protocol=%s` lists reserved ports)", Safe(string(r.Protocol)))}
}

func remedyNotListening(r check.Result) advice {
	if allHolders(r, "listen") { // it takes the callers of a device alone
		return advice{text: "let it listen without a device (SO_BINDTODEVICE), or give the need an address at which callers come by that device"}
	}
	return advice{text: fmt.Sprintf("start the service that should listen on %s; if it takes a while to start, %s", protocolPort(r), waitHint(r, "30s"))}
}

func remedyExposed(r check.Result) advice {
	var allowed []string
	for _, a := range r.Address {
		allowed = append(allowed, Safe(string(a)))
	}
	return advice{text: fmt.Sprintf("let it listen on %s alone: set the address in its configuration, or the one that its container's port is published on", strings.Join(allowed, ", "))}
}

// remedyUndeclared does not say how to stop what may be needed, such as an SSH server.
func remedyUndeclared(r check.Result) advice {
	return advice{text: fmt.Sprintf("declare it as a need with port: %d, protocol: %s, expect: listening and an owner in a manifest of this run, or stop it if it should not be there", r.Port, Safe(string(r.Protocol)))}
}

// remedyReachable is for a need that expects its remote to be unreachable.
func remedyReachable(r check.Result) advice {
	return advice{text: fmt.Sprintf("stop the service on %s, or close the firewall for this target; if it takes a while to stop, %s", Safe(bracketed(r.Remote)), waitHint(r, "30s"))}
}

func remedyUnreachable(r check.Result) advice {
	remote := Safe(bracketed(r.Remote))
	if slices.ContainsFunc(r.Endpoints, func(e check.Endpoint) bool { return strings.HasSuffix(e.Errno, "ECONNREFUSED") }) {
		return advice{text: fmt.Sprintf("start the service on %s; if it takes a while to start, %s", remote, waitHint(r, "30s"))}
	}
	if slices.ContainsFunc(r.Endpoints, func(e check.Endpoint) bool { return e.Op == "resolve" }) {
		return advice{text: fmt.Sprintf("correct the name %s, or check that the target can resolve it", remote)}
	}
	return advice{text: fmt.Sprintf("check that the service on %s is up and that no firewall is in between; if it takes a while to start, %s", remote, waitHint(r, "30s"))}
}

// capabilities are the flags with which Docker and Podman let portcheck examine the
// processes of the machine, in a container with its PID namespace. Without the last
// one AppArmor denies it in spite of the capabilities.
const capabilities = "`--user root --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH --security-opt apparmor=unconfined` (a pod with the like in its `securityContext`)"

// withCapabilities is what to do where a container of an unknown kind, the unit of a service
// or the like withholds them.
const withCapabilities = "start portcheck as root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, which root does not have here: its container, its unit or whatever started it has to grant them"

func remedyUnknown(r check.Result) advice {
	const pass = "; `--allow-unknown` lets the run pass without an answer"
	errnos := []string{r.TableErrno}
	for _, e := range r.Endpoints {
		errnos = append(errnos, e.Errno)
	}
	for _, errno := range errnos {
		switch errno {
		case "WSAEMFILE":
			return advice{text: "portcheck ran out of sockets: need fewer ports in one run, or close programs that have many connections" + pass}
		case "EMFILE": // a limit of each process; root has it too
			return advice{text: "portcheck ran out of file descriptors: raise the limit of open files (`ulimit -n`), which running as root does not change" + pass}
		case "ENFILE":
			limit := map[string]string{"darwin": "kern.maxfiles", "freebsd": "kern.maxfiles"}[r.OS]
			if limit == "" {
				limit = "fs.file-max"
			}
			return advice{text: "the system ran out of file descriptors: raise `sysctl " + limit + "`, or close files" + pass}
		}
	}
	for _, e := range r.Endpoints {
		if e.Op == "socket" && slices.Contains([]string{"EAFNOSUPPORT", "EPERM", "EACCES"}, e.Errno) {
			family, allow, other := "IPv4", "AF_INET", "IPv6"
			if strings.Contains(e.Address, ":") {
				family, allow, other = "IPv6", "AF_INET6", "IPv4"
			}
			return advice{text: fmt.Sprintf("portcheck may not make %s sockets (%s): add %s to RestrictAddressFamilies of its unit, or allow it in whatever else filters its system calls; if the app uses %s alone, name an address of it", family, e.Errno, allow, other) + pass}
		}
	}
	switch {
	case slices.ContainsFunc(r.Endpoints, func(e check.Endpoint) bool { return e.Op == "look up user" }):
		return advice{text: "name a user that the target has, or its number, in " + runAsKey(r) + pass}
	case slices.ContainsFunc(r.Endpoints, func(e check.Endpoint) bool { return e.Op == "setresuid" }):
		leaveOut := ", or leave " + runAsKey(r) + " out"
		switch {
		case slices.ContainsFunc(r.Endpoints, func(e check.Endpoint) bool { return e.Errno == "EINVAL" }):
			return advice{text: "run portcheck outside of its user namespace (a rootless container or `unshare -U`), name a user that it has" + leaveOut + pass}
		case r.OS != "linux" && r.OS != "":
			return advice{text: "run portcheck as that user: only on Linux it can try a port as another one" + leaveOut + pass}
		case r.UID != nil && *r.UID == 0:
			return advice{text: "give portcheck CAP_SETUID and CAP_SETGID" + leaveOut + pass}
		}
		return advice{text: "run portcheck as root, which can try a port as another user" + leaveOut + pass}
	case r.Expect.Connects() && slices.ContainsFunc(errnos, func(e string) bool { return strings.Contains(e, "--timeout") }):
		return advice{text: "allow more time with `--timeout`, or need fewer ports" + pass}
	case r.LeasesUnknown:
		return advice{text: "let portcheck find out which ports other jobs have leased: the message says what it lacks" + pass}
	case r.Method == check.None:
		return advice{text: "nothing was probed" + pass}
	case r.TableOnly:
		return advice{text: "let portcheck run on the target, where it can try to bind the port (docs/ssh.md)" + pass}
	case r.OS == "windows":
		return advice{text: "run portcheck as Administrator, who can see more" + pass}
	case r.Confined:
		return advice{text: "start the container with " + capabilities + ", with which portcheck can read more" + pass}
	case r.Withheld && len(r.Holders) > 0: // whose processes are not known
		return advice{text: withCapabilities + pass}
	case r.UID == nil:
		return advice{text: "its notices name what could not be found out" + pass}
	case *r.UID == 0:
		return advice{text: "portcheck runs as root and could not find out more: its notices name what is missing" + pass}
	default:
		return advice{text: "run portcheck as root, which can read more" + pass}
	}
}

// runAsKey returns the key or flag that names the user of an app.
func runAsKey(r check.Result) string {
	if r.Source.IsFlag() {
		return "`--run-as`"
	}
	return keyOf(r, "run_as: USER") + " or `--run-as`"
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

// holderOwner returns an owner mapping that the holder matches, empty if there is none.
func holderOwner(h check.Holder) string {
	switch o := OwnerOf(h); {
	case o.Container != "":
		if o.User != "" {
			return "{container: " + yamlString(o.Container) + ", user: " + yamlString(o.User) + "}"
		}
		return "{container: " + yamlString(o.Container) + "}"
	case o.Compose != "":
		return "{compose: " + yamlString(o.Compose) + "}"
	case o.Unit != "":
		return "{unit: " + yamlString(o.Unit) + "}"
	case o.Process != "":
		return "{process: " + yamlString(o.Process) + "}"
	}
	return ""
}

// OwnerOf returns an owner that the holder matches, empty if there is none. That of a
// forwarder would match every port that it holds.
func OwnerOf(h check.Holder) config.Owner {
	switch {
	case h.Container != nil && isWord(h.Container.Service):
		return config.Owner{Container: h.Container.Service}
	case h.Container != nil && inCompose(*h.Container):
		return config.Owner{Compose: h.Container.Compose}
	case h.Container != nil && isWord(h.Container.Name) && h.Container.NameOnly && h.UID != nil && *h.UID > 0:
		if !isWord(h.User) {
			return config.Owner{}
		}
		return config.Owner{Container: h.Container.Name, User: h.User} // it is this user's word
	case h.Container != nil && isWord(h.Container.Name):
		return config.Owner{Container: h.Container.Name}
	case isUnit(h.From().SocketUnit):
		return config.Owner{Unit: h.From().SocketUnit}
	case unresolved(h):
		return config.Owner{}
	case isUnit(h.Unit) && !startsOthers(h.Unit, h.Process):
		return config.Owner{Unit: h.Unit}
	case isWord(h.Process) && h.Executable != "" && !h.OwnFile:
		return config.Owner{Process: h.Process}
	}
	return config.Owner{}
}

// inCompose reports whether a container is one of a Compose service that an owner can name.
func inCompose(c check.Container) bool {
	_, service := composeService(c)
	return service != ""
}

// isUnit reports whether a name is one of a unit of the system's or a user's manager
// that holds nothing but what it is made for.
func isUnit(name string) bool {
	if manager, own, ofUser := strings.Cut(name, "/"); ofUser && isUserManager(manager) && isWord(manager) {
		name = own
	}
	return isWord(name) && stoppable(name)
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

// bracketed returns an IPv6 address as "[::1]": GitHub's runner takes :: at the start
// of a line for a command.
func bracketed(address string) string {
	if strings.Contains(address, ":") && !strings.HasPrefix(address, "[") {
		return "[" + address + "]"
	}
	return address
}

// waitHint returns the key or flag that makes portcheck wait.
func waitHint(r check.Result, d string) string {
	enough := ""
	if r.Wait > 0 {
		d, enough = longerWait(r.Wait, d), ", since "+shortDuration(r.Wait)+" was not enough"
	}
	if r.Source.IsFlag() || r.WaitFlag {
		return "use `--wait " + d + "`" + enough
	}
	return "use " + keyOf(r, "wait: "+d) + enough
}

// longerWait returns a duration that is longer than the one that was waited, and d if
// that is.
func longerWait(waited time.Duration, d string) string {
	if usual, err := time.ParseDuration(d); err == nil && usual > waited {
		return d
	}
	return shortDuration(min(2*waited, config.MostDuration))
}

// shortDuration returns a duration without the units at its end that are 0: 1m, 1h30m.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// keyOf returns a key with its value as the need's file has it.
func keyOf(r check.Result, text string) string {
	if r.Compose {
		return "`x-portcheck: {" + text + "}`"
	}
	return "`" + text + "`"
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
