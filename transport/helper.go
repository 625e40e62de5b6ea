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
	// deadlineLabel marks a helper: the Unix time after which it is nobody's.
	deadlineLabel = "io.github.org.portcheck.deadline"
	// sweepGrace is beyond the time at which a helper ends by itself.
	sweepGrace  = 15 * time.Second
	sweepLimit  = 16              // helpers that are removed at one start
	answerLimit = 16 << 20        // bytes; a socket with its holder takes about 500
	farewell    = 2 * time.Second // for what is still to be made or removed when nobody waits for it any more
)

// sibling is a host that is asked through a helper container beside our own.
type sibling struct {
	host.Host // the conversation
	engine    *engine.Engine
	name      string
	stream    *engine.Stream
	gaps      []host.Gap
	bootID    string
	place     func(context.Context, *host.Facts) error
	sweeping  sync.WaitGroup
}

// newSibling starts a helper of an image in a network namespace, "host" or
// "container:ID". place completes what the helper knows of where it is.
func newSibling(ctx context.Context, e *engine.Engine, image, network string, o Options, place func(context.Context, *host.Facts) error) (host.Host, error) {
	s := &sibling{engine: e, name: "portcheck-" + strings.ToLower(rand.Text()[:12]), place: place, bootID: host.Local{}.Machine().BootID}
	s.sweeping.Go(func() { sweep(ctx, e) })
	spec := helper(image, network, o)
	var err error
	for _, r := range recipes(o.Evidence) {
		r.change(&spec)
		if r.lost != "" {
			s.gaps = []host.Gap{{Kind: host.GapHolders, What: r.lost}}
			if err != nil {
				s.gaps[0].What += fmt.Sprintf(" (%s)", err)
			}
		}
		err = s.start(ctx, spec)
		var refused *engine.Refusal
		if err == nil || !errors.As(err, &refused) || engine.IsNotFound(err) {
			break
		}
	}
	if err != nil {
		s.sweeping.Wait()
		return nil, fmt.Errorf("a helper container can't be started: %w", err)
	}
	s.Host = wire.NewHost(s.stream, answerLimit)
	return withEngine(s, o), nil
}

// recipe is a way to make a helper that is tried where the engine refused the
// one before.
type recipe struct {
	change func(*engine.Spec)
	lost   string // what the helper can't see then
}

func recipes(evidence Evidence) []recipe {
	const byChoice = "the helper container has no right to see other processes (evidence: basic), so who holds a port can't be named"
	if evidence == Basic {
		return []recipe{{blind, byChoice}, {ownUsers, byChoice}}
	}
	return []recipe{
		{func(*engine.Spec) {}, ""},
		{confined, "the container engine refuses a helper without AppArmor: where that is on, other processes can't be looked into"},
		{ownUsers, "the container engine refuses a helper in the host's user namespace, so other processes may not be seen"},
		{blind, "the container engine refuses a helper that sees other processes, so who holds a port can't be named"},
	}
}

func confined(s *engine.Spec) { s.HostConfig.SecurityOpt = []string{"no-new-privileges"} }

func ownUsers(s *engine.Spec) { s.HostConfig.UsernsMode, s.HostConfig.CgroupnsMode = "", "" }

// helper is a container that answers requests on its stdin and sees all
// processes of the machine.
func helper(image, network string, o Options) engine.Spec {
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
			// SYS_PTRACE and DAC_READ_SEARCH read /proc/PID of others, SETUID
			// and SETGID are for run_as.
			CapAdd:         []string{"NET_BIND_SERVICE", "SYS_PTRACE", "DAC_READ_SEARCH", "SETUID", "SETGID"},
			SecurityOpt:    []string{"no-new-privileges", "apparmor=unconfined"},
			ReadonlyRootfs: true, AutoRemove: true,
			LogConfig: engine.LogConfig{Type: "none"},
		},
	}
}

// blind takes from a helper whatever shows processes.
func blind(s *engine.Spec) {
	confined(s)
	s.HostConfig.PidMode, s.HostConfig.CgroupnsMode = "", ""
	s.HostConfig.CapAdd = []string{"NET_BIND_SERVICE"}
}

// start makes the helper and attaches to it, or leaves nothing. The engine is
// not told to stop when ctx ends: what it makes meanwhile could not be removed.
func (s *sibling) start(ctx context.Context, spec engine.Spec) error {
	patient := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		patient, cancel = context.WithDeadline(patient, deadline)
		defer cancel()
	}
	type result struct {
		stream *engine.Stream
		err    error
	}
	done := make(chan result, 1)
	go func() {
		stream, err := s.make(patient, spec)
		done <- result{stream, err}
	}()
	var made result
	select {
	case made = <-done:
	case <-ctx.Done():
		select {
		case made = <-done:
		case <-time.After(farewell):
		}
		made.err = cmp.Or(made.err, ctx.Err())
	}
	s.stream = made.stream
	if made.err != nil {
		s.remove()
	}
	return made.err
}

func (s *sibling) make(ctx context.Context, spec engine.Spec) (*engine.Stream, error) {
	id, err := s.engine.Create(ctx, s.name, spec)
	if err != nil {
		return nil, err
	}
	// Attached before it runs, so that nothing that it says is missed; started
	// at the same time, since a helper that runs ends by itself.
	started := make(chan error, 1)
	go func() { started <- s.engine.Start(ctx, id) }()
	stream, err := s.engine.Attach(ctx, id)
	if failed := <-started; failed != nil {
		err = failed // and an attachment to it is worth nothing
	}
	return stream, err
}

// Probe implements host.Host.
func (s *sibling) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := s.Host.Probe(ctx, req)
	if err != nil {
		if said := strings.TrimSpace(s.stream.Said()); said != "" && ctx.Err() == nil {
			err = fmt.Errorf("%w; the helper container says: %s", err, said)
		}
		return facts, err
	}
	if there := facts.Machine.BootID; there != s.bootID && there != "" && s.bootID != "" {
		return facts, fmt.Errorf("the container engine at %s is on another machine than this container", s.engine)
	}
	facts.Gaps = append(facts.Gaps, s.gaps...)
	return facts, s.place(ctx, &facts)
}

// Close ends the helper and waits until it is gone.
func (s *sibling) Close() error {
	err := s.Host.Close()
	s.remove()
	s.sweeping.Wait()
	s.engine.Close()
	return err
}

// remove makes sure that no helper of ours is left, whatever became of our
// context. If the engine does not answer, the helper ends by itself.
func (s *sibling) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = s.engine.Remove(ctx, s.name) // its deadline is the second net
	if s.stream != nil {
		s.stream.Close()
	}
}

// sweep removes helpers that nobody ended: created by a portcheck that was
// killed before it could start them. Those of jobs beside us have not expired.
func sweep(ctx context.Context, e *engine.Engine) {
	all, err := e.List(ctx, true, deadlineLabel)
	if err != nil {
		return // whoever needs the engine says so
	}
	limit := sweepLimit
	for _, c := range all {
		deadline, err := strconv.ParseInt(c.Labels[deadlineLabel], 10, 64)
		if err == nil && time.Now().After(time.Unix(deadline, 0).Add(sweepGrace)) && limit > 0 {
			_ = e.Remove(ctx, c.ID) // the next one will try again
			limit--
		}
	}
}
