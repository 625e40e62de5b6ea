package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/transport/internal/engine"
)

// openRunner reaches the machine that runs this job: here, if we share its
// network namespace and see its processes; else by a helper container that does.
func openRunner(ctx context.Context, _ config.Target, o Options) (host.Host, error) {
	here := withEngine(host.Local{}, o)
	machine := host.Local{}.Machine()
	ns := machine.Namespace
	_, inside := host.OwnContainer()
	if ns.AllProcesses && (ns.Kind == host.NamespaceHost || ns.Kind == host.NamespaceUnknown && !inside) || machine.OS != "linux" {
		return here, nil
	}
	h, err := besides(ctx, o, func(e *engine.Engine, self engine.Details) (host.Host, error) {
		if self.HostConfig.NetworkMode == "host" && ns.AllProcesses {
			return placed{here, sharesHost(e)}, nil
		}
		return newSibling(ctx, e, self.Image, "host", o, sharesHost(e))
	})
	switch {
	case err == nil:
		return h, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ns.Kind == host.NamespaceHost:
		return placed{here, func(_ context.Context, facts *host.Facts) error {
			facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapHolders, What: "the processes of the machine can't be seen from this container's PID namespace, and a helper container can't be had: " + err.Error()})
			return nil
		}}, nil
	}
	err = fmt.Errorf("this would test the container, not the runner: %w", err)
	if o.Job.Chosen {
		err = fmt.Errorf("%w (`target: local` tests this container's ports)", err)
	}
	return nil, err
}

// sharesHost says of a network namespace that the engine calls the host's what
// that is worth.
func sharesHost(e *engine.Engine) func(context.Context, *host.Facts) error {
	return func(ctx context.Context, facts *host.Facts) error {
		ns := &facts.Machine.Namespace
		if ns.Kind == host.NamespaceHost {
			return nil
		}
		rootless, err := e.Rootless(ctx)
		switch {
		case err != nil:
			return err
		case rootless:
			*ns = host.Namespace{Kind: host.NamespaceUnknown, Inode: ns.Inode, Reason: "the engine's own, which runs without root"}
			facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapNamespace, What: fmt.Sprintf("the container engine at %s runs without root: these are the ports of its own network namespace, and others of this machine can be taken", e)})
		case ns.Kind == host.NamespaceContainer && ns.AllProcesses:
			// Proven: the engine itself is in a container.
			facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapNamespace, What: fmt.Sprintf("the container engine at %s runs in a network namespace of its own: these are the ports there", e)})
		default:
			ns.Kind, ns.Reason = host.NamespaceHost, "the container engine says so"
		}
		return nil
	}
}

// openJob reaches the container in which the steps of this job run.
func openJob(ctx context.Context, _ config.Target, o Options) (host.Host, error) {
	if o.Job.Container == "" {
		return nil, errors.New("this job has no container of its own, or did not say which (input job-container)")
	}
	return openContainer(ctx, config.Target{Kind: "container", Name: o.Job.Container}, o)
}

// openContainer reaches the network namespace of a container by a helper that
// joins it.
func openContainer(ctx context.Context, target config.Target, o Options) (host.Host, error) {
	name := target.Name
	return besides(ctx, o, func(e *engine.Engine, self engine.Details) (host.Host, error) {
		c, err := e.Inspect(ctx, name)
		switch {
		case engine.IsNotFound(err):
			return nil, fmt.Errorf("the container engine at %s knows no container %q", e, name)
		case err != nil:
			return nil, err
		case !c.State.Running:
			return nil, fmt.Errorf("container %q does not run, so it has no ports", name)
		}
		return newSibling(ctx, e, self.Image, joinNetwork+c.ID, o, func(_ context.Context, facts *host.Facts) error {
			ns := &facts.Machine.Namespace
			if ns.Kind != host.NamespaceHost { // --network host
				ns.Kind, ns.Reason = host.NamespaceContainer, "a helper has joined that of "+strings.TrimPrefix(c.Name, "/")
			}
			return nil
		})
	})
}

// joinNetwork begins the network mode of a container that shares the network
// namespace of another one, whose ID or name follows.
const joinNetwork = "container:"

// besides opens a host by the engine that has started us. The engine is closed
// with the host.
func besides(ctx context.Context, o Options, open func(*engine.Engine, engine.Details) (host.Host, error)) (host.Host, error) {
	e, err := engine.New(o.Env)
	if err != nil {
		return nil, err
	}
	self, err := findSelf(ctx, e)
	if err == nil {
		var h host.Host
		if h, err = open(e, self); err == nil {
			return h, nil
		}
	}
	e.Close()
	return nil, err
}

// imageLabel marks our images, with the version of the conversation that the
// probe in them speaks. Only such an image is started as a helper.
const imageLabel = "io.github.org.portcheck.probe"

var errNotInside = errors.New("this needs a helper container of portcheck's own image, and portcheck runs in none: start it from its image, with the engine's socket mounted (docker run --rm -v /var/run/docker.sock:/var/run/docker.sock IMAGE portcheck …)")

// findSelf finds the container that we run in. What the system tells of it may
// be another's, so that only one of an image of ours is taken.
func findSelf(ctx context.Context, e *engine.Engine) (engine.Details, error) {
	ids, _ := host.OwnContainer()
	if len(ids) == 0 {
		return engine.Details{}, errNotInside
	}
	var seen []engine.Details
	for _, id := range ids {
		d, err := e.Inspect(ctx, id)
		if engine.IsNotFound(err) {
			continue
		}
		if err != nil {
			return engine.Details{}, err
		}
		if ours, err := isOurs(ctx, e, d.Image); err != nil || ours {
			return d, err
		}
		seen = append(seen, d)
	}
	// With --network container:X what we see is X's.
	joined, err := joinedTo(ctx, e, seen)
	switch {
	case err != nil:
		return engine.Details{}, err
	case len(joined) > 0 && !slices.ContainsFunc(joined, func(d engine.Details) bool { return d.Image != joined[0].Image }):
		return joined[0], nil
	case len(joined) > 0:
		return engine.Details{}, errors.New("several containers of portcheck share this network namespace, and which of them this is can't be told")
	case len(seen) > 0:
		return engine.Details{}, fmt.Errorf("this container's image, %q, is not one of portcheck's with this version, so no helper can be started from it", seen[0].Config.Image)
	}
	return engine.Details{}, fmt.Errorf("the container engine at %s does not know this container: it is on another machine, or another engine has started us; mount the socket of the one that has", e)
}

func isOurs(ctx context.Context, e *engine.Engine, image string) (bool, error) {
	labels, err := e.ImageLabels(ctx, image)
	return labels[imageLabel] == strconv.Itoa(wire.Version), err
}

// joinedTo are the containers of our images that share the network
// namespace of one of those given.
func joinedTo(ctx context.Context, e *engine.Engine, others []engine.Details) ([]engine.Details, error) {
	if len(others) == 0 {
		return nil, nil
	}
	// All, since the engine may not know yet that we run.
	all, err := e.List(ctx, true, imageLabel)
	if err != nil {
		return nil, err
	}
	var joined []engine.Details
	for _, c := range all {
		d, err := e.Inspect(ctx, c.ID)
		if engine.IsNotFound(err) {
			continue // it has ended since
		}
		if err != nil {
			return nil, err
		}
		mode, isJoined := strings.CutPrefix(d.HostConfig.NetworkMode, joinNetwork)
		i := slices.IndexFunc(others, func(o engine.Details) bool { return mode == o.ID || mode == strings.TrimPrefix(o.Name, "/") })
		if !isJoined || i < 0 || d.State.Status == "exited" || d.State.Status == "dead" {
			continue
		}
		ours, err := isOurs(ctx, e, d.Image) // a container's labels can be anybody's
		if err != nil {
			return nil, err
		}
		if ours {
			// The network that both have joined.
			d.HostConfig.NetworkMode = others[i].HostConfig.NetworkMode
			joined = append(joined, d)
		}
	}
	return joined, nil
}
