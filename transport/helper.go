package transport

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/transport/internal/engine"
)

const (
	// deadlineLabel marks a helper container. Its value is the Unix time at
	// which the helper has ended by itself.
	deadlineLabel = "io.github.org.portcheck.deadline"
	// sweepDelay is the time after a helper's deadline when others remove it.
	sweepDelay = 15 * time.Second
	sweepLimit = 16 // expired helpers that one start removes

	helperReplyLimit = 16 << 20        // bytes; a socket with its holder takes about 500
	cleanupTimeout   = 2 * time.Second // to end and remove a probe after its use, or after a cancellation
)

// helper is a host that is probed by a helper container beside our own.
type helper struct {
	host.Host // exchanges requests and replies
	engine    *engine.Engine
	name      string
	stream    *engine.Stream
	gaps      []host.Gap
	bootID    string // of the machine that we run on
	correct   correction
	sweeping  sync.WaitGroup
}

// newHelper starts a helper from an image in a network namespace: "host" or
// "container:ID".
func newHelper(ctx context.Context, e *engine.Engine, image, network string, o Options, correct correction) (host.Host, error) {
	h := &helper{engine: e, name: "portcheck-" + strings.ToLower(rand.Text()[:12]), correct: correct, bootID: host.Local{}.Machine().BootID}
	h.sweeping.Go(func() { sweep(ctx, e) })
	spec := helperSpec(image, network, o)
	var err error
	for _, v := range variants(o.Evidence) {
		v.change(&spec)
		if v.limitation != "" {
			h.gaps = []host.Gap{{Kind: host.GapHolders, What: v.limitation}}
			if err != nil {
				h.gaps[0].What += fmt.Sprintf(" (%s)", err)
			}
		}
		err = h.start(ctx, spec)
		var refused *engine.Refusal
		if err == nil || !errors.As(err, &refused) || engine.IsNotFound(err) {
			break
		}
	}
	if err != nil {
		h.sweeping.Wait()
		return nil, fmt.Errorf("a helper container can't be started: %w", err)
	}
	h.Host = wire.NewHost(h.stream, helperReplyLimit)
	return withEngine(h, o), nil
}

// variant is a change to a helper's spec, which is tried after the engine has
// refused the spec without it.
type variant struct {
	change     func(*engine.Spec)
	limitation string // what the helper can't see with it
}

func variants(evidence Evidence) []variant {
	const byChoice = "the helper container may not see other processes (evidence: basic), so the holders of ports are unknown"
	if evidence == Basic {
		return []variant{{withoutProcesses, byChoice}, {withoutHostUserNamespace, byChoice}}
	}
	return []variant{
		{func(*engine.Spec) {}, ""},
		{withAppArmor, "the container engine refused a helper without AppArmor confinement: where AppArmor is enabled, other processes can't be inspected"},
		{withoutHostUserNamespace, "the container engine refused a helper in the host's user namespace, so some processes may be invisible"},
		{withoutProcesses, "the container engine refused a helper that sees other processes, so the holders of ports are unknown"},
	}
}

func withAppArmor(s *engine.Spec) { s.HostConfig.SecurityOpt = []string{"no-new-privileges"} }

func withoutHostUserNamespace(s *engine.Spec) {
	s.HostConfig.UsernsMode, s.HostConfig.CgroupnsMode = "", ""
}

// withoutProcesses removes all access to other processes.
func withoutProcesses(s *engine.Spec) {
	withAppArmor(s)
	s.HostConfig.PidMode, s.HostConfig.CgroupnsMode = "", ""
	s.HostConfig.CapAdd = []string{"NET_BIND_SERVICE"}
}

// helperSpec returns the configuration of a container that answers requests on
// its stdin and has access to all processes of the machine.
func helperSpec(image, network string, o Options) engine.Spec {
	return engine.Spec{
		Image:      image,
		Entrypoint: []string{"/usr/local/bin/portcheck"},
		Cmd:        []string{"probe", "--for", o.Lifetime.String()},
		User:       "0:0",
		Env:        []string{},
		WorkingDir: "/",
		Labels:     map[string]string{deadlineLabel: strconv.FormatInt(time.Now().Add(o.Lifetime).Unix(), 10)},
		OpenStdin:  true, StdinOnce: true,
		AttachStdin: true, AttachStdout: true, AttachStderr: true,
		HostConfig: engine.HostConfig{
			NetworkMode: network, PidMode: "host", UsernsMode: "host", CgroupnsMode: "host",
			CapDrop: []string{"ALL"},
			// SYS_PTRACE and DAC_READ_SEARCH are needed to read /proc/PID of
			// other processes, SETUID and SETGID for run_as.
			CapAdd:         []string{"NET_BIND_SERVICE", "SYS_PTRACE", "DAC_READ_SEARCH", "SETUID", "SETGID"},
			SecurityOpt:    []string{"no-new-privileges", "apparmor=unconfined"},
			ReadonlyRootfs: true, AutoRemove: true,
			LogConfig: engine.LogConfig{Type: "none"},
		},
	}
}

// start creates the helper, starts it and attaches to it. After a failure it
// removes what was created. Cancelling ctx does not abort a request to the
// engine, which could create the container all the same, after its removal.
func (h *helper) start(ctx context.Context, spec engine.Spec) error {
	uncanceled := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		uncanceled, cancel = context.WithDeadline(uncanceled, deadline)
		defer cancel()
	}
	type result struct {
		stream *engine.Stream
		err    error
	}
	done := make(chan result, 1)
	go func() {
		stream, err := h.run(uncanceled, spec)
		done <- result{stream, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		select {
		case r = <-done:
		case <-time.After(cleanupTimeout):
		}
		r.err = cmp.Or(r.err, ctx.Err())
	}
	h.stream = r.stream
	if r.err != nil {
		h.remove()
	}
	return r.err
}

func (h *helper) run(ctx context.Context, spec engine.Spec) (*engine.Stream, error) {
	id, err := h.engine.Create(ctx, h.name, spec)
	if err != nil {
		return nil, err
	}
	// Start while attaching. Attaching only after the start could miss output.
	// Starting only after attaching could leave a container that was created
	// and does not end by itself, if attaching hangs.
	started := make(chan error, 1)
	go func() { started <- h.engine.Start(ctx, id) }()
	stream, err := h.engine.Attach(ctx, id)
	if startErr := <-started; startErr != nil {
		err = startErr // an attachment to a container that did not start is of no use
	}
	return stream, err
}

// Probe implements host.Host.
func (h *helper) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := h.Host.Probe(ctx, req)
	if err != nil {
		if stderr := strings.TrimSpace(h.stream.Stderr()); stderr != "" && ctx.Err() == nil {
			err = fmt.Errorf("%w; stderr of the helper container: %s", err, stderr)
		}
		return facts, err
	}
	if id := facts.Machine.BootID; id != h.bootID && id != "" && h.bootID != "" {
		return facts, fmt.Errorf("the container engine at %s is on another machine than this container", h.engine)
	}
	facts.Gaps = append(facts.Gaps, h.gaps...)
	return facts, h.correct(ctx, &facts)
}

// Close ends the helper and waits until the engine has removed it.
func (h *helper) Close() error {
	err := h.Host.Close()
	h.remove()
	h.sweeping.Wait()
	h.engine.Close()
	return err
}

// remove removes the helper, also after the context of its start has ended. If
// the engine does not answer, the helper ends by itself at its deadline.
func (h *helper) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	_ = h.engine.Remove(ctx, h.name) // a later portcheck sweeps what is left
	if h.stream != nil {
		h.stream.Close()
	}
}

// sweep removes expired helpers. They are left if a portcheck is killed
// between creating and starting one. Helpers of other jobs have not expired.
func sweep(ctx context.Context, e *engine.Engine) {
	all, err := e.List(ctx, true, deadlineLabel)
	if err != nil {
		return // starting our own helper reports errors of the engine
	}
	limit := sweepLimit
	for _, c := range all {
		deadline, err := strconv.ParseInt(c.Labels[deadlineLabel], 10, 64)
		if err == nil && time.Now().After(time.Unix(deadline, 0).Add(sweepDelay)) && limit > 0 {
			_ = e.Remove(ctx, c.ID) // after a failure, a later sweep tries again
			limit--
		}
	}
}
