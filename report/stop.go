package report

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// way is a way to end a holder: a sentence, or a command with the words that it takes.
type way struct {
	text    string   // "stop its service", or all of it if there is no word
	command string   // without the word
	word    string   // such as a PID
	before  string   // a word that several ways have in common, and that comes before theirs
	after   string   // what to do next; it ends the sentence
	force   bool     // the command may do nothing, and SIGKILL ends the process then
	resumed []string // further words, of processes that are only continued first
	holder  check.Holder
	many    string // text for several words; "" for text and a count
}

// What one hint names: the words of a command, the commands, and the holders that are
// looked at. The JSON report lists all of them.
const (
	mostWords   = 20
	mostParts   = 20
	mostHolders = 1000
)

// stop returns how to end everything that holds the port, with the start time of what
// is named first. Processes of one unit or container stop together, and a server's
// workers with their master.
func stop(r check.Result) advice {
	holders := r.Holders[:min(len(r.Holders), mostHolders)]
	f := familyOf(holders)
	own := ownersAmong(holders)
	var ways []way
	index := map[[3]string]int{}
	killed, kernels := false, true
	var unseen []string // the addresses of those that can't be seen
	for _, h := range f.mastersFirst(holders) {
		var w way
		switch {
		case h.Owner || h.MayBeOwner:
			continue
		case own.endWith(h):
			w = way{holder: h, text: fmt.Sprintf("let `owner` match %s (pid %d) as well: it can't be ended without the owner", Safe(holderName(h)), h.PID)}
		case f.pids[h.From().Master] && !h.From().LeavesCopies:
			continue // the master is among them, and ends them
		default:
			w = stopHolder(own.without(h), r, f)
		}
		key := [3]string{w.text, w.command, w.word}
		kernels = kernels && (h.Kernel || w.text == "")
		killed = killed || strings.HasPrefix(w.command, "kill") || w.command == "taskkill"
		switch i, known := index[key]; {
		case w.text == "":
			if at := Safe(net.JoinHostPort(h.Address, strconv.Itoa(int(h.Port)))); !slices.Contains(unseen, at) {
				unseen = append(unseen, at)
			}
		case !known:
			index[key] = len(ways)
			ways = append(ways, w)
		case h.Started != nil && (ways[i].holder.Started == nil || h.Started.Before(*ways[i].holder.Started)):
			ways[i].holder = h // of several processes, the oldest
		}
	}
	if len(ways) == 0 {
		if r.Ended {
			return ended()
		}
		return findOut(r)
	}
	var a advice
	var parts []string
	first := ways[0].holder
	left := len(r.Holders) - len(holders)
	for len(ways) > 0 && len(parts) < mostParts {
		var text, command string
		var more int
		text, command, more, ways = together(ways)
		if a.command == "" {
			a.command = command
		}
		parts, left = append(parts, text), left+more
	}
	if left += len(ways); left > 0 {
		parts = append(parts, fmt.Sprintf("stop the others (%d), which the JSON report lists", left))
	}
	a.text = strings.Join(parts, "; then ")
	if since := started(first); since != "" {
		name := Safe(holderName(first))
		if name == "" {
			name = "it"
		}
		a.text = name + " has run since " + since + "; " + a.text
	}
	switch {
	case len(unseen) > 0 && kernels:
		if more := len(unseen) - mostWords; more > 0 {
			unseen = append(unseen[:mostWords], fmt.Sprintf("%d more", more))
		}
		a.text += "; that does not free " + strings.Join(unseen, " and ") + ", which something else holds: " + findOut(r).text
	case len(unseen) > 0:
		a.text += "; then check again: not every process that holds it can be seen"
	case killed && r.ForksUnseen:
		a.text += "; other processes may hold it, too"
	}
	return a
}

// owners are the holders that are the need's owner, or may be, by what a command would end.
type owners struct {
	pids, masters map[int]bool
	names         map[string]bool // of units, containers and Compose services
}

func ownersAmong(holders []check.Holder) owners {
	own := owners{map[int]bool{}, map[int]bool{}, map[string]bool{}}
	for _, h := range holders {
		if !h.Owner && !h.MayBeOwner {
			continue
		}
		own.pids[h.PID], own.masters[h.From().Master], own.names[h.Unit] = true, true, true
		if c := h.Container; c != nil {
			own.names[c.ID], own.names[c.Unit], own.names[c.Compose] = true, true, true
		}
	}
	delete(own.masters, 0)
	delete(own.names, "")
	return own
}

// endWith reports whether a holder that is not the owner can't be ended without it.
func (o owners) endWith(h check.Holder) bool {
	master := h.From().Master
	return o.pids[h.PID] || o.masters[h.PID] || o.pids[master] || o.masters[master] ||
		h.Forwarder != nil && h.Container != nil && o.names[h.Container.ID]
}

// without returns a holder without the unit and the container that it shares with the
// owner.
func (o owners) without(h check.Holder) check.Holder {
	if o.names[h.Unit] {
		h.Unit = ""
	}
	switch {
	case h.Container == nil:
	case o.names[h.Container.ID]:
		h.Container = nil
	default:
		c := *h.Container
		if o.names[c.Unit] {
			c.Unit = ""
		}
		if o.names[c.Compose] {
			c.Compose = ""
		}
		h.Container = &c
	}
	return h
}

// family is how the processes among holders descend from each other.
type family struct {
	pids    map[int]bool
	copies  map[int]int      // forked copies of a process, by its PID
	stopped map[int][]string // the PIDs of those that it ends and that a signal has stopped
	// suspended has the processes of which a signal has stopped a copy.
	suspended map[int]bool
}

func familyOf(holders []check.Holder) family {
	f := family{map[int]bool{}, map[int]int{}, map[int][]string{}, map[int]bool{}}
	for _, h := range holders {
		if h.PID > 0 && !f.pids[h.PID] {
			f.pids[h.PID] = true
			from := h.From()
			f.copies[from.Master]++
			f.suspended[from.Master] = f.suspended[from.Master] || h.Stopped
			if h.Stopped && from.Master > 1 && !from.LeavesCopies {
				f.stopped[from.Master] = append(f.stopped[from.Master], strconv.Itoa(h.PID))
			}
		}
	}
	return f
}

// mastersFirst returns the holders, forked copies of others behind these: a process may
// replace a copy that ends.
func (f family) mastersFirst(holders []check.Holder) []check.Holder {
	var first, copies []check.Holder
	for _, h := range holders {
		if f.pids[h.From().Master] {
			copies = append(copies, h)
		} else {
			first = append(first, h)
		}
	}
	return append(first, copies...)
}

// together returns the text for the first way and for those that its command can end
// as well, the command, how many of those it leaves out, and the other ways.
func together(ways []way) (text, command string, more int, rest []way) {
	first := ways[0]
	if first.word == "" {
		return first.text, first.command, 0, ways[1:]
	}
	var words []string
	if first.before != "" {
		words = append(words, first.before)
	}
	for _, w := range ways {
		switch {
		case w.command != first.command || w.force != first.force || w.after != first.after || w.before != first.before || !slices.Equal(w.resumed, first.resumed):
			rest = append(rest, w)
		case len(words) == mostWords:
			more++
		default:
			words = append(words, w.word)
		}
	}
	text = first.text
	if n := len(words) - 1; n > 0 {
		if text = first.many; text == "" {
			text = fmt.Sprintf("%s and %d more", first.text, n)
		}
	}
	all := strings.Join(words, " ")
	command = first.command + " " + all
	if ended, found := strings.CutSuffix(first.command, resume); found {
		command = strings.Join(append([]string{command}, first.resumed...), " ") + " && " + ended + "kill " + all
	}
	after := first.after
	if first.force {
		that := "it does"
		if len(words) > 1 {
			that = "they do"
		}
		after = fmt.Sprintf("; if %s not end: `%s %s`", that, forced, all) + after
	}
	return text + ": `" + command + "`" + after, command, more, rest
}

// resume continues a stopped process, which handles no other signal until then.
const resume = "kill -CONT"

// stopHolder returns how to stop a holder; its text is empty if that is not known.
func stopHolder(h check.Holder, r check.Result, f family) way {
	w := way{holder: h}
	switch c := h.Container; {
	case h.Self:
		w.text = "portcheck itself has been started with this socket: it is free when portcheck ends; start portcheck without it (in Python `close_fds=True`), or close it before, to check"
	case c != nil && c.Service != "":
		w.text = "this job's own service holds it: give it another port in the workflow's `services:`, or give the app another port"
	case c != nil && c.Engine == "kubernetes":
		w.text = "its pod is one of Kubernetes, which starts a stopped container again: delete the pod or scale its workload down with kubectl"
	case c != nil && stopContainersUnit(&w, h):
	case c != nil && stopContainer(&w, *c):
	case h.Forwarder != nil && h.Forwarder.LeftOver && h.PID > 1:
		w.text, w.command, w.word = "stop "+Safe(holderName(h))+", which is left over from a container that is gone", "kill", strconv.Itoa(h.PID)
	case !unresolved(h) && stopUnit(&w, h, h.Unit):
	case h.Forwarder != nil:
		w.text = behind(h, r)
	case h.Kernel && isWord(h.From().Device):
		w.text = fmt.Sprintf("the kernel itself holds it, for the interface %s: give that another port, or delete it", h.From().Device)
		w.command, w.word = "ip link del", h.From().Device
	case h.Kernel && r.Protocol == port.UDP:
		w.text = fmt.Sprintf("the kernel itself holds it, for a VXLAN, Geneve or WireGuard interface or a mount: `ip -d link` and `wg show` list interfaces with their ports; delete the one with port %d, or give it another port", h.Port)
	case h.Kernel:
		w.text = "the kernel itself holds it, for an NFS server or the like: `rpcinfo -p` lists its services; stop the one that uses it (`systemctl stop nfs-server`)"
	case h.PID == 4 && r.OS == "windows":
		w.text = "the system itself holds it, for a service of HTTP.sys or a shared folder: `netsh http show servicestate` lists those of HTTP.sys"
	case h.PID == 1 && r.OS == "darwin":
		w.text, w.command = "launchd (pid 1) holds it for one of its jobs: `sudo launchctl list` names them; unload the one that listens there", "sudo launchctl list"
	case h.PID == 1:
		w.text, w.command = "pid 1 holds it: if that is systemd, `systemctl list-sockets` names the unit to stop; in a container, stop the container", "systemctl list-sockets"
	case h.PID > 0:
		stopProcess(&w, h, r, f)
	}
	return w
}

// stopContainer sets the way to stop a container, and reports whether it did.
func stopContainer(w *way, c check.Container) bool {
	command := engineCommands[c.Engine]
	if command == "" {
		return findEngine(w, c)
	}
	if isSocket(c.Socket) {
		flag := map[string]string{"docker": "-H", "podman": "--url"}[command]
		if flag != "" {
			command += " " + flag + " " + c.Socket
		}
	}
	as := ""
	if c.Socket == "" && w.holder.Forwarder != nil {
		as = asUser(w.holder)
	}
	if project, service := composeService(c); service != "" && strings.HasPrefix(command, "docker") {
		w.text, w.many = as+"stop its Compose service", as+"stop its Compose services"
		w.command, w.word = command+" compose -p "+project+" stop", service
		return true
	}
	for _, ref := range []string{c.Name, c.ID[:min(len(c.ID), 12)]} {
		if isWord(ref) {
			w.text, w.many, w.command, w.word = as+"stop its container", as+"stop its containers", command+" stop", ref
			if c.NameOnly && w.holder.Forwarder != nil {
				w.after = orItsUnit(w.holder)
			}
			if pod, ok := strings.CutSuffix(ref, "-infra"); ok && c.Engine == "podman" && isPodID(pod) {
				w.after = "; it keeps the network of its pod, so `" + command + " pod stop " + pod + "` stops the others, too" + w.after
			}
			return true
		}
	}
	return false
}

// isPodID reports whether a name is the start of a pod's ID, with which Podman names the
// infra container of a pod.
func isPodID(name string) bool {
	return len(name) == 12 && strings.Trim(name, "0123456789abcdef") == ""
}

// engineCommands are the commands of engines.
var engineCommands = map[string]string{"docker": "docker", "podman": "podman", "containerd": "nerdctl", "cri-o": "crictl"}

// findEngine sets the way to find the engine of a container, and reports whether it did.
func findEngine(w *way, c check.Container) bool {
	ref := c.ID[:min(len(c.ID), 12)]
	if !isWord(ref) {
		ref = c.Name
	}
	if !isWord(ref) {
		return false
	}
	w.text = fmt.Sprintf("stop container %s with its own engine, which is not known: try `docker inspect %[1]s`, then the same with podman, nerdctl and crictl", ref)
	if w.holder.PID > 0 {
		w.text += fmt.Sprintf(", or look for its name in /proc/%d/cgroup", w.holder.PID)
	}
	return true
}

// composeService returns the project and the service of a container, if both are words.
func composeService(c check.Container) (project, service string) {
	project, service, _ = strings.Cut(c.Compose, "/")
	if !isWord(project) || !isWord(service) {
		return "", ""
	}
	return project, service
}

// isSocket reports whether the address of an engine is one word to every shell.
func isSocket(address string) bool {
	path, ok := strings.CutPrefix(address, "unix:///")
	return ok && !slices.ContainsFunc(strings.Split(path, "/"), func(name string) bool { return !isWord(name) })
}

// stopContainersUnit sets the way to stop the unit that starts a container, and reports
// whether it did. The unit may start a container again that has been stopped.
func stopContainersUnit(w *way, h check.Holder) bool {
	if !stopUnit(w, h, h.Container.Unit) {
		return false
	}
	w.text = strings.Replace(w.text, "stop its service", "stop its container's service", 1)
	return true
}

// stopUnit sets the way to stop a unit of a holder, and reports whether it did.
func stopUnit(w *way, h check.Holder, unit string) bool {
	manager, own, ofUser := strings.Cut(unit, "/")
	if ofUser && isUserManager(manager) {
		unit = own
	}
	if !isWord(unit) || !stoppable(unit) || ofUser && !isUserManager(manager) || startsOthers(unit, holderName(h)) {
		return false
	}
	w.text, w.many, w.command, w.word = "stop its service", "stop its units", "systemctl stop", unit
	if strings.HasSuffix(unit, ".socket") {
		w.text = "stop its socket unit"
	}
	if ofUser {
		as := "as " + Safe(managersUser(manager, h)) + ", "
		w.text, w.many, w.command = as+w.text, as+w.many, "systemctl --user stop"
	}
	return true
}

// managersUser returns the user of a service manager, "user@1000.service". A process of
// his may run as another user: in a container it does.
func managersUser(manager string, h check.Holder) string {
	uid := strings.TrimSuffix(strings.TrimPrefix(manager, "user@"), ".service")
	if h.UID == nil || strconv.Itoa(*h.UID) == uid {
		return check.UserText(h.User, h.UID)
	}
	return "uid " + uid
}

// unresolved reports whether a holder serves others, so that its own unit is that of
// an engine or of a super-server, with everything else that it serves.
func unresolved(h check.Holder) bool {
	return h.Forwarder != nil && (h.Forwarder.For != "units" || !strings.HasSuffix(h.Unit, ".socket"))
}

// launchers are services that start programs of others, by the names of their units
// without instance, each with its own programs. A name that ends in a mark is the
// start of a unit's. The leftover of a CI job is in its runner's unit, and what a
// login has started may be in that of sshd.
var launchers = map[string][]string{
	"ssh": {"sshd"}, "sshd": {"sshd"}, "cron": {"cron"}, "crond": {"crond"}, "anacron": {"anacron"}, "atd": {"atd"}, "supervisor": {"supervisord"}, "docker": {"dockerd"}, "containerd": {"containerd"},
	"actions.runner.": {"Runner.Listener"}, "gitlab-runner": {"gitlab-runner"}, "jenkins": {"java"}, "buildkite-agent": {"buildkite-agent"}, "act_runner": {"act_runner"},
	"forgejo-runner": {"forgejo-runner"}, "gitea-runner": {"act_runner"}, "vsts.agent.": {"Agent.Listener"}, "teamcity-agent": {"java"}, "pm2-": {},
}

// startsOthers reports whether a process is one that a launcher has started, so that
// its unit is not its own.
func startsOthers(unit, process string) bool {
	name, ok := strings.CutSuffix(unit, ".service")
	name, _, _ = strings.Cut(name, "@")
	for launcher, own := range launchers {
		start := strings.HasSuffix(launcher, ".") || strings.HasSuffix(launcher, "-")
		if ok && (name == launcher || start && strings.HasPrefix(name, launcher)) {
			return !slices.Contains(own, process)
		}
	}
	return false
}

// stoppable reports whether stopping the unit stops only the holder. A scope or a
// user manager is a whole login session.
func stoppable(unit string) bool {
	return strings.HasSuffix(unit, ".socket") || strings.HasSuffix(unit, ".service") && !isUserManager(unit)
}

func isUserManager(unit string) bool {
	return strings.HasPrefix(unit, "user@") && strings.HasSuffix(unit, ".service")
}

// behind returns how to find out for what a forwarder holds the port. It is never a
// reason to end the forwarder itself, on which others depend.
func behind(h check.Holder, r check.Result) string {
	name, f := Safe(holderName(h)), h.Forwarder
	as := asUser(h)
	protocol := Safe(string(r.Protocol))
	switch {
	case f.For == "units" && h.Unit != "":
		return fmt.Sprintf("%s holds it for one of its socket units, and which one is not known: %s names it; stop that one", name, listSockets(h))
	case f.For == "units":
		return fmt.Sprintf("%s holds it for one of its socket units: %s names it; stop that one", name, listSockets(h))
	case f.For == "services":
		return fmt.Sprintf("%s holds it for a service in its configuration (/etc/inetd.conf or /etc/xinetd.d): take the line of port %d out, and reload it with `systemctl reload`", name, h.Port)
	case f.Own && f.Name == "dockerd":
		return "dockerd has this port for itself, for its API or a swarm: take it out of `hosts` in /etc/docker/daemon.json or of its unit, or leave the swarm"
	case f.Own:
		return name + " has this port for itself: change it in its configuration"
	case h.Container != nil:
		return as + "stop the container that it holds the port for, of which no name fits a command"
	case f.Engine == "docker":
		return fmt.Sprintf("stop the container that publishes it: `docker ps --filter publish=%d/%s` shows its name", h.Port, protocol)
	case f.Engine == "podman":
		return fmt.Sprintf("%s holds it for a container, and which one is not known: %s`podman ps --format '{{.Names}} {{.Ports}}'` shows the one with port %d; stop that one%s", name, as, h.Port, orItsUnit(h))
	}
	return fmt.Sprintf("%s holds it for a container, and which one is not known: %sask the engine (`docker ps`, `podman ps` or `nerdctl ps`) for the one with port %d, and stop that one%s", name, as, h.Port, orItsUnit(h))
}

// listSockets returns the command that lists the socket units of a service manager, with
// the user whose it is.
func listSockets(h check.Holder) string {
	manager, _, ofUser := strings.Cut(h.Unit, "/")
	switch {
	case h.Container != nil || h.PID == 1:
	case ofUser && isUserManager(manager):
		return "as " + Safe(managersUser(manager, h)) + ", `systemctl --user list-sockets`"
	case asUser(h) != "":
		return asUser(h) + "`systemctl --user list-sockets`"
	}
	return "`systemctl list-sockets`"
}

// orItsUnit returns what to do instead if a unit has started the container that a
// forwarder serves: that of the container's conmon, or the forwarder's. It may have been
// started in there by hand.
func orItsUnit(h check.Holder) string {
	units := []string{h.Unit}
	if h.Container != nil {
		units = []string{h.Container.MonitorUnit, h.Unit}
	}
	for _, unit := range units {
		if _, own, ofUser := strings.Cut(unit, "/"); ofUser {
			unit = own
		}
		if isWord(unit) && stoppable(unit) && unit != "podman.service" && !startsOthers(unit, holderName(h)) && holderName(h)+".service" != unit {
			return "; but if " + unit + " has started it, stop that unit, which may start it again"
		}
	}
	return ""
}

// asUser returns for whom a command has to be run whose engine or service manager is a
// user's own; empty for root's.
func asUser(h check.Holder) string {
	if h.UID == nil || *h.UID == 0 {
		return ""
	}
	return "as " + Safe(check.UserText(h.User, h.UID)) + ", "
}

// stopProcess sets the way to stop a process that no unit and no container stops. Its
// master, if it has one, does not hold the port or does not end its copies.
func stopProcess(w *way, h check.Holder, r check.Result, f family) {
	name := Safe(holderName(h))
	if name == "" {
		name = "its process"
	}
	w.text, w.command, w.word = "stop "+name, "kill", strconv.Itoa(h.PID)
	from := h.From()
	workers := f.copies[from.Master]
	alone := from.Master <= 1 || f.pids[from.Master] // no other process has to be ended with it
	switch {
	case r.OS == "windows":
		w.command, w.word = "taskkill", "/PID "+strconv.Itoa(h.PID)
	case from.Supervisor != "":
		w.text = fmt.Sprintf("stop %s in %s (pid %d), which starts it again when it ends", name, Safe(from.Supervisor), from.SupervisorPID)
		w.command, w.word = "", ""
	case !alone && from.MasterUnseen:
		w.text = fmt.Sprintf("as root, stop the master of %s, which this user can't see and which may start another one when it ends", name)
		w.command, w.word = "sudo kill", strconv.Itoa(from.Master)
		continueFirst(w, f.stopped[from.Master], false)
	case !alone && workers > 1 && from.Serves == "" && from.LeavesCopies:
		w.text = fmt.Sprintf("stop the processes of %s and the one of which they are copies", name)
		w.before = strconv.Itoa(from.Master)
		switch {
		case h.IgnoresTerm:
			w.text, w.command = w.text+allAtOnce, forced
		case from.IgnoresTerm:
			w.text, w.before = fmt.Sprintf("stop the processes of %s, and before them at once the one of which they are copies, since it ignores SIGTERM", name), ""
			w.command = fmt.Sprintf("%s %d && kill", forced, from.Master)
		case from.Stopped || f.suspended[from.Master]:
			w.text, w.command = w.text+", of which some are suspended and have to be continued first", resume
		case unable(from.Condition) != "":
			w.text += ", which " + unable(from.Condition)
		default:
			w.force = h.MasksTerm || from.MasksTerm
		}
		w.many = w.text
	case !alone && workers > 1 && from.Serves == "":
		// It may as well be a program that has forked a server and does something else.
		w.text, w.word, w.after = fmt.Sprintf("stop the master of %s, which may start another worker when one ends", name), strconv.Itoa(from.Master), ", then check again"
		if why := unable(from.Condition); why != "" {
			w.text += ", and which " + why
		}
		continueFirst(w, f.stopped[from.Master], from.Stopped)
		w.force = from.MasksTerm
	case unable(h.Condition) != "":
		w.text, w.after = "stop "+name+", which "+unable(h.Condition), again(from, f)
		if h.IgnoresTerm {
			w.command = forced
		}
		if h.Blocked {
			w.after = " once, then check again (SIGKILL ends some such waits at once)" + w.after
		}
	case h.IgnoresTerm:
		w.text, w.many, w.command, w.after = "stop "+name+atOnce, "stop "+name+" and the others"+allAtOnce, forced, again(from, f)
	case len(f.stopped[h.PID]) > 0:
		w.text = fmt.Sprintf("stop %s, whose workers are suspended and have to be continued first", name)
		if h.Stopped {
			w.text = fmt.Sprintf("stop %s, which is suspended and has to be continued first, with its workers", name)
		}
		w.after, w.force = again(from, f), h.MasksTerm
		continueFirst(w, f.stopped[h.PID], h.Stopped)
	case h.Stopped:
		w.text, w.command, w.after, w.force = "stop "+name+", which is suspended and has to be continued first", resume, again(from, f), h.MasksTerm
	default:
		w.after, w.force = again(from, f), h.MasksTerm
	}
}

// end returns the command that ends a process.
func end(pid int, c check.Condition) string {
	switch {
	case c.IgnoresTerm:
		return fmt.Sprintf("%s %d", forced, pid)
	case c.Stopped:
		return fmt.Sprintf("%s %d && kill %[2]d", resume, pid)
	case c.MasksTerm:
		return fmt.Sprintf("kill %d` or, if it does not end, `%s %[1]d", pid, forced)
	}
	return fmt.Sprintf("kill %d", pid)
}

// unable returns why a process takes no signal now, the end of a sentence about it; empty if
// it does. SIGKILL ends one that its tracer has stopped.
func unable(c check.Condition) string {
	switch {
	case c.Blocked:
		return "waits in the kernel and ends only when that returns"
	case c.TraceStopped && c.IgnoresTerm:
	case c.TraceStopped && c.Tracer > 0:
		return fmt.Sprintf("pid %d traces and has stopped (detach or end that first)", c.Tracer)
	case c.TraceStopped:
		return "a tracer has stopped (detach or end that first)"
	}
	return ""
}

// forced ends a process that ignores SIGTERM.
const forced = "kill -KILL"

const (
	atOnce    = " by its own means, or end it at once, since it ignores SIGTERM"
	allAtOnce = " by their own means, or end them at once, since they ignore SIGTERM"
)

// continueFirst makes a way that ends a master continue it and the stopped ones of its
// workers, if it is stopped itself or some of them are: it waits for these to end. To
// continue a process that runs changes nothing.
func continueFirst(w *way, stopped []string, itself bool) {
	if len(stopped) == 0 && !itself {
		return
	}
	w.command = strings.TrimSuffix(w.command, "kill") + resume
	w.resumed = stopped[:min(len(stopped), mostWords)]
	if left := len(stopped) - len(w.resumed); left > 0 {
		w.after = fmt.Sprintf("; then continue the others that are stopped (%d), which the JSON report lists", left) + w.after
	}
}

// again returns what to do if another process starts this one again; empty if that holds
// the port as well, or none is known to do so.
func again(from check.Origin, f family) string {
	pid, relation := from.Master, "of which it is a copy"
	if pid <= 1 {
		pid, relation = from.Starter, "which has started it"
	}
	name := fmt.Sprintf("pid %d", pid)
	if pid <= 1 {
		pid = from.ShellPID
		name = fmt.Sprintf("%s (pid %d)", Safe(from.Shell), pid)
	}
	if pid <= 1 || f.pids[pid] {
		return ""
	}
	if from.Serves != "" {
		relation += " and which serves " + Safe(from.Serves) + ", too"
	}
	switch why := unable(from.Condition); {
	case why != "":
		relation += " and which " + why
	case from.IgnoresTerm:
		relation += " and which ignores SIGTERM"
	case from.Stopped:
		relation += " and which is suspended"
	}
	return fmt.Sprintf("; if %s, %s, starts another one: `%s`, then check again", name, relation, end(pid, from.Condition))
}

// ended returns what to do about a socket that no process has: which of both it is can't be
// told at once.
func ended() advice {
	const command = "sudo grep -s 'scm_fds:.*[1-9]' /proc/[0-9]*/fdinfo/*"
	return advice{"check again: what held it may have ended, as a server that restarts does; if this stays so, it was sent through a unix socket and nobody has taken it yet, or is kept in an io_uring: `" + command + "` lists the processes (/proc/PID) with unix sockets in which descriptors wait; end the one whose it is, or let it take them", command}
}

// findOut returns how to find the process that holds the port.
func findOut(r check.Result) advice {
	command := listCommand(r)
	switch {
	case len(r.Holders) == 0 && r.Unlisted && r.OS != "windows":
		command = "sudo lsof -nP | grep 'protocol: TCP'"
		return advice{"find out which process holds it: `" + command + "` lists the processes with sockets that are in no table", command}
	case len(r.Holders) == 0 && r.OS == "linux" && r.Method == check.BindTable && !r.TableOnly:
		return advice{text: "check again: no table of the kernel lists what holds it, so it has ended since, or it has bound the port and does not listen (Linux before 6.8 lists no such sockets)"}
	case r.TableOnly:
		return advice{"find out which process holds it: `" + command + "` there", command}
	case r.Confined:
		return advice{"find out which process holds it: start the container with " + capabilities + ", or `" + command + "` on the machine itself", command}
	case r.Withheld:
		return advice{"find out which process holds it: " + withCapabilities + ", or `" + command + "` on the machine itself", command}
	case r.UID == nil: // of a merged report, or of a system without uids
		return advice{"find out which process holds it: `" + command + "`", command}
	case *r.UID == 0:
		return advice{"find out which process holds it: portcheck runs as root and can't see it from here, so it is one in another PID namespace (a container sees it with `--pid host`, a pod with `hostPID`), one that even root may not read, the kernel itself, or one that has sent it through a unix socket from which nobody has taken it yet: `" + command + "` on the machine itself", command}
	}
	return advice{"find out which process holds it: run portcheck as root, or `" + command + "`", command}
}

// listCommand returns the command that lists the process at the result's port.
func listCommand(r check.Result) string {
	number := r.Port
	if len(r.Holders) > 0 {
		number = r.Holders[0].Port // the taken one of a block
	}
	udp := r.Protocol == port.UDP
	switch {
	case r.OS == "windows":
		return fmt.Sprintf("netstat -ano | findstr :%d", number)
	case r.OS == "darwin" && udp:
		return fmt.Sprintf("sudo lsof -nP -iUDP:%d", number)
	case r.OS == "darwin":
		return fmt.Sprintf("sudo lsof -nP -iTCP:%d -sTCP:LISTEN", number)
	case r.OS == "freebsd":
		return fmt.Sprintf("sudo sockstat -l -p %d", number)
	case udp:
		return fmt.Sprintf("sudo ss -ulnp sport = :%d", number)
	}
	return fmt.Sprintf("sudo ss -tlnp sport = :%d", number)
}
