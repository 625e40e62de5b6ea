// Package transport is how we get to a host: a table of kinds, each with the
// targets that it takes and how it opens them.
package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// Options are what opening a target needs beside its name.
type Options struct {
	Env      map[string]string // where the container engine is: DOCKER_HOST and the like
	Evidence Evidence
	// Lifetime is how long a helper may live if nobody is left to end it.
	Lifetime time.Duration
	Job      Job
	SSH      *SSH // for ssh:// targets alone
}

// Evidence is how much a helper container may see.
type Evidence string

// The kinds of evidence.
const (
	// Full sees every process of the machine, and so names who holds a port.
	Full Evidence = "full"
	// Basic sees ports alone: it has no right over processes, nor their list.
	Basic Evidence = "basic"
)

// Evidences lists them.
var Evidences = []Evidence{Full, Basic}

// Job is what the CI system says of the job that we are in.
type Job struct {
	// Action: the job runs us as a container action.
	Action bool
	// System is the name of a CI system that may run us in a container of its
	// own making; empty for none.
	System string
	// Container is the ID of the container that the job's steps run in, if any.
	Container string
	// Services are the containers that the job has started beside it: ID -> name.
	Services map[string]string
	// Chosen: nobody named a target, so that it was chosen by what is above.
	Chosen bool
}

// openers has one entry for each of config.TargetKinds.
var openers = map[string]func(context.Context, config.Target, Options) (host.Host, error){
	"auto":      openAuto,
	"local":     openLocal,
	"runner":    openRunner,
	"job":       openJob,
	"container": openContainer,
	"ssh":       openSSH,
}

// Auto is the target that auto stands for in a job: where the job's own ports
// are. An engine's socket beside us changes nothing in that.
func Auto(job Job) string {
	switch {
	case job.Container != "":
		return "job"
	case job.Action:
		return "runner"
	}
	return "local"
}

func openAuto(ctx context.Context, target config.Target, o Options) (host.Host, error) {
	o.Job.Chosen = true
	switch Auto(o.Job) {
	case "job":
		return openJob(ctx, target, o)
	case "runner":
		return openRunner(ctx, target, o)
	}
	return openLocal(ctx, target, o)
}

func openLocal(_ context.Context, _ config.Target, o Options) (host.Host, error) {
	return withEngine(placed{host.Local{}, o.Job.warnOfContainer}, o), nil
}

// placed is a host whose facts say more of the place than the place itself
// knows.
type placed struct {
	host.Host
	place func(context.Context, *host.Facts) error
}

func (p placed) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := p.Host.Probe(ctx, req)
	if err == nil {
		err = p.place(ctx, &facts)
	}
	return facts, err
}

// warnOfContainer says whose ports are tested in a container that nobody asked
// for by name.
func (j Job) warnOfContainer(_ context.Context, facts *host.Facts) error {
	if !j.Chosen || j.System == "" || facts.Machine.Namespace.Kind == host.NamespaceHost {
		return nil
	}
	if _, inside := host.OwnContainer(); inside {
		facts.Gaps = append(facts.Gaps, host.Gap{Kind: host.GapNamespace, What: fmt.Sprintf(
			"these are the ports of the container in which %s runs this job, not those of the machine: to test the machine's mount the engine's socket and use `--target runner`, to test another container's `--target container:NAME`; `--target local` says that this container is meant", j.System)})
	}
	return nil
}

// Open reaches the target with the given text.
func Open(ctx context.Context, text string, o Options) (host.Host, error) {
	target, err := config.ParseTarget(text)
	if err != nil {
		return nil, err
	}
	return openers[target.Kind](ctx, target, o)
}
