package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Container is an entry of the engine's list. All of its text is untrusted.
type Container struct {
	ID     string `json:"Id"` // 64 hexadecimal digits
	Names  []string
	Image  string // the name that was given when the container was created
	Labels map[string]string
	Ports  []Port
	// NetworkSettings has the container's addresses in each of its networks.
	NetworkSettings struct{ Networks map[string]Network }
}

// Network is a container's part in a network. An address that it does not have is
// empty.
type Network struct{ IPAddress, GlobalIPv6Address string }

// Name returns the container's own name. A name like "/other/alias" is a link
// from another container.
func (c Container) Name() string {
	for _, name := range c.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}

// Port is a port of a container. PublicPort is 0 unless it is published.
type Port struct {
	IP         string
	PublicPort uint16
	Type       string // tcp, udp, sctp
}

// List returns the running containers that have each of the labels. If all is true,
// it also returns those that do not run.
func (e *Engine) List(ctx context.Context, all bool, labels ...string) ([]Container, error) {
	query := url.Values{}
	if all {
		query.Set("all", "1")
	}
	if len(labels) > 0 {
		filters, err := json.Marshal(map[string][]string{"label": labels})
		if err != nil {
			return nil, err
		}
		query.Set("filters", string(filters))
	}
	var list []Container
	if err := e.do(ctx, http.MethodGet, "/containers/json", query, nil, &list); err != nil {
		return nil, err
	}
	return list, nil
}

// Details is the engine's description of one container.
type Details struct {
	ID      string   `json:"Id"`
	Name    string   // with a leading slash
	Image   string   // the image's ID
	Created string   // a time as in RFC 3339
	Path    string   // of the program that it executes
	Args    []string // of that program
	State   struct {
		Running bool
		Status  string // created, running, exited, dead…
		Pid     int    // of the first process, 0 if it does not run
	}
	// Config.Labels is left out: it merges the image's labels with those that
	// were set for the container, so it does not identify an image.
	Config     struct{ Image string }
	HostConfig struct {
		NetworkMode, PidMode string
		AutoRemove           bool
	}
	Mounts []struct{ Destination string }
}

// Inspect returns the description of a container, by its ID or name.
func (e *Engine) Inspect(ctx context.Context, name string) (d Details, err error) {
	return d, e.do(ctx, http.MethodGet, "/containers/"+url.PathEscape(name)+"/json", nil, nil, &d)
}

// ImageConfig is the part of an image's configuration that a container gets
// without having asked for it.
type ImageConfig struct {
	Labels  map[string]string
	Env     []string            // NAME=VALUE
	Volumes map[string]struct{} // by path
}

// ImageConfig returns the configuration of an image.
func (e *Engine) ImageConfig(ctx context.Context, id string) (ImageConfig, error) {
	var image struct{ Config ImageConfig }
	err := e.do(ctx, http.MethodGet, "/images/"+url.PathEscape(id)+"/json", nil, nil, &image)
	return image.Config, err
}

// Info is what an engine says about itself and its machine.
type Info struct {
	SecurityOptions []string // such as "name=seccomp,profile=builtin" and "name=rootless"
	OperatingSystem string   // "Docker Desktop", "Ubuntu 24.04.1 LTS"
	Name            string   // of its machine: "colima"
}

// Info asks the engine about itself.
func (e *Engine) Info(ctx context.Context) (info Info, err error) {
	return info, e.do(ctx, http.MethodGet, "/info", nil, nil, &info)
}

// Rootless reports whether the engine runs without root. Its "host" network is
// then a network namespace of its own.
func (i Info) Rootless() bool {
	return slices.ContainsFunc(i.SecurityOptions, func(o string) bool { return strings.Contains(o, "name=rootless") })
}

// VM returns the program in whose virtual machine the engine runs, empty if it is known
// of none. Podman Machine is known only where its machine has kept its name: the engine
// calls the system "fedora", like any other.
func (i Info) VM() string {
	for _, vm := range []struct{ program, system, name string }{
		{"Docker Desktop", "Docker Desktop", "docker-desktop"},
		{"OrbStack", "OrbStack", "orbstack"},
		{"Rancher Desktop", "Rancher Desktop WSL Distribution", "lima-rancher-desktop"},
		{"Colima", "", "colima"},
		{"Podman Machine", "", "podman-machine"},
	} {
		if i.OperatingSystem != "" && i.OperatingSystem == vm.system || i.Name == vm.name || strings.HasPrefix(i.Name, vm.name+"-") {
			return vm.program
		}
	}
	return ""
}

// Spec is the configuration of a container to create.
type Spec struct {
	Image        string
	Entrypoint   []string
	Cmd          []string
	User         string
	Env          []string
	Healthcheck  Healthcheck
	Labels       map[string]string
	WorkingDir   string
	OpenStdin    bool
	StdinOnce    bool
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	HostConfig   HostConfig
}

// HostConfig is the part of a Spec about isolation from the machine.
type HostConfig struct {
	NetworkMode    string
	PidMode        string `json:",omitempty"`
	UsernsMode     string `json:",omitempty"`
	CgroupnsMode   string `json:",omitempty"`
	CapDrop        []string
	CapAdd         []string
	SecurityOpt    []string
	ReadonlyRootfs bool
	AutoRemove     bool
	LogConfig      LogConfig
	Memory         int64 // bytes
	MemorySwap     int64 // bytes of memory and swap together
	PidsLimit      int64 // processes and threads
}

// Healthcheck is a command that the engine runs in the container. The test NONE
// disables that of the image.
type Healthcheck struct{ Test []string }

// LogConfig selects the logging driver.
type LogConfig struct{ Type string }

// Create creates a container and returns its ID.
func (e *Engine) Create(ctx context.Context, name string, spec Spec) (string, error) {
	var created struct {
		ID string `json:"Id"`
	}
	err := e.do(ctx, http.MethodPost, "/containers/create", url.Values{"name": {name}}, spec, &created)
	return created.ID, err
}

// Start starts a container.
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.do(ctx, http.MethodPost, "/containers/"+url.PathEscape(id)+"/start", nil, nil, nil)
}

// Remove removes a container, by ID or name, running or not. Its volumes stay. It
// is not an error if the container does not exist.
func (e *Engine) Remove(ctx context.Context, name string) error {
	err := e.do(ctx, http.MethodDelete, "/containers/"+url.PathEscape(name), url.Values{"force": {"1"}}, nil, nil)
	if IsNotFound(err) {
		return nil
	}
	var r *Refusal
	if errors.As(err, &r) && r.Status == http.StatusConflict {
		return nil // a removal is already in progress
	}
	return err
}
