package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

const (
	engineSocket   = "/var/run/docker.sock" // without DOCKER_HOST
	enginePatience = 2 * time.Second
	engineLimit    = 8 << 20 // bytes of its answer; a container takes about 2 KB
	nameLimit      = 512     // bytes of a name; docker's own are far shorter, labels can be of any length
)

// engineHost is a host whose containers an engine names. The engine is asked
// only where a holder is in a container or holds a port for one.
type engineHost struct {
	host.Host
	address  string // DOCKER_HOST
	patience time.Duration
}

func withEngine(h host.Host, env map[string]string) host.Host {
	return engineHost{h, env["DOCKER_HOST"], enginePatience}
}

// Probe implements host.Host.
func (e engineHost) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := e.Host.Probe(ctx, req)
	if err != nil || !slices.ContainsFunc(facts.Sockets, func(s host.Socket) bool { return slices.ContainsFunc(s.Holders, involvesContainer) }) {
		return facts, err
	}
	containers, gap := e.list(ctx)
	if gap == nil && !nameHolders(facts.Sockets, containers) {
		gap = &host.Gap{What: fmt.Sprintf("the container engine at %s does not know every container here", e.socket())}
	}
	if gap != nil {
		gap.Holders, gap.Containers = true, true
		facts.Gaps = append(facts.Gaps, *gap)
	}
	if containers == nil {
		nameHolders(facts.Sockets, nil)
	}
	return facts, nil
}

// list asks the engine for its running containers.
func (e engineHost) list(ctx context.Context) ([]container, *host.Gap) {
	if scheme, _, found := strings.Cut(e.address, "://"); found && scheme != "unix" {
		return nil, &host.Gap{What: fmt.Sprintf("DOCKER_HOST is a %s:// address, and this version asks only engines at unix:// sockets", scheme)}
	}
	socket := e.socket()
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	var dialer net.Dialer
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives:  true,
		DisableCompression: true, // 8 MB are 8 MB
	}
	containers, err := listContainers(ctx, transport)
	if err == nil {
		return containers, nil
	}
	gap := &host.Gap{What: fmt.Sprintf("the container engine at %s can't be asked", socket), Op: "GET /containers/json", Errno: host.ErrnoName(err)}
	var failed *net.OpError
	if errors.As(err, &failed) {
		gap.Op = failed.Op
		if failed.Op == "dial" {
			gap.Op = "connect"
			if info, err := os.Stat(socket); err == nil && info.IsDir() {
				gap.What += ": it is a directory, which Docker makes where a socket is missing"
			}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		gap.Errno = "no answer in time"
	}
	return nil, gap
}

func (e engineHost) socket() string {
	if p := strings.TrimPrefix(e.address, "unix://"); p != "" {
		return p
	}
	return engineSocket
}

// listContainers asks by a path without a version, which every engine answers
// by its newest: version 20.10 knows none above 1.41, version 29 none below 1.44,
// and what is read here has been the same since 1.21.
func listContainers(ctx context.Context, engine http.RoundTripper) ([]container, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/containers/json", nil)
	if err != nil {
		return nil, err
	}
	reply, err := engine.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, errors.New("HTTP status " + strconv.Itoa(reply.StatusCode))
	}
	text, err := io.ReadAll(io.LimitReader(reply.Body, engineLimit+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > engineLimit:
		return nil, fmt.Errorf("its answer is larger than %d MB", engineLimit>>20)
	}
	return parseContainers(text)
}

// container is what is used of an engine's entry for one.
type container struct {
	id        string // 64 hexadecimal digits
	info      host.ContainerInfo
	published []port.Endpoint
}

// parseContainers reads the answer to GET /containers/json. It is never nil
// without an error.
func parseContainers(text []byte) ([]container, error) {
	var entries []struct {
		ID     string `json:"Id"`
		Names  []string
		Image  string
		Labels map[string]string
		Ports  []struct {
			IP         string
			PublicPort uint16
			Type       string
		}
	}
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, errors.New("its answer is no list of containers")
	}
	all := []container{}
	for _, e := range entries {
		if !isContainerID(e.ID) {
			continue
		}
		c := container{id: e.ID}
		for _, name := range e.Names {
			// "/other/alias" is a link from another container.
			if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
				c.info.Name = short(name)
				break
			}
		}
		c.info.Image = short(e.Image)
		if project, service := e.Labels["com.docker.compose.project"], e.Labels["com.docker.compose.service"]; project != "" && service != "" {
			c.info.Compose = short(project + "/" + service)
		}
		for _, p := range e.Ports {
			ip, err := netip.ParseAddr(p.IP)
			if p.IP == "" {
				ip, err = netip.IPv4Unspecified(), nil
			}
			if p.PublicPort == 0 || err != nil {
				continue // exposed and not published, or nothing that we know
			}
			// What is published on :: and on 0.0.0.0 has an entry for each.
			c.published = append(c.published, port.Endpoint{
				Protocol: port.Protocol(p.Type), Addr: ip.WithZone(""), Port: p.PublicPort, V6Only: true, Device: ip.Zone(),
			})
		}
		all = append(all, c)
	}
	return all, nil
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
				h.Container, h.Told = containers[c].id, &containers[c].info
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
