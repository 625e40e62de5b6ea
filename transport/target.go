// Package transport opens targets: it turns the text of a target, such as
// "runner" or "ssh://web-1", into a host.Host to probe.
package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// Options are the settings for opening targets.
type Options struct {
	Env      map[string]string // environment variables that locate the container engine, such as DOCKER_HOST
	Evidence Evidence
	// Executable is the path of the program that runs, which has to be that of a
	// helper as well.
	Executable string
	// Lifetime is the time after which a probe on a target ends by itself.
	Lifetime time.Duration
	Job      Job
	SSH      *SSH // for ssh:// targets; may be nil for others
	// Early is for the first probe of a target on this machine; may be nil.
	Early *host.Early

	processes string // the PID mode of keepers, "" for that of a container of its own
}

// Evidence is the level of access of a helper container.
type Evidence string

// The levels of access.
const (
	// Full shows every process of the machine, and so the holders of ports.
	Full Evidence = "full"
	// Basic shows ports without processes.
	Basic Evidence = "basic"
)

// Evidences lists the levels.
var Evidences = []Evidence{Full, Basic}

// Job describes the CI job that we run in.
type Job struct {
	// Action is true if the job runs us as a container action.
	Action bool
	// System is the name of a CI system that may run us in a container that it
	// created; empty for none.
	System string
	// Container is the ID of the container that the job's steps run in, if any.
	Container string
	// Services maps the IDs of the job's service containers to their names.
	Services map[string]string
	// Chosen is true if the user named no target, so that Auto chose it.
	Chosen bool
}

// openers has one entry for each of config.TargetKinds but auto.
var openers = map[string]func(context.Context, config.Target, Options) (host.Host, error){
	"local":     openLocal,
	"runner":    openRunner,
	"job":       openJob,
	"container": openContainer,
	"ssh":       openSSH,
}

// Auto returns the target that "auto" stands for in a job: the one with the ports
// that the job's steps use. It does not depend on whether an engine's socket exists.
func Auto(job Job) string {
	switch {
	case job.Container != "":
		return "job"
	case job.Action:
		return "runner"
	}
	return "local"
}

func openLocal(_ context.Context, _ config.Target, o Options) (host.Host, error) {
	vm := ownVM(o.Env)
	return withEngine(correctedHost{host.OpenLocal(o.Early), func(ctx context.Context, facts *host.Facts) error {
		o.Job.warnOfContainer(o.Early, facts)
		return vm(ctx, facts)
	}}, o), nil
}

// correction corrects and completes what a probe has found out about its network
// namespace, by what the engine or the job is known to be.
type correction func(context.Context, *host.Facts) error

// correctedHost is a host with a correction of its facts.
type correctedHost struct {
	host.Host
	correct correction
}

// Probe implements host.Host.
func (h correctedHost) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := h.Host.Probe(ctx, req)
	if err == nil && req.Survey == nil {
		err = h.correct(ctx, &facts)
	}
	return facts, err
}

// Hold implements host.Leaser.
func (h correctedHost) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	return host.Hold(ctx, h.Host, req)
}

// warnOfContainer warns if the ports are those of a container, and the user did not choose
// that.
func (j Job) warnOfContainer(early *host.Early, facts *host.Facts) {
	ns := facts.Machine.Namespace
	if !j.Chosen || ns.Kind == host.NamespaceHost {
		return
	}
	ids, inside := early.OwnContainer() // a list of mounts, which may be long
	// Without an ID there are only files that mark a container, which a virtual
	// machine made from an image has as well.
	inside = inside && (len(ids) > 0 || j.System != "")
	// A network namespace alone is no container: `ip netns exec` makes one, too.
	inside = inside || ns.Kind == host.NamespaceContainer && !ns.AllProcesses && host.SetUpAsContainer()
	if !inside {
		return
	}
	container := "in which portcheck runs"
	if j.System != "" {
		container = fmt.Sprintf("in which %s runs this job", j.System)
	}
	are := "are"
	if ns.Kind == host.NamespaceUnknown {
		are = "may be"
	}
	facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapNamespace, What: fmt.Sprintf(
		"these %s the ports of the container %s, not the machine's: to test the machine's ports, mount the engine's socket and use `--target runner`, or run the container with `--network host --pid host` (in Kubernetes `hostNetwork` and `hostPID`); to test another container's, use `--target container:NAME`; if this container is the right one, use `--target local`", are, container)})
}

// Open opens the target with the given text, which is what Auto returns for "auto".
func Open(ctx context.Context, text string, o Options) (host.Host, error) {
	target, err := config.ParseTarget(text)
	if err != nil {
		return nil, err
	}
	open, known := openers[target.Kind]
	if !known {
		return nil, fmt.Errorf("%s was not replaced by the target that it stands for", text)
	}
	return open(ctx, target, o)
}
