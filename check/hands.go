package check

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/host"
)

// relation is what is known of two holders: whether they are the same, apart from
// their processes.
type relation int

const (
	different relation = iota // proven
	maybe
	same
)

// program is what a holder runs, and on whose behalf. What is not known is notSeen.
type program struct{ executable, unit, container, containerID string }

// notSeen stands for what could not be read. No path or name contains it.
const notSeen = "\x00"

// hands is the holders of one or several sockets.
type hands struct {
	programs []program // in the order in which they were added
	vague    []program // those of programs that may be the same as an unequal one
	known    map[program]bool
	users    map[string]bool // their names, and their uids as "#0"
	// makers are the users who made sockets whose holders can't be seen. A process may
	// run as another user than the one who made its socket.
	makers      map[string]bool
	unseen      bool // a holder can't be seen
	userUnknown bool // of a holder that can
}

func newHands() hands {
	return hands{known: map[program]bool{}, users: map[string]bool{}, makers: map[string]bool{}}
}

// add adds a row of a listing.
func (x *hands) add(h Holder) {
	users := x.users
	switch {
	case h.Kernel:
		x.addProgram(program{executable: "(kernel)"})
	case h.PID == 0 && h.Process == "" && h.Executable == "":
		x.unseen = true
		users = x.makers
	default:
		x.addProgram(programOf(h))
		x.userUnknown = x.userUnknown || h.UID == nil && h.User == ""
	}
	if h.User != "" {
		users[h.User] = true
	}
	if h.UID != nil {
		users["#"+strconv.Itoa(*h.UID)] = true
	}
}

func (x *hands) addProgram(p program) {
	if !x.known[p] {
		x.known[p] = true
		x.programs = append(x.programs, p)
		if p.vague() {
			x.vague = append(x.vague, p)
		}
	}
}

// join adds the holders of other sockets.
func (x *hands) join(y hands) {
	for _, p := range y.programs {
		x.addProgram(p)
	}
	maps.Copy(x.users, y.users)
	maps.Copy(x.makers, y.makers)
	x.unseen, x.userUnknown = x.unseen || y.unseen, x.userUnknown || y.userUnknown
}

// programOf returns the program of a process that was seen.
func programOf(h Holder) program {
	if unit := h.From().SocketUnit; unit != "" {
		return program{unit: unit} // systemd, or a service to which it gives the socket
	}
	// value returns a fact, or notSeen. It is empty if the process has none.
	value := func(text, fact string) string {
		if text == "" && slices.Contains(h.listed().Unseen, fact) {
			return notSeen
		}
		return text
	}
	p := program{executable: value(h.Executable, host.FactExecutable)}
	if p.executable == "" {
		p.executable = cmp.Or(h.Process, notSeen) // on systems that show names alone
	}
	c := h.Container
	if c == nil {
		p.container, p.unit = value("", host.FactContainer), lastingUnit(value(h.Unit, host.FactUnit))
		return p
	}
	// An engine gives a container another ID each time that it makes it, and its unit
	// has that ID in its name.
	p.containerID, p.unit = c.ID, notSeen
	switch {
	case c.Compose != "":
		p.container = "compose " + c.Compose
	case c.Service != "":
		p.container = "service " + c.Service
	case c.Name != "":
		p.container = "name " + c.Name
	default:
		p.container = notSeen
	}
	if p.container != notSeen {
		p.containerID = ""
	}
	return p
}

// lastingUnit returns the name of a unit without what systemd, a session or a desktop
// makes up at each start: "session-3.scope", "run-u21.service".
func lastingUnit(unit string) string {
	i := strings.LastIndexByte(unit, '/') + 1
	switch name := unit[i:]; {
	case strings.HasSuffix(name, ".scope"):
		return unit[:i] + "*.scope"
	case strings.HasPrefix(name, "run-") && strings.HasSuffix(name, ".service"):
		return unit[:i] + "run-*.service"
	}
	return unit
}

// vague reports whether a program may be the same as an unequal one.
func (p program) vague() bool {
	return p.executable == notSeen || p.unit == notSeen || p.container == notSeen || p.containerID != ""
}

// mostPairs limits how many programs of which not all is known are compared with each other.
const mostPairs = 1 << 10

// compare compares the holders of a port with those that it had before. They are
// different if a program has it that did not have it before, or if none of its users
// is one of those of before. A program that does not have it any more, as one of several
// with a socket, makes no difference.
func (x hands) compare(before hands) relation {
	someUnseen := x.unseen || before.unseen
	if len(x.programs)+len(before.programs) == 0 {
		return min(maybe, compareUsers(x.makers, before.makers))
	}
	result, pairs := same, 0
	if someUnseen {
		result = maybe
	}
	for _, p := range x.programs {
		if before.known[p] && p.executable != notSeen {
			continue
		}
		best := different
		if before.unseen {
			best = maybe
		}
		candidates := before.vague
		if p.vague() {
			candidates = before.programs
		}
		for _, was := range candidates {
			if pairs++; pairs > mostPairs {
				return maybe
			}
			best = max(best, p.compare(was))
		}
		result = min(result, best)
	}
	if someUnseen || x.userUnknown || before.userUnknown {
		return result
	}
	return min(result, compareUsers(x.users, before.users))
}

func (p program) compare(o program) relation {
	result := same
	fact := func(a, b string, known relation) {
		switch {
		case a == notSeen || b == notSeen:
			result = min(result, known)
		case a != b:
			result = different
		}
	}
	// What can't be compared beside an executable that is the same is no sign of another.
	fact(p.executable, o.executable, maybe)
	fact(p.unit, o.unit, same)
	sameContainer := p.containerID != "" && p.containerID == o.containerID
	switch {
	case sameContainer:
	case p.containerID != "" && o.containerID != "":
		fact(p.container, o.container, maybe)
	default:
		fact(p.container, o.container, same)
	}
	return result
}

// compareUsers returns whether two sets of users have one in common.
func compareUsers(a, b map[string]bool) relation {
	if len(a) == 0 || len(b) == 0 {
		return same // the kernel has no user
	}
	for user := range a {
		if b[user] {
			return same
		}
	}
	return different
}
