// Package target is how we get to a host: a table of kinds, each with the
// targets that it takes and how it opens them.
package target

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/target/internal/sshlink"
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

// kind opens one sort of target.
type kind struct {
	name     string
	label    string                  // of a target that was given no name; "" is its own text
	connects bool                    // to a machine that the target names
	takes    func(spec string) bool  // whether it is of this kind
	wrong    func(spec string) error // what is wrong with it; nil: nothing can be
	open     func(ctx context.Context, spec string, o Options) (host.Host, error)
}

var kinds = []kind{
	{name: "auto", takes: is("auto"), open: openAuto},
	{name: "local", label: "local", takes: is("local"), open: openLocal},
	{name: "runner", label: "runner", takes: is("runner"), open: openRunner},
	{name: "job", label: "job", takes: is("job"), open: openJob},
	{name: "container:NAME", takes: starts(containerPrefix), open: openContainer},
	{name: "ssh://[user@]host[:port]", connects: true, takes: starts("ssh://"), wrong: sshlink.Check, open: openSSH},
}

const containerPrefix = "container:"

func is(name string) func(string) bool { return func(spec string) bool { return spec == name } }

func starts(prefix string) func(string) bool {
	return func(spec string) bool { return strings.HasPrefix(spec, prefix) && len(spec) > len(prefix) }
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

func openAuto(ctx context.Context, spec string, o Options) (host.Host, error) {
	o.Job.Chosen = true
	switch Auto(o.Job) {
	case "job":
		return openJob(ctx, spec, o)
	case "runner":
		return openRunner(ctx, spec, o)
	}
	return openLocal(ctx, spec, o)
}

func openLocal(_ context.Context, _ string, o Options) (host.Host, error) {
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
		facts.Gaps = append(facts.Gaps, host.Gap{Place: true, What: fmt.Sprintf(
			"these are the ports of the container in which %s runs this job, not those of the machine: to test the machine's mount the engine's socket and use `--target runner`, to test another container's `--target container:NAME`; `--target local` says that this container is meant", j.System)})
	}
	return nil
}

// Label is the name of a target that was given none: its kind's, else itself.
func Label(spec string) string {
	if k, err := find(spec); err == nil && k.label != "" {
		return k.label
	}
	return spec
}

// Known says what is wrong with a target: it is of no kind that portcheck has a
// name for, or can't be one of its kind.
func Known(spec string) error {
	k, err := find(spec)
	if err == nil && k.wrong != nil {
		err = k.wrong(spec)
	}
	return err
}

// Connects says whether opening a target connects to a machine that the target
// names, so that whoever writes it says where to.
func Connects(spec string) bool {
	k, err := find(spec)
	return err == nil && k.connects
}

// Open reaches a target.
func Open(ctx context.Context, spec string, o Options) (host.Host, error) {
	if err := Known(spec); err != nil {
		return nil, err
	}
	k, err := find(spec)
	if err != nil {
		return nil, err
	}
	return k.open(ctx, spec, o)
}

func find(spec string) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.takes(spec) })
	if i < 0 {
		var names []string
		for _, k := range kinds {
			names = append(names, k.name)
		}
		return kind{}, fmt.Errorf("target %q is of no known kind; want one of: %s", spec, strings.Join(names, ", "))
	}
	return kinds[i], nil
}
