package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Need is one port entry of a manifest on one target.
type Need struct {
	config.Port
	App      string
	Machine  string // the manifest's host: see footprint.excludes
	Target   string
	chosen   bool // Ports was chosen for an auto
	anywhere bool // of Ports only the length counts
}

// ID is the ID of the need's result for one protocol.
func (n Need) ID(proto port.Protocol) string {
	return n.title() + "@" + n.Target + "/" + string(proto)
}

// Endpoints returns how many endpoints the need has on its target.
func (n Need) Endpoints() int {
	if n.Expect.Connects() {
		return n.Ports.Len()
	}
	return n.Ports.Len() * len(n.Protocols) * len(n.Binding(port.TCP).At(1))
}

// try asks for binds at the need's ports as its app makes them. boundHidden excludes
// sockets that the table does not show: see askBlock.
func (n Need) try(proto port.Protocol, boundHidden bool) host.Try {
	try := host.Try{Binding: n.Binding(proto), Ports: n.Ports, RunAs: n.RunAs, Owners: len(n.Owner) > 0, Callers: true}
	if boundHidden && proto == port.TCP {
		try.ReuseAddress = false
	}
	return try
}

// result returns a result of the need without a verdict.
func (n Need) result(proto port.Protocol) Result {
	r := Result{
		ID: n.ID(proto), App: n.App, Name: n.Name, Target: n.Target, Source: n.At, Protocol: proto,
		Address: n.Addresses, Port: n.Ports.First, Expect: n.Expect, Remote: n.Remote, Severity: n.Severity, Compose: n.Project != "", Wait: n.Wait,
		Auto: n.Auto, Holders: []Holder{}, Alternatives: []uint16{}, Notices: []Notice{},
	}
	if r.Compose {
		r.Env = n.Env
	}
	if n.Ports.Last > n.Ports.First {
		r.PortLast = n.Ports.Last
	}
	if r.Address == nil {
		r.Address = []port.Address{}
	}
	return r
}

// waitKey returns how to wait, as the need's manifest has it.
func (n Need) waitKey(d string) string {
	switch {
	case n.At.IsFlag():
		return "`--wait " + d + "`"
	case n.Project != "":
		return "`x-portcheck: {wait: " + d + "}`"
	}
	return "`wait: " + d + "`"
}

// notify adds a notice unless the need allows it.
func (n Need) notify(r *Result, code config.NoticeCode, format string, args ...any) {
	if !slices.Contains(n.Allow, code) {
		r.Notices = append(r.Notices, Notice{Code: code, Message: fmt.Sprintf(format, args...)})
	}
}

// remote returns the need's remote, an IPv6 address in brackets: GitHub's runner takes
// :: at the start of a line for a command.
func (n Need) remote() string {
	if strings.Contains(n.Remote, ":") {
		return "[" + n.Remote + "]"
	}
	return n.Remote
}

// subject returns the start of a message about the need: "tcp 8080",
// "udp 127.0.0.1:53".
func (n Need) subject(proto port.Protocol) string {
	if n.Auto {
		return n.autoSubject(proto)
	}
	if n.Device != "" {
		device := n.Device
		n.Device = ""
		return n.subject(proto) + " on the device " + device
	}
	if n.Expect.Connects() {
		return fmt.Sprintf("tcp %s port %s", n.remote(), n.Ports)
	}
	if slices.Equal(n.Addresses, []port.Address{port.Any}) {
		return fmt.Sprintf("%s %s", proto, n.Ports)
	}
	if len(n.Addresses) == 1 && n.Ports.Len() == 1 {
		if endpoints := n.Binding(proto).At(n.Ports.First); len(endpoints) == 1 {
			return endpoints[0].String()
		}
	}
	names := make([]string, len(n.Addresses))
	for i, a := range n.Addresses {
		names[i] = string(a)
	}
	return fmt.Sprintf("%s %s on %s", proto, n.Ports, strings.Join(names, " and "))
}

// describe returns a process for a message: "nginx (pid 812, nginx.service)".
func describe(h host.Holder) string {
	parts := []string{fmt.Sprintf("pid %d", h.PID)}
	if h.PID == 0 {
		parts = nil
	}
	switch {
	case h.ContainerInfo != nil && h.ContainerInfo.Service != "":
		parts = append(parts, "this job's service "+clip(h.ContainerInfo.Service, 64))
	case h.ContainerInfo != nil && h.ContainerInfo.Name != "":
		parts = append(parts, "container "+clip(h.ContainerInfo.Name, 64))
	case h.Container != "":
		parts = append(parts, "container "+clip(h.Container, 12))
	case h.Unit != "":
		parts = append(parts, clip(h.Unit, 64))
	default:
		if user := UserText(clip(h.User, 32), uidOf(h.UID)); user != "" {
			parts = append(parts, user)
		}
	}
	switch {
	case h.LeftOver:
		parts = append(parts, "left over")
	case h.Job != nil && !h.Job.Own: // reports name the own job
		parts = append(parts, clip(holderJob(*h.Job).Describe(), 100))
	}
	if h.Stopped {
		parts = append(parts, "stopped")
	}
	if h.Self {
		parts = append(parts, "portcheck itself")
	}
	if h.PID == 0 { // of an engine's allocation, or behind a rule
		return strings.Join(parts, ", ")
	}
	if h.File == host.FileOther && h.Container == "" {
		parts = append(parts, "with a file of its own mount namespace")
	}
	return fmt.Sprintf("%s (%s)", cmp.Or(processName(h), "a process"), strings.Join(parts, ", "))
}

// UserText returns a user for a message: "user www-data", else "uid 33". It is empty if
// neither is known.
func UserText(name string, uid *int) string {
	switch {
	case name != "":
		return "user " + name
	case uid == nil:
		return ""
	case *uid == 0:
		return "user root" // on every system with user IDs
	}
	return fmt.Sprintf("uid %d", *uid)
}

// uidOf returns a user ID as reports have it: nil for one that is not known.
func uidOf(uid int) *int {
	if uid < 0 {
		return nil
	}
	return &uid
}

// processName returns the name of the executable by which the process calls itself,
// else its base name. The process's own name, which can be forged, is used only if
// the executable can't be read.
func processName(h host.Holder) string {
	if len(h.Names) > 0 {
		return clip(h.Names[0], 64)
	}
	if h.Executable != "" {
		return clip(BaseName(h.Executable), 64)
	}
	return clip(h.Process, 64)
}

// BaseName returns the last element of an executable's path, on whatever system it is.
// On all but Windows a name may contain a backslash.
func BaseName(executable string) string {
	if strings.HasPrefix(executable, `\`) || len(executable) > 2 && executable[1:3] == `:\` {
		executable = strings.ReplaceAll(executable, `\`, "/")
	}
	return path.Base(executable)
}

// describeAll returns the holders of sockets for a message, each process once.
func describeAll(sockets []host.Socket) string {
	const most = 3
	type process struct {
		pid                  int
		container, allocated string // one process may hold ports for several containers
	}
	var names []string
	seen := map[process]bool{}
	var unknown []string // what differs: the kernel has one, and a process may have another
	seenUnknown := map[string]bool{}
	// Clients in the accept queue of a listener belong to no process yet.
	anyHolds := slices.ContainsFunc(sockets, holdsPort)
	for _, s := range sockets {
		if len(s.Holders) == 0 && s.State != host.TimeWait && (holdsPort(s) || !anyHolds) {
			if text := unseen(s); !seenUnknown[text] {
				seenUnknown[text] = true
				unknown = append(unknown, text)
			}
		}
		for i := range s.Holders {
			h := &s.Holders[i]
			p := process{pid: h.PID, container: h.Container}
			if h.PID == 0 {
				p.allocated = describe(*h)
			}
			if seen[p] {
				continue
			}
			if seen[p] = true; len(seen) <= most {
				names = append(names, describe(*h))
			}
		}
	}
	total := len(seen) + len(unknown)
	names = append(names, unknown[:min(len(unknown), max(most-len(seen), 0))]...)
	if total > most {
		names = append(names, fmt.Sprintf("%d more", total-most))
	}
	return strings.Join(names, ", ")
}

// describeEach is describeAll with the addresses of each holder, if there are several
// holders.
func describeEach(sockets []host.Socket) string {
	const most = 3
	var holders []string
	addresses := map[string][]string{} // by holder
	type place struct{ holder, address string }
	seen := map[place]bool{}
	anyHolds := slices.ContainsFunc(sockets, holdsPort)
	for _, s := range sockets {
		h, at := describeAll([]host.Socket{s}), netip.AddrPortFrom(s.Addr, s.Port).String()
		if h == "" || anyHolds && len(s.Holders) == 0 && !holdsPort(s) {
			continue
		}
		if addresses[h] == nil {
			holders = append(holders, h)
		}
		if !seen[place{h, at}] {
			seen[place{h, at}] = true
			addresses[h] = append(addresses[h], at)
		}
	}
	if len(holders) < 2 {
		return describeAll(sockets)
	}
	for i, h := range holders {
		holders[i] = h + " at " + strings.Join(addresses[h][:min(len(addresses[h]), most)], " and ")
		if more := len(addresses[h]) - most; more > 0 {
			holders[i] += fmt.Sprintf(" and %d more", more)
		}
	}
	if more := len(holders) - most; more > 0 {
		holders = append(holders[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(holders, ", ")
}

// unseen describes the holder of a socket that no process is known to have open.
func unseen(s host.Socket) string {
	switch {
	case s.Kernel && len(s.KernelDevices) > 0:
		return fmt.Sprintf("the kernel itself (%s)", list(s.KernelDevices))
	case s.Kernel:
		return "the kernel itself"
	case s.UID != nil:
		uid := int(*s.UID)
		return fmt.Sprintf("a process of %s that can't be seen", UserText("", &uid))
	}
	return "a process that can't be seen"
}

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most])
	}
	return s
}
