package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/transport/internal/engine"
)

// openRunner opens the machine that runs this job: locally if we share its
// network namespace and see its processes, else by a helper container that does.
func openRunner(ctx context.Context, _ config.Target, o Options) (host.Host, error) {
	machine := host.Local{}.Machine()
	_, inContainer := host.OwnContainer()
	if seesRunner(machine, inContainer) {
		if inContainer {
			return withEngine(correctedHost{newKeeperHost(host.Local{}, o), ownVM(o.Env)}, o), nil
		}
		return withEngine(host.Local{}, o), nil
	}
	return openRunnerByEngine(ctx, machine.Namespace, o)
}

// seesRunner reports whether a local probe has the network namespace and the
// processes of the machine that runs this job.
func seesRunner(m host.Machine, inContainer bool) bool {
	ns := m.Namespace
	switch {
	case m.OS != "linux":
		return true
	case !ns.AllProcesses:
		return false
	}
	return ns.Kind == host.NamespaceHost || ns.Kind == host.NamespaceUnknown && !inContainer
}

// openRunnerByEngine opens the machine that runs this job from a container in
// the network namespace ns.
func openRunnerByEngine(ctx context.Context, ns host.Namespace, o Options) (host.Host, error) {
	_, inside := host.OwnContainer()
	here := withEngine(newKeeperHost(host.Local{}, o), o)
	h, err := openByEngine(ctx, o, func(e *engine.Engine, self engine.Details) (host.Host, error) {
		if self.HostConfig.NetworkMode == hostMode && ns.AllProcesses {
			return correctedHost{here, hostNetwork(e)}, nil
		}
		return newHelper(ctx, e, self.Image, hostMode, o, hostNetwork(e))
	})
	switch {
	case err == nil:
		return h, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ns.Kind == host.NamespaceHost:
		here := withEngine(host.Local{}, o)
		if !inside {
			return here, nil // what it can't see of other processes, it says itself
		}
		k := newKeeperHost(host.Local{}, o)
		k.reason = err
		here.Host = k
		return correctedHost{here, func(_ context.Context, facts *host.Facts) error {
			facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapHolders, What: "the processes of the machine can't be seen from this container's PID namespace, and there is no helper container: " + err.Error()})
			return nil
		}}, nil
	}
	if errors.Is(err, errNotInside) {
		return nil, fmt.Errorf("the network namespace here is not the runner's: %w", err)
	}
	err = fmt.Errorf("this would test the container, not the runner: %w", err)
	if o.Job.Chosen {
		err = fmt.Errorf("%w (`target: local` tests this container's ports)", err)
	}
	return nil, err
}

// hostNetwork returns the correction for facts from the engine's "host" network,
// which is the machine's only if the engine itself runs there.
func hostNetwork(e *engine.Engine) correction {
	ask := rememberInfo(e)
	return func(ctx context.Context, facts *host.Facts) error {
		ns := &facts.Machine.Namespace
		if ns.Kind == host.NamespaceHost {
			nameOwnVM(ctx, e, ask, facts)
			return nil
		}
		info, err := ask(ctx)
		if err == nil {
			nameVM(e, info, facts)
		}
		switch {
		case err != nil:
			return err
		case info.Rootless():
			*ns = host.Namespace{Kind: host.NamespaceUnknown, Inode: ns.Inode, Reason: "that of the container engine, which runs without root", VM: ns.VM}
			facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapNamespace, What: fmt.Sprintf("the container engine at %s runs without root: these are the ports of its own network namespace, not the machine's", e)})
		case ns.Kind == host.NamespaceContainer && ns.AllProcesses:
			// With all processes in view this is certain: the engine itself
			// runs in a container.
			facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapNamespace, What: fmt.Sprintf("the container engine at %s runs in its own network namespace: these are the ports there, not the machine's", e)})
		default:
			ns.Kind, ns.Reason = host.NamespaceHost, "according to the container engine"
		}
		return nil
	}
}

// rememberInfo returns a function that asks an engine about itself until it has answered.
func rememberInfo(e *engine.Engine) func(context.Context) (engine.Info, error) {
	var known atomic.Pointer[engine.Info]
	return func(ctx context.Context) (engine.Info, error) {
		if info := known.Load(); info != nil {
			return *info, nil
		}
		info, err := e.Info(ctx)
		if err == nil {
			known.Store(&info)
		}
		return info, err
	}
}

// nameOwnVM is nameVM for a machine of which everything else is known: an engine that does
// not answer soon is not waited for.
func nameOwnVM(ctx context.Context, e *engine.Engine, ask func(context.Context) (engine.Info, error), facts *host.Facts) {
	ctx, cancel := context.WithTimeout(ctx, namingTimeout)
	defer cancel()
	if info, err := ask(ctx); err == nil {
		nameVM(e, info, facts)
	}
}

// nameVM says of facts about the engine's machine that it is a virtual one.
func nameVM(e *engine.Engine, info engine.Info, facts *host.Facts) {
	vm := info.VM()
	if vm == "" {
		return
	}
	facts.Machine.Namespace.VM = vm
	machine := ""
	if name := short(info.Name); name != "" {
		machine = fmt.Sprintf(" %q", name)
	}
	facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapNamespace, What: fmt.Sprintf(
		"the container engine at %s runs in the virtual machine%s of %s: these are the ports there, not those of the computer around it; to test these, install portcheck there", e, machine, vm)})
}

// ownVM is a correction that names the virtual machine around this container, if its
// engine can be asked. Only an engine on the same machine is: a socket leads to no other.
func ownVM(env map[string]string) correction {
	open := sync.OnceValue(func() func(context.Context, *host.Facts) {
		e, err := engine.New(env)
		if err != nil || e.Socket() == "" {
			return func(context.Context, *host.Facts) {}
		}
		ask := rememberInfo(e)
		return func(ctx context.Context, facts *host.Facts) {
			nameOwnVM(ctx, e, ask, facts)
			e.Close() // what it has said is remembered
		}
	})
	return func(ctx context.Context, facts *host.Facts) error {
		if facts.Machine.Namespace.Kind != host.NamespaceHost {
			return nil
		}
		if _, inside := host.OwnContainer(); inside {
			open()(ctx, facts)
		}
		return nil
	}
}

// openJob opens the container in which the steps of this job run.
func openJob(ctx context.Context, _ config.Target, o Options) (host.Host, error) {
	if o.Job.Container == "" {
		return nil, errors.New("this job has no container of its own, or its ID is not set (input job-container)")
	}
	return openContainer(ctx, config.Target{Kind: "container", Name: o.Job.Container}, o)
}

// openContainer opens the network namespace of a container by a helper that
// joins it.
func openContainer(ctx context.Context, target config.Target, o Options) (host.Host, error) {
	name := target.Name
	return openByEngine(ctx, o, func(e *engine.Engine, self engine.Details) (host.Host, error) {
		c, err := e.Inspect(ctx, name)
		switch {
		case engine.IsNotFound(err):
			return nil, fmt.Errorf("the container engine at %s has no container %q", e, name)
		case err != nil:
			return nil, err
		case !c.State.Running:
			return nil, fmt.Errorf("container %q is not running, so it has no ports", name)
		}
		o.processes = processesOf(c)
		return newHelper(ctx, e, self.Image, joinNetwork+c.ID, o, func(_ context.Context, facts *host.Facts) error {
			ns := &facts.Machine.Namespace
			if ns.Kind != host.NamespaceHost { // --network host
				ns.Kind, ns.Reason = host.NamespaceContainer, "a helper has joined that of "+strings.TrimPrefix(c.Name, "/")
			}
			return nil
		})
	})
}

// processesOf returns the PID mode of a container that joins the PID namespace of another
// one, so that the kernel ends it with the other's first process: pid_namespaces(7). It
// is empty if that container has none of its own, and so shows the machine's processes.
func processesOf(c engine.Details) string {
	if mode := c.HostConfig.PidMode; mode != "" && mode != "private" {
		return ""
	}
	return joinNetwork + c.ID
}

// joinNetwork is the prefix of the network mode of a container that shares
// another container's network namespace. That container's ID or name follows.
const joinNetwork = "container:"

// openByEngine calls open with the engine and with the container that we run in.
// The engine is closed with the host.
func openByEngine(ctx context.Context, o Options, open func(*engine.Engine, engine.Details) (host.Host, error)) (host.Host, error) {
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

// imageLabel is the label of portcheck's images. Its value is the version of the
// probe protocol. Helpers are created only from an image with this label and our
// version, which any image can have: provenOurs decides whether one is started.
const imageLabel = "io.github.org.portcheck.probe"

var errNotInside = errors.New("this needs a helper container from portcheck's image, and portcheck does not run in a container of an engine: start it from its image, with the engine's socket mounted (docker run --rm -v /var/run/docker.sock:/var/run/docker.sock IMAGE portcheck …, or podman run with -v /run/podman/podman.sock:/run/podman/podman.sock)")

// findSelf finds the container that we run in. The IDs that the system shows may
// be those of another container, so only one from an image of ours counts.
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
	// With --network container:X the visible ID is that of X.
	joined, err := joinedTo(ctx, e, seen)
	switch {
	case err != nil:
		return engine.Details{}, err
	case len(joined) > 0 && !slices.ContainsFunc(joined, func(d engine.Details) bool { return d.Image != joined[0].Image }):
		return joined[0], nil
	case len(joined) > 0:
		return engine.Details{}, errors.New("several containers from different portcheck images share this network namespace, so the image for a helper is ambiguous")
	case len(seen) > 0:
		return engine.Details{}, fmt.Errorf("this container's image, %q, is not a portcheck image of this version, so no helper can be started from it", seen[0].Config.Image)
	}
	return engine.Details{}, fmt.Errorf("the container engine at %s has no record of this container: it is on another machine, or another engine started the container; mount the socket of that engine", e)
}

// isOurs reports whether an image has portcheck's label with our version of the
// probe protocol. provenOurs has the proof.
func isOurs(ctx context.Context, e *engine.Engine, image string) (bool, error) {
	config, err := e.ImageConfig(ctx, image)
	return config.Labels[imageLabel] == strconv.Itoa(wire.Version), err
}

// joinedTo returns the containers from our images that share the network
// namespace of one of others.
func joinedTo(ctx context.Context, e *engine.Engine, others []engine.Details) ([]engine.Details, error) {
	if len(others) == 0 {
		return nil, nil
	}
	// All, since the engine may not list us as running yet.
	all, err := e.List(ctx, true, imageLabel)
	if err != nil {
		return nil, err
	}
	var joined []engine.Details
	for _, c := range all {
		d, err := e.Inspect(ctx, c.ID)
		if engine.IsNotFound(err) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		mode, isJoined := strings.CutPrefix(d.HostConfig.NetworkMode, joinNetwork)
		i := slices.IndexFunc(others, func(o engine.Details) bool { return mode == o.ID || mode == strings.TrimPrefix(o.Name, "/") })
		if !isJoined || i < 0 || d.State.Status == "exited" || d.State.Status == "dead" {
			continue
		}
		ours, err := isOurs(ctx, e, d.Image) // a container's labels can be set by anyone
		if err != nil {
			return nil, err
		}
		if ours {
			// The network of the namespace that both share.
			d.HostConfig.NetworkMode = others[i].HostConfig.NetworkMode
			joined = append(joined, d)
		}
	}
	return joined, nil
}
