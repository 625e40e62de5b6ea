package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/transport/internal/engine"
)

const (
	namingTimeout = 2 * time.Second
	nameLimit     = 512 // bytes of a name; Docker's own are far shorter, labels can have any length
)

// namingHost is a host that completes the holders of its facts with the names of
// their containers. It queries the engine only if a holder is in a container or
// holds a port for one.
type namingHost struct {
	host.Host
	find     func() (*engine.Engine, error)
	services map[string]string // names of the job's services, by container ID
	timeout  time.Duration
	// beside reports whether the engine is in the network namespace that is probed.
	beside func(context.Context, *engine.Engine) bool
	// ofUser returns the engines that a user may run without root. It is nil where
	// another engine was chosen, or those of others may not be asked.
	ofUser func(uid int) []*engine.Engine
}

// withEngine returns h with names of containers from the engine that the
// environment points to.
func withEngine(h host.Host, o Options) namingHost {
	n := namingHost{h, func() (*engine.Engine, error) { return engine.New(o.Env) }, o.Job.Services, namingTimeout, listensHere, nil}
	if os.Geteuid() == 0 && o.Env["DOCKER_HOST"] == "" {
		n.ofUser = engine.OfUser
	}
	return n
}

// Probe implements host.Host.
func (n namingHost) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	allocated := n.askAllocated(ctx, req)
	facts, err := n.Host.Probe(ctx, req)
	known := allocated()
	if err != nil {
		return facts, err
	}
	facts.Allocated = nil // only the engine knows
	known.addTo(&facts, req)
	if !slices.ContainsFunc(facts.Sockets, func(s host.Socket) bool { return slices.ContainsFunc(s.Holders, involvesContainer) }) {
		return facts, nil
	}
	containers, gap := known.containers, (*host.Gap)(nil)
	if containers == nil {
		containers, gap = n.list(ctx)
	}
	if others := n.listOfUsers(ctx, facts.Sockets); len(others) > 0 {
		containers = append(containers, others...)
		if gap != nil && isGone(gap) {
			gap = nil
		}
	}
	first := func(id string) int { return n.firstProcess(ctx, id) }
	if !facts.Machine.Namespace.AllProcesses {
		first = func(string) int { return 0 } // the engine numbers processes in another way
	}
	if !nameHolders(facts.Sockets, engineAnswer{containers, gap, first, func(pid int) bool { return n.isDaemon(ctx, pid) }}) && gap == nil {
		gap = &host.Gap{What: "the container engine does not list every container that holds a port here, or not with that process"}
	}
	if gap != nil {
		gap.Kind = host.GapContainers
		facts.Gaps = append(facts.Gaps, *gap)
	}
	return facts, nil
}

// Hold implements host.Leaser.
func (n namingHost) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	return host.Hold(ctx, n.Host, req)
}

// list returns the engine's running containers. The list is nil only with a gap.
func (n namingHost) list(ctx context.Context) ([]container, *host.Gap) {
	e, err := n.find()
	if err != nil {
		return nil, &host.Gap{What: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	defer e.Close()
	entries, err := e.List(ctx, false)
	var unreached *engine.Unreached
	switch {
	case err == nil:
		return n.containersOf(e, entries), nil
	case errors.As(err, &unreached):
		gap := &host.Gap{What: fmt.Sprintf("the container engine at %s can't be queried", e), Op: unreached.Op, Errno: host.ErrnoName(unreached.Unwrap())}
		if unreached.Hint != "" && !errors.Is(err, fs.ErrNotExist) {
			gap.What += ": " + unreached.Hint
		}
		if errors.Is(err, context.DeadlineExceeded) {
			gap.Errno = unreached.Reason()
		}
		return nil, gap
	}
	return nil, &host.Gap{What: fmt.Sprintf("the container engine at %s can't be queried: %s", e, err)}
}

// mostUsers is how many users' engines are asked.
const mostUsers = 8

// listOfUsers returns the containers of the users whose forwarders hold ports: root's
// engine does not know them. A user's engine is believed about that user's forwarders alone.
func (n namingHost) listOfUsers(ctx context.Context, sockets []host.Socket) []container {
	if n.ofUser == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout) // for all of them together
	defer cancel()
	var all []container
	asked := map[int]bool{}
	for _, s := range sockets {
		for _, h := range s.Holders {
			f, proven := host.ForwarderOf(h)
			if f == nil || !proven || f.For != host.ForContainers || h.UID <= 0 || asked[h.UID] || len(asked) == mostUsers {
				continue
			}
			asked[h.UID] = true
			for _, e := range n.ofUser(h.UID) {
				all = append(all, n.listOfUser(ctx, e)...)
			}
		}
	}
	return all
}

func (n namingHost) listOfUser(ctx context.Context, e *engine.Engine) []container {
	defer e.Close()
	entries, err := e.List(ctx, false)
	if err != nil {
		return nil // the forwarder is named without its container
	}
	all := n.containersOf(e, entries)
	for i := range all {
		all[i].forwarded = true
	}
	return all
}

// containersOf returns the containers of an engine from its list.
func (n namingHost) containersOf(e *engine.Engine, entries []engine.Container) []container {
	all := n.containers(entries, e.IsLocal(), e.User())
	for i := range all {
		all[i].info.Engine, all[i].info.Socket = e.Kind(), socketOfUser(e)
	}
	return all
}

// socketOfUser returns the address of an engine that a user runs without root. In a
// container the engine's socket has another path than on the machine.
func socketOfUser(e *engine.Engine) string {
	if _, inside := host.OwnContainer(); inside || e.User() <= 0 || !strings.HasPrefix(e.String(), "/") {
		return ""
	}
	return "unix://" + e.String()
}

// firstProcess returns the PID of a container's first process, 0 if it can't be
// known.
func (n namingHost) firstProcess(ctx context.Context, id string) int {
	e, err := n.find()
	if err != nil || !e.IsLocal() {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	defer e.Close()
	d, err := e.Inspect(ctx, id)
	if err != nil || d.ID != id {
		return 0
	}
	return d.State.Pid
}

// container is the part of an engine's entry that is used here.
type container struct {
	id        string // 64 hexadecimal digits
	unit      string // that its label names; any image can have one
	user      int    // uid of the engine's user; -1 if not known
	info      host.ContainerInfo
	published []port.Endpoint
	addrs     []netip.Addr
	forwarded bool // known by the forwarders of its user alone
}

// containers converts the list of an engine that belongs to user. The published
// ports of an engine on another machine are left out.
func (n namingHost) containers(entries []engine.Container, local bool, user int) []container {
	all := []container{}
	for _, e := range entries {
		if !isContainerID(e.ID) {
			continue
		}
		c := container{id: e.ID, user: user, info: host.ContainerInfo{Name: short(e.Name()), Image: short(e.Image), Service: short(n.services[e.ID])}}
		if project, service := e.Labels["com.docker.compose.project"], e.Labels["com.docker.compose.service"]; project != "" && service != "" {
			c.info.Compose = short(project + "/" + service)
		}
		c.unit = e.Labels["PODMAN_SYSTEMD_UNIT"]
		for _, p := range e.Ports {
			ip, err := netip.ParseAddr(p.IP)
			if p.IP == "" {
				ip, err = netip.IPv4Unspecified(), nil
			}
			if p.PublicPort == 0 || err != nil || !local {
				continue // exposed but not published, or invalid
			}
			// A port that is published on both :: and 0.0.0.0 has two entries.
			c.published = append(c.published, port.Endpoint{
				Protocol: port.Protocol(p.Type), Addr: ip.WithZone(""), Port: p.PublicPort, V6Only: true, Device: ip.Zone(),
			})
		}
		for _, w := range e.NetworkSettings.Networks {
			for _, text := range []string{w.IPAddress, w.GlobalIPv6Address} {
				if addr, err := netip.ParseAddr(text); err == nil && local {
					c.addrs = append(c.addrs, addr.WithZone(""))
				}
			}
		}
		all = append(all, c)
	}
	return all
}

// short returns name, or "" if it is too long.
func short(name string) string {
	if len(name) > nameLimit {
		return ""
	}
	return name
}

func isContainerID(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// involvesContainer reports whether an engine may have a holder's container.
func involvesContainer(h host.Holder) bool {
	f, _ := host.ForwarderOf(h)
	return h.Container != "" || f != nil && f.For == host.ForContainers
}

// engineAnswer is what an engine says about the holders of ports.
type engineAnswer struct {
	containers []container // nil if the engine could not be queried
	gap        *host.Gap   // why it could not
	// first returns the PID of a container's first process, 0 if it is not known.
	first func(id string) int
	// daemon reports whether a process is known to be the engine itself.
	daemon func(pid int) bool
}

// isGone reports whether no engine listens where one was looked for.
func isGone(gap *host.Gap) bool {
	return gap != nil && (gap.Errno == "ENOENT" || gap.Errno == "ECONNREFUSED")
}

// isDaemon reports whether a process is known to be the engine that answers.
func (n namingHost) isDaemon(ctx context.Context, pid int) bool {
	e, err := n.find()
	return err == nil && e.Socket() != "" && host.ListensAt(ctx, pid, e.Socket())
}

// nameHolders sets the container of each holder. It reports whether no container
// remained without a name.
func nameHolders(sockets []host.Socket, answer engineAnswer) bool {
	complete, containers := true, answer.containers
	for i := range sockets {
		s := &sockets[i]
		if !slices.ContainsFunc(s.Holders, involvesContainer) {
			continue
		}
		s.Holders = slices.Clone(s.Holders) // sockets may share them
		for j := range s.Holders {
			h := &s.Holders[j]
			if !involvesContainer(*h) {
				continue
			}
			c := slices.IndexFunc(containers, func(c container) bool { return c.id == h.Container && !c.forwarded })
			if c >= 0 && !runsIn(*h, containers[c].id, answer.first) {
				c = -1
			}
			forwarder, proven := host.ForwarderOf(*h)
			if c < 0 && forwarder != nil && proven {
				served := func(c container) bool { return serves(*forwarder, *h, c) }
				if h.ContainerInfo != nil { // a conmon has named it
					c = slices.IndexFunc(containers, func(c container) bool { return c.id == h.Container && served(c) })
				} else {
					c = publisher(containers, s.Endpoint, served)
				}
			}
			switch {
			case c >= 0:
				h.Container, h.ContainerInfo, h.LeftOver = containers[c].id, containers[c].infoFor(*h), false
				if !slices.Contains(h.Vouched, host.FactContainer) {
					h.Vouched = append(slices.Clone(h.Vouched), host.FactContainer)
				}
			case containers != nil && h.Container == "" && proven && forwarder.Own && answer.daemon(h.PID):
				// dockerd listens on ports of its own too, such as that of its API. Another
				// dockerd may hold a port for a container of its own.
			case h.ContainerInfo != nil: // no engine lists it
			case h.LeftOver && (answer.gap == nil || isGone(answer.gap)):
				// An engine would have ended it with its container.
			default:
				h.LeftOver = false
				h.Unseen = append(slices.Clone(h.Unseen), host.ContainerName)
				complete = false
			}
		}
	}
	return complete
}

// infoFor returns the engine's description for one holder, with the unit that starts the
// container. Podman labels a container with the unit that runs it (podman-systemd.unit(5)),
// but an image can have that label, too: it counts if the holder or the container's
// conmon runs in that unit.
func (c container) infoFor(h host.Holder) *host.ContainerInfo {
	for _, unit := range []string{h.Unit, h.MonitorUnit} {
		if c.unit != "" && path.Base(unit) == c.unit && c.info.Engine == "podman" {
			info := c.info
			info.Unit = unit
			return &info
		}
	}
	return &c.info
}

// serves reports whether a forwarder may serve a container's engine. Any user can run
// the machine's rootlessport, and another engine may have a port of that number.
func serves(f host.Forwarder, h host.Holder, c container) bool {
	sameKind := f.Engine == "" || c.info.Engine == "" || f.Engine == c.info.Engine
	return sameKind && f.ServesEngine(h, c.user)
}

// runsIn reports whether a process runs in the container that its cgroup names. A
// user can choose the name of a cgroup that he owns. There the engine decides: the
// container's first process has to be the process or an ancestor of it.
func runsIn(h host.Holder, id string, first func(id string) int) bool {
	if slices.Contains(h.Vouched, host.FactContainer) {
		return true
	}
	pid := first(id)
	return pid > 0 && (h.PID == pid || slices.Contains(h.Parents, pid))
}

// publisher returns the index of the container that publishes a socket's port and
// may be served, or -1 if there is none or more than one. One that publishes the socket's own
// address wins over those with an overlapping address.
func publisher(containers []container, s port.Endpoint, served func(container) bool) int {
	found, exact, ambiguous := -1, false, false
	for i, c := range containers {
		for _, p := range c.published {
			if !p.Overlaps(s) || !served(c) {
				continue
			}
			same := p.Addr.Unmap() == s.Addr.Unmap()
			switch {
			case found < 0 || same && !exact:
				found, exact, ambiguous = i, same, false
			case found != i && same == exact:
				ambiguous = true
			}
		}
	}
	if ambiguous {
		return -1
	}
	return found
}

// ContainerNames returns the names of the running containers of the engine that env
// points to, none if it does not answer in time.
func ContainerNames(ctx context.Context, env map[string]string) []string {
	const patience = time.Second // somebody waits for it at a prompt
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, err := engine.New(env)
	if err != nil {
		return nil
	}
	defer e.Close()
	running, err := e.List(ctx, false)
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range running {
		if name := short(c.Name()); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
