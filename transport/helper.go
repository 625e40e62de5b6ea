package transport

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/transport/internal/engine"
)

const (
	// deadlineLabel marks a helper container. Its value is the Unix time at
	// which the helper has ended by itself.
	deadlineLabel = "io.github.org.portcheck.deadline"
	// sweepDelay is the time after a helper's deadline when others remove it.
	sweepDelay = 15 * time.Second
	sweepLimit = 16 // expired helpers that one start removes
	// lifetimeLimit is the longest time from the creation of a helper to its
	// deadline.
	lifetimeLimit = config.MostDuration
	clockMargin   = time.Minute // by which a clock may have been set meanwhile

	namePrefix = "portcheck-"

	// A helper that answers with 120,000 sockets, their holders and command lines,
	// which is more than helperReplyLimit, takes 150 MB.
	memoryLimit = 512 << 20
	pidsLimit   = 1024 // threads: Go may start one for each core, and for each file that is read

	// rulesAge is how old the NAT rules of a helper may be that has found callers to
	// be sent away. A need may wait for that to end.
	rulesAge = 2 * time.Second

	helperReplyLimit = 16 << 20        // bytes; a socket with its holder takes about 500
	cleanupTimeout   = 2 * time.Second // to end and remove a probe after its use, or after a cancellation, and for a sweep
)

// helper is a host that is probed by a helper container beside our own.
type helper struct {
	host.Host // exchanges requests and replies
	engine    *engine.Engine
	name      string
	stream    *engine.Stream
	gaps      []host.Gap
	noRules   string // why it can't read NAT rules; empty if it can
	program   string // path of our own executable
	spec      engine.Spec
	processes string // the PID mode of its keepers, to end with the container that is probed
	keepers   keepers
	started   time.Time // when it has read the NAT rules
	redirects bool      // its last answer has callers that are all sent away
	bootID    string    // of the machine that we run on
	correct   correction
	sweeping  sync.WaitGroup
}

// newHelper starts a helper from an image in a network namespace: "host" or
// "container:ID".
func newHelper(ctx context.Context, e *engine.Engine, image, network string, o Options, correct correction) (host.Host, error) {
	h := &helper{engine: e, name: helperName(), program: o.Executable, processes: o.processes, correct: correct, bootID: host.Local{}.Machine().BootID}
	own, err := openProgram(o.Executable)
	if err != nil {
		return nil, fmt.Errorf("a helper container can't be started: %w", err)
	}
	defer own.Close()
	spec, err := helperSpec(ctx, e, image, network, o)
	if err != nil {
		return nil, fmt.Errorf("a helper container can't be started: %w", err)
	}
	for _, v := range variants(o.Evidence) {
		limited := spec
		for _, change := range v.changes {
			change(&limited)
		}
		reason := ""
		if err != nil {
			reason = fmt.Sprintf(" (%s)", err)
		}
		h.gaps, h.noRules = nil, ""
		if v.limitation != "" {
			h.gaps = []host.Gap{{Kind: host.GapHolders, What: v.limitation + reason}}
		}
		if v.noRules != "" {
			h.noRules = v.noRules + reason
		}
		h.spec = limited
		err = h.start(ctx, limited, own)
		var refused *engine.Refusal
		if err == nil || !errors.As(err, &refused) || engine.IsNotFound(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("a helper container can't be started: %w", err)
	}
	h.sweeping.Go(func() { // with an image that is proven ours, and after ctx, which ends with the opening
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		sweep(ctx, e, image)
	})
	h.connect()
	named := withEngine(h, o)
	named.beside = func(context.Context, *engine.Engine) bool { return network == hostMode }
	return named, nil
}

// connect begins the conversation with a helper that has been started.
func (h *helper) connect() {
	h.Host, h.started = wire.NewHost(h.stream, helperReplyLimit), time.Now()
}

// renew replaces the helper by one that reads the NAT rules as they are now.
func (h *helper) renew(ctx context.Context) error {
	_ = h.Host.Close()
	h.remove()
	h.name, h.stream = helperName(), nil
	own, err := openProgram(h.program)
	if err == nil {
		defer own.Close()
		err = h.start(ctx, h.spec, own)
	}
	if err != nil {
		return fmt.Errorf("a helper container can't be started: %w", err)
	}
	h.connect()
	return nil
}

// helperName returns a new name for a helper.
func helperName() string { return namePrefix + strings.ToLower(rand.Text()[:12]) }

// hostMode is the network mode of a container in the engine's own network namespace.
const hostMode = "host"

// variant is a helper with less access, which is tried after the engine has refused
// one with more.
type variant struct {
	changes    []func(*engine.Spec)
	limitation string // what the helper can't see of processes
	noRules    string // why it can't read NAT rules
}

func variants(evidence Evidence) []variant {
	const (
		byChoice = "the helper container may not see other processes (evidence: basic), so the holders of ports are unknown"
		noRules  = "the helper container has no CAP_NET_ADMIN (evidence: basic)"
		refused  = "the container engine refused a helper with CAP_NET_ADMIN"
	)
	type changes = []func(*engine.Spec)
	if evidence == Basic {
		return []variant{
			{changes{withoutProcesses}, byChoice, noRules},
			{changes{withoutProcesses, withoutHostUserNamespace}, byChoice, noRules},
		}
	}
	return []variant{
		{},
		{changes{withoutRules}, "", refused},
		{changes{withAppArmor}, "the container engine refused a helper without AppArmor confinement: where AppArmor is enabled, other processes can't be inspected", ""},
		{changes{withAppArmor, withoutHostUserNamespace}, "the container engine refused a helper in the host's user namespace, so some processes may be invisible", ""},
		{changes{withoutHostUserNamespace, withoutProcesses}, "the container engine refused a helper with access to other processes, so the holders of ports are unknown", refused},
	}
}

func withoutRules(s *engine.Spec) { s.HostConfig.CapAdd = capabilities }

func withAppArmor(s *engine.Spec) { s.HostConfig.SecurityOpt = []string{"no-new-privileges"} }

func withoutHostUserNamespace(s *engine.Spec) {
	s.HostConfig.UsernsMode, s.HostConfig.CgroupnsMode = "", ""
}

// withoutProcesses removes all access to other processes and to NAT rules.
func withoutProcesses(s *engine.Spec) {
	withAppArmor(s)
	s.HostConfig.PidMode, s.HostConfig.CgroupnsMode = "", ""
	s.HostConfig.CapAdd = []string{"NET_BIND_SERVICE"}
}

// capabilities are what a helper keeps. SYS_PTRACE and DAC_READ_SEARCH are needed to
// read /proc/PID of other processes, SETUID and SETGID for run_as.
var capabilities = []string{"NET_BIND_SERVICE", "SYS_PTRACE", "DAC_READ_SEARCH", "SETUID", "SETGID"}

// rulesCapabilities are needed to read NAT rules. `probe --confine` gives them up
// before its first request.
var rulesCapabilities = []string{"NET_ADMIN", "SETPCAP"}

// helperSpec returns the configuration of a container that answers requests on
// its stdin and has access to all processes of the machine. It overrides all of
// the image's configuration that has an effect on what runs in the container.
func helperSpec(ctx context.Context, e *engine.Engine, image, network string, o Options) (engine.Spec, error) {
	config, err := e.ImageConfig(ctx, image)
	if err != nil {
		return engine.Spec{}, err
	}
	if len(config.Volumes) > 0 { // a volume can cover the executable, and can't be overridden
		return engine.Spec{}, foreignError{image, "it declares volumes"}
	}
	env := []string{}
	for _, variable := range config.Env {
		// Empty, since engines merge the image's variables with these.
		if name, _, _ := strings.Cut(variable, "="); name != "" {
			env = append(env, name+"=")
		}
	}
	security := []string{"no-new-privileges", "apparmor=unconfined"}
	// Without an answer the engine's default remains.
	if info, err := e.Info(ctx); err == nil && slices.Contains(info.SecurityOptions, "name=seccomp,profile=unconfined") {
		// Engines that can have this default know the word
		// (https://docs.docker.com/reference/cli/docker/container/run/).
		security = append(security, "seccomp=builtin")
	}
	return engine.Spec{
		Image:       image,
		Entrypoint:  []string{helperPath},
		Cmd:         []string{"probe", "--confine", "--for", o.Lifetime.String()},
		User:        "0:0",
		Env:         env,
		Healthcheck: engine.Healthcheck{Test: []string{"NONE"}},
		WorkingDir:  "/",
		Labels:      map[string]string{deadlineLabel: strconv.FormatInt(time.Now().Add(o.Lifetime).Unix(), 10)},
		OpenStdin:   true, StdinOnce: true,
		AttachStdin: true, AttachStdout: true, AttachStderr: true,
		HostConfig: engine.HostConfig{
			NetworkMode: network, PidMode: "host", UsernsMode: "host", CgroupnsMode: "host",
			CapDrop:        []string{"ALL"},
			CapAdd:         slices.Concat(capabilities, rulesCapabilities),
			SecurityOpt:    security,
			ReadonlyRootfs: true, AutoRemove: true,
			LogConfig: engine.LogConfig{Type: "none"},
			Memory:    memoryLimit, MemorySwap: memoryLimit, PidsLimit: pidsLimit,
		},
	}, nil
}

// start creates the helper, starts it and attaches to it. After a failure it
// removes what was created. Cancelling ctx does not abort a request to the
// engine, which could create the container all the same, after its removal.
func (h *helper) start(ctx context.Context, spec engine.Spec, own *os.File) error {
	uncanceled := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		uncanceled, cancel = context.WithDeadline(uncanceled, deadline)
		defer cancel()
	}
	type result struct {
		stream *engine.Stream
		err    error
		panic  *panics.Panic
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.panic = panics.Catch(func() { r.stream, r.err = h.run(uncanceled, spec, own) })
		done <- r
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
	r.panic.Repanic()
	h.stream = r.stream
	if r.err != nil {
		h.remove()
	}
	return r.err
}

func (h *helper) run(ctx context.Context, spec engine.Spec, own *os.File) (*engine.Stream, error) {
	id, err := h.engine.Create(ctx, h.name, spec)
	if err != nil {
		return nil, err
	}
	// Attached before the start, as by docker run: however we end, its stdin ends
	// with the connection, and the helper with its stdin.
	stream, err := h.engine.Attach(ctx, id)
	if err != nil {
		return nil, err
	}
	if err = provenOurs(ctx, h.engine, id, spec.Image, own); err == nil {
		err = h.engine.Start(ctx, id)
	}
	return stream, err
}

// Probe implements host.Host.
func (h *helper) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	if h.redirects && time.Since(h.started) > rulesAge && slices.ContainsFunc(req.Tries, func(t host.Try) bool { return t.Callers }) {
		if err := h.renew(ctx); err != nil {
			return host.Facts{}, err
		}
	}
	facts, err := h.Host.Probe(ctx, req)
	if err != nil {
		return facts, h.explain(ctx, err)
	}
	if req.Survey != nil {
		return facts, nil // it has nothing about the machine
	}
	if id := facts.Machine.BootID; id != h.bootID && id != "" && h.bootID != "" {
		return facts, fmt.Errorf("the container engine at %s is on another machine than this container", h.engine)
	}
	h.redirects = slices.ContainsFunc(facts.Tried, func(t host.Tried) bool {
		return slices.ContainsFunc(t.Routes, func(r host.Route) bool { return r.All })
	})
	for i := range facts.Gaps {
		if g := &facts.Gaps[i]; g.Kind == host.GapRules && h.noRules != "" {
			g.What = host.RulesUnread + ": " + h.noRules
		}
	}
	facts.Gaps = append(facts.Gaps, h.gaps...)
	facts.Machine.Confined, facts.Machine.Withheld = false, false // its gaps name what the engine has refused it
	return facts, h.correct(ctx, &facts)
}

// explain adds what the helper has written to stderr to the error of a request.
func (h *helper) explain(ctx context.Context, err error) error {
	if h.stream == nil || err == nil || ctx.Err() != nil {
		return err
	}
	if stderr := strings.TrimSpace(h.stream.Stderr()); stderr != "" {
		err = fmt.Errorf("%w; stderr of the helper container: %s", err, stderr)
	}
	return err
}

// Close ends the helper and waits until the engine has removed it.
func (h *helper) Close() error {
	err := h.Host.Close()
	h.remove()
	h.keepers.end(h.engine)
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

// sweep removes expired helpers of our own image. They are left if a portcheck is
// killed between creating and starting one. Helpers of other jobs have not
// expired, and those of another image end by themselves.
func sweep(ctx context.Context, e *engine.Engine, image string) {
	all, err := e.List(ctx, true, deadlineLabel)
	if err != nil {
		return // starting our own helper reports errors of the engine
	}
	limit := sweepLimit
	for _, c := range all {
		deadline, ok := expired(c)
		if !ok || limit == 0 {
			continue
		}
		if d, err := e.Inspect(ctx, c.ID); err == nil && (isHelper(d, image, deadline) || isUnstartedKeeper(d, image)) {
			_ = e.Remove(ctx, c.ID) // after a failure, a later sweep tries again
			limit--
		}
	}
}

// expired returns the deadline of a helper, and reports whether it passed a while
// ago.
func expired(c engine.Container) (time.Time, bool) {
	seconds, err := strconv.ParseInt(c.Labels[deadlineLabel], 10, 64)
	deadline := time.Unix(seconds, 0)
	return deadline, err == nil && isHelperName(c.Name()) && time.Since(deadline) > sweepDelay
}

// isHelper reports whether a container is as newHelper creates it from our image
// with this deadline. Its labels alone prove nothing, since every image can have
// them.
func isHelper(d engine.Details, image string, deadline time.Time) bool {
	created, err := time.Parse(time.RFC3339Nano, d.Created)
	life := deadline.Sub(created)
	return err == nil && isHelperName(strings.TrimPrefix(d.Name, "/")) && d.Image == image &&
		-clockMargin < life && life < lifetimeLimit+clockMargin &&
		(d.State.Status == "created" || d.State.Status == "running") &&
		d.Path == helperPath && len(d.Args) == 4 && d.Args[0] == "probe" && d.Args[1] == "--confine" && d.Args[2] == "--for" &&
		d.HostConfig.AutoRemove && len(d.Mounts) == 0
}

// isHelperName reports whether a container's name is as newHelper chooses it.
func isHelperName(name string) bool {
	random, ok := strings.CutPrefix(name, namePrefix)
	return ok && len(random) == 12 && strings.Trim(random, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
