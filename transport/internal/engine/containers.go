package engine

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// Container is an entry of the engine's list. All of its text is anybody's.
type Container struct {
	ID     string `json:"Id"` // 64 hexadecimal digits
	Names  []string
	Image  string // the name by which it was started
	Labels map[string]string
	Ports  []Port
}

// Name is the container's own; "/other/alias" is a link from another one.
func (c Container) Name() string {
	for _, name := range c.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}

// Port is a port of a container. PublicPort is 0 if it is not published.
type Port struct {
	IP         string
	PublicPort uint16
	Type       string // tcp, udp, sctp
}

// List lists running containers; with all those that are not, too. Labels, if
// any, narrows it to those that have all of them.
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
	if err := e.ask(ctx, http.MethodGet, "/containers/json", query, nil, &list); err != nil {
		return nil, err
	}
	return list, nil
}

// Details are what the engine says of one container.
type Details struct {
	ID    string `json:"Id"`
	Name  string // with a leading slash
	Image string // the image's ID
	State struct {
		Running bool
		Status  string // created, running, exited, dead…
	}
	// Config.Labels has the image's labels, too: those are no proof of an image.
	Config     struct{ Image string }
	HostConfig struct{ NetworkMode, PidMode string }
}

// Inspect describes a container by its ID or name.
func (e *Engine) Inspect(ctx context.Context, name string) (d Details, err error) {
	return d, e.ask(ctx, http.MethodGet, "/containers/"+url.PathEscape(name)+"/json", nil, nil, &d)
}

// ImageLabels are the labels of an image.
func (e *Engine) ImageLabels(ctx context.Context, id string) (map[string]string, error) {
	var image struct {
		Config struct{ Labels map[string]string }
	}
	err := e.ask(ctx, http.MethodGet, "/images/"+url.PathEscape(id)+"/json", nil, nil, &image)
	return image.Config.Labels, err
}

// Rootless says whether the engine runs without root: then its host network is
// a namespace of its own.
func (e *Engine) Rootless(ctx context.Context) (bool, error) {
	var info struct{ SecurityOptions []string }
	if err := e.ask(ctx, http.MethodGet, "/info", nil, nil, &info); err != nil {
		return false, err
	}
	for _, o := range info.SecurityOptions {
		if strings.Contains(o, "name=rootless") {
			return true, nil
		}
	}
	return false, nil
}

// Spec is a container to be made.
type Spec struct {
	Image        string
	Entrypoint   []string
	Cmd          []string
	User         string
	Env          []string
	Labels       map[string]string
	WorkingDir   string
	OpenStdin    bool
	StdinOnce    bool
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	HostConfig   HostConfig
}

// HostConfig is how a container is set apart from the machine.
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
}

// LogConfig is where the engine keeps what a container writes.
type LogConfig struct{ Type string }

// Create makes a container and returns its ID.
func (e *Engine) Create(ctx context.Context, name string, spec Spec) (string, error) {
	var made struct {
		ID string `json:"Id"`
	}
	err := e.ask(ctx, http.MethodPost, "/containers/create", url.Values{"name": {name}}, spec, &made)
	return made.ID, err
}

// Start starts a container.
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.ask(ctx, http.MethodPost, "/containers/"+url.PathEscape(id)+"/start", nil, nil, nil)
}

// Remove removes a container by its ID or name, running or not, with its
// volumes. One that does not exist any more is no error.
func (e *Engine) Remove(ctx context.Context, name string) error {
	err := e.ask(ctx, http.MethodDelete, "/containers/"+url.PathEscape(name), url.Values{"force": {"1"}, "v": {"1"}}, nil, nil)
	if IsNotFound(err) {
		return nil
	}
	if r, refused := err.(*Refusal); refused && r.Status == http.StatusConflict {
		return nil // its removal is under way already
	}
	return err
}
