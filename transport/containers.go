package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/transport/internal/engine"
)

const (
	namingPatience = 2 * time.Second
	nameLimit      = 512 // bytes of a name; docker's own are far shorter, labels can be of any length
)

// namingHost is a host whose containers an engine names. The engine is asked
// only where a holder is in a container or holds a port for one.
type namingHost struct {
	host.Host
	find     func() (*engine.Engine, error)
	services map[string]string // container ID -> name of the job's service
	patience time.Duration
}

// withEngine names containers by the engine that the environment points to.
func withEngine(h host.Host, o Options) host.Host {
	return namingHost{h, func() (*engine.Engine, error) { return engine.New(o.Env) }, o.Job.Services, namingPatience}
}

// Probe implements host.Host.
func (n namingHost) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := n.Host.Probe(ctx, req)
	if err != nil || !slices.ContainsFunc(facts.Sockets, func(s host.Socket) bool { return slices.ContainsFunc(s.Holders, involvesContainer) }) {
		return facts, err
	}
	containers, gap := n.list(ctx)
	if !nameHolders(facts.Sockets, containers) && gap == nil {
		gap = &host.Gap{What: "the container engine does not know every container here"}
	}
	if gap != nil {
		gap.Kind = host.GapContainers
		facts.Gaps = append(facts.Gaps, *gap)
	}
	return facts, nil
}

// list asks the engine for its running containers. It is never nil without a
// gap.
func (n namingHost) list(ctx context.Context) ([]container, *host.Gap) {
	e, err := n.find()
	if err != nil {
		return nil, &host.Gap{What: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, n.patience)
	defer cancel()
	defer e.Close()
	entries, err := e.List(ctx, false)
	var unreached *engine.Unreached
	switch {
	case err == nil:
		return n.containers(entries, e.Near()), nil
	case errors.As(err, &unreached):
		gap := &host.Gap{What: fmt.Sprintf("the container engine at %s can't be asked", e), Op: unreached.Op, Errno: host.ErrnoName(unreached.Unwrap())}
		if unreached.Hint != "" && !errors.Is(err, fs.ErrNotExist) {
			gap.What += ": " + unreached.Hint
		}
		if errors.Is(err, context.DeadlineExceeded) {
			gap.Errno = unreached.Reason()
		}
		return nil, gap
	}
	return nil, &host.Gap{What: fmt.Sprintf("the container engine at %s can't be asked: %s", e, err)}
}

// container is what is used of an engine's entry for one.
type container struct {
	id        string // 64 hexadecimal digits
	info      host.ContainerInfo
	published []port.Endpoint
}

// containers takes what is used out of the engine's list. What an engine far
// away publishes is not here.
func (n namingHost) containers(entries []engine.Container, near bool) []container {
	all := []container{}
	for _, e := range entries {
		if !isContainerID(e.ID) {
			continue
		}
		c := container{id: e.ID, info: host.ContainerInfo{Name: short(e.Name()), Image: short(e.Image), Service: short(n.services[e.ID])}}
		if project, service := e.Labels["com.docker.compose.project"], e.Labels["com.docker.compose.service"]; project != "" && service != "" {
			c.info.Compose = short(project + "/" + service)
		}
		for _, p := range e.Ports {
			ip, err := netip.ParseAddr(p.IP)
			if p.IP == "" {
				ip, err = netip.IPv4Unspecified(), nil
			}
			if p.PublicPort == 0 || err != nil || !near {
				continue // exposed and not published, or nothing that we know
			}
			// What is published on :: and on 0.0.0.0 has an entry for each.
			c.published = append(c.published, port.Endpoint{
				Protocol: port.Protocol(p.Type), Addr: ip.WithZone(""), Port: p.PublicPort, V6Only: true, Device: ip.Zone(),
			})
		}
		all = append(all, c)
	}
	return all
}

// short leaves out what is too long for a name.
func short(name string) string {
	if len(name) > nameLimit {
		return ""
	}
	return name
}

func isContainerID(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// involvesContainer says whether an engine may know a holder's container.
func involvesContainer(h host.Holder) bool { return h.Container != "" || isProxy(h) }

// isProxy says whether a process holds ports for containers. Its name could be
// forged; the path of its executable can't.
func isProxy(h host.Holder) bool {
	return slices.Contains([]string{"docker-proxy", "rootlessport", "dockerd"}, path.Base(h.Executable))
}

// nameHolders fills in what the engine says of each holder's container. Of nil
// containers it says nothing. It returns false if one remains without a name
// that should have one.
func nameHolders(sockets []host.Socket, containers []container) bool {
	whole := true
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
			c := slices.IndexFunc(containers, func(c container) bool { return c.id == h.Container })
			if c < 0 && isProxy(*h) {
				c = publisher(containers, s.Endpoint)
			}
			switch {
			case c >= 0:
				h.Container, h.ContainerInfo = containers[c].id, &containers[c].info
			case containers != nil && h.Container == "" && path.Base(h.Executable) == "dockerd":
				// It holds ports of its own too, such as that of its API.
			default:
				h.Unseen = append(slices.Clone(h.Unseen), host.ContainerName)
				whole = false
			}
		}
	}
	return whole
}

// publisher finds the one container that publishes a socket's port; -1 if there
// is none, or more than one that could be meant.
func publisher(containers []container, s port.Endpoint) int {
	found, exact, several := -1, false, false
	for i, c := range containers {
		for _, p := range c.published {
			if !p.Overlaps(s) {
				continue
			}
			same := p.Addr.Unmap() == s.Addr.Unmap()
			switch {
			case found < 0 || same && !exact:
				found, exact, several = i, same, false
			case found != i && same == exact:
				several = true
			}
		}
	}
	if several {
		return -1
	}
	return found
}
