package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/transport/internal/engine"
)

const (
	// keeperLabel marks the container of a keeper. Its value is the ID of the lease.
	keeperLabel = "io.github.org.portcheck.keeper"

	// keeperMemory is the memory of a keeper: one of 4,096 ports takes 12 MB of its own,
	// and the kernel some for its sockets.
	keeperMemory = 128 << 20
	// keeperReplyLimit is the size limit of the reply of a keeper that starts.
	keeperReplyLimit = 1 << 20

	privilegedPorts = 1024 // the ports below can need a right
)

// keepers are the containers of keepers that nobody has confirmed yet. They end with the
// host that has started them.
type keepers struct{ pending []started }

type started struct{ lease, container string }

// add adds the keeper of a lease.
func (k *keepers) add(lease, container string) {
	k.pending = append(k.pending, started{lease, container})
}

// note notes what a request has changed.
func (k *keepers) note(req host.LeaseRequest, reply host.LeaseReply) {
	switch {
	case req.Confirm:
		k.pending = nil
	case reply.Released:
		k.pending = slices.DeleteFunc(k.pending, func(s started) bool { return s.lease == req.Release.ID })
	}
}

// end ends the keepers.
func (k *keepers) end(e *engine.Engine) {
	for _, s := range k.pending {
		(&helper{engine: e, name: s.container}).remove()
	}
	k.pending = nil
}

// keeperHost is a host of which the keepers live in containers of their own, so that
// they outlive the container that this process runs in.
type keeperHost struct {
	host.Host
	options Options
	reason  error // if set, why there can be no such container
	keepers *keepers
}

// newKeeperHost returns a host of which the keepers live in containers beside our own.
func newKeeperHost(h host.Host, o Options) keeperHost {
	return keeperHost{Host: h, options: o, keepers: &keepers{}}
}

// Hold implements host.Leaser.
func (k keeperHost) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	if req.Start == nil {
		reply, err := host.Hold(ctx, k.Host, req)
		k.keepers.note(req, reply)
		return reply, err
	}
	if k.reason != nil {
		return host.LeaseReply{}, fmt.Errorf("the process that holds the ports would end with this container: %w", k.reason)
	}
	var reply host.LeaseReply
	_, err := openByEngine(ctx, k.options, func(e *engine.Engine, self engine.Details) (host.Host, error) {
		spec, err := helperSpec(ctx, e, self.Image, hostMode, k.options)
		name := ""
		if err == nil {
			reply, name, err = startKeeper(ctx, e, k.options.Executable, []engine.Spec{keeperSpec(spec, req)}, req)
		}
		if err == nil {
			e.Close()
		}
		if name != "" {
			k.keepers.add(req.Start.ID, name)
		}
		return nil, err
	})
	return reply, err
}

// Close implements host.Host.
func (k keeperHost) Close() error {
	if len(k.keepers.pending) > 0 {
		if e, err := engine.New(k.options.Env); err == nil {
			defer e.Close()
			k.keepers.end(e)
		}
	}
	return k.Host.Close()
}

// Hold implements host.Leaser.
func (h *helper) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	if req.Start == nil {
		reply, err := host.Hold(ctx, h.Host, req)
		h.keepers.note(req, reply)
		return reply, h.explain(ctx, err)
	}
	spec := keeperSpec(h.spec, req)
	specs := []engine.Spec{spec}
	if h.processes != "" {
		joined := spec
		joined.HostConfig.PidMode = h.processes
		specs = []engine.Spec{joined, spec}
	}
	reply, name, err := startKeeper(ctx, h.engine, h.program, specs, req)
	if name != "" {
		h.keepers.add(req.Start.ID, name)
	}
	return reply, err
}

// keeperSpec returns the configuration of a keeper's container, from that of a helper in
// the same network namespace. It has no access to other processes, and no right but that
// to bind privileged ports if the job may get some.
func keeperSpec(spec engine.Spec, req host.LeaseRequest) engine.Spec {
	spec.Cmd = []string{"keep"}
	spec.Labels = map[string]string{
		keeperLabel:   req.Start.ID,
		deadlineLabel: strconv.FormatInt(req.Start.Expires.Unix(), 10),
	}
	c := &spec.HostConfig
	c.PidMode, c.CgroupnsMode, c.CapAdd = "", "", []string{}
	c.SecurityOpt = slices.DeleteFunc(slices.Clone(c.SecurityOpt), func(o string) bool { return strings.HasPrefix(o, "apparmor=") })
	c.Memory, c.MemorySwap = keeperMemory, keeperMemory
	for _, w := range req.Start.Wants {
		if slices.ContainsFunc(w.Ports, func(r port.Range) bool { return r.First < privilegedPorts }) {
			c.CapAdd = []string{"NET_BIND_SERVICE"}
		}
	}
	return spec
}

// startKeeper starts a keeper by the first of the specs that the engine does not refuse.
// It returns its reply, and the name of its container, which ends with the keeper. The
// name is empty unless the keeper holds what it was asked for.
func startKeeper(ctx context.Context, e *engine.Engine, program string, specs []engine.Spec, req host.LeaseRequest) (reply host.LeaseReply, container string, err error) {
	own, err := openProgram(program)
	if err != nil {
		return reply, "", fmt.Errorf("a container to hold the ports can't be started: %w", err)
	}
	defer own.Close()
	for _, spec := range specs {
		reply, container, err = runKeeper(ctx, e, spec, own, req)
		var refused *engine.Refusal
		if err == nil || !errors.As(err, &refused) || engine.IsNotFound(err) {
			break
		}
	}
	return reply, container, err
}

// runKeeper starts a keeper with a spec. Unless it holds what it was asked for, its
// container is removed.
func runKeeper(ctx context.Context, e *engine.Engine, spec engine.Spec, own *os.File, req host.LeaseRequest) (reply host.LeaseReply, container string, err error) {
	k := &helper{engine: e, name: helperName()}
	if err := k.start(ctx, spec, own); err != nil {
		return reply, "", fmt.Errorf("a container to hold the ports can't be started: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { k.stream.Close() })
	reply, err = converseWithKeeper(k.stream, req)
	if !stop() {
		err = ctx.Err()
	}
	if err == nil && reply.Unmet == nil {
		k.stream.Close() // and with it the keeper's stdin
		return reply, k.name, nil
	}
	err = k.explain(ctx, err)
	k.remove()
	return reply, "", err
}

// converseWithKeeper sends a keeper its request and returns its reply.
func converseWithKeeper(stream io.ReadWriter, req host.LeaseRequest) (host.LeaseReply, error) {
	var reply struct {
		host.LeaseReply
		Error string
	}
	err := json.NewEncoder(stream).Encode(req.Start)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(stream, keeperReplyLimit)).Decode(&reply)
	}
	switch {
	case err != nil:
		return host.LeaseReply{}, fmt.Errorf("the process that holds the ports has not answered: %w", err)
	case reply.Error != "":
		return host.LeaseReply{}, errors.New(reply.Error)
	}
	return host.LeaseReply{First: reply.First, Unmet: reply.Unmet}, nil
}

// isUnstartedKeeper reports whether a container is as runKeeper creates it from our
// image, and was never started. One that was started ends by itself.
func isUnstartedKeeper(d engine.Details, image string) bool {
	return isHelperName(strings.TrimPrefix(d.Name, "/")) && d.Image == image && d.State.Status == "created" &&
		d.Path == helperPath && slices.Equal(d.Args, []string{"keep"}) && d.HostConfig.AutoRemove && len(d.Mounts) == 0
}
