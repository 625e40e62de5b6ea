package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/transport/internal/sshlink"
)

// SSHOptions say how hosts are reached by SSH, and with what.
type SSHOptions struct {
	Identities []string // files of private keys
	KnownHosts string   // a file in place of the user's and the system's
	RemotePath string   // a portcheck that is installed on the hosts; empty: ours is sent
	AgentDir   string   // executables for other systems than ours, named portcheck-OS-ARCH
	AgentCache bool     // the hosts keep what is sent
	Sudo       bool     // it runs there by `sudo -n`
	// Names are what the user gives variables by, where that has another name.
	Names map[string]string
}

// SSH is what all hosts of one run share: keys, known hosts, and the executables
// that are sent. It may be used by several goroutines.
type SSH struct {
	SSHOptions
	dialer *sshlink.Dialer
	agents agents
}

// The budgets of single steps; the target's own bounds all of them together.
const (
	connectBudget   = 10 * time.Second
	handshakeBudget = 10 * time.Second
)

// sshAnswerLimit is in bytes: what a host sends is not trusted.
const sshAnswerLimit = 4 << 20

// NewSSH makes the SSH of a run. It reads nothing yet.
func NewSSH(o SSHOptions, env map[string]string) *SSH {
	return &SSH{
		SSHOptions: o,
		dialer: sshlink.New(sshlink.Options{
			Env: env, Names: o.Names, Identities: o.Identities, KnownHosts: o.KnownHosts,
			Connect: connectBudget, Handshake: handshakeBudget,
		}),
		agents: agents{dir: o.AgentDir},
	}
}

// openSSH reaches a host and has a portcheck answer there; where none can run,
// the host's files are read instead.
func openSSH(ctx context.Context, target config.Target, o Options) (host.Host, error) {
	s := o.SSH
	link, err := s.dialer.Dial(ctx, target.SSH)
	if err != nil {
		return nil, err
	}
	h, err := s.start(ctx, link, o.Lifetime)
	if err != nil {
		_ = link.Close() // the error that matters is the first
		return nil, err
	}
	return h, nil
}

func (s *SSH) start(ctx context.Context, link *sshlink.Link, life time.Duration) (host.Host, error) {
	if s.RemotePath != "" {
		r, err := visit(ctx, link, s.RemotePath, s.sudo(), life)
		if err != nil {
			return nil, atStep("start", err)
		}
		return newSSHHost(r), nil
	}
	r, at, err := s.send(ctx, link, life)
	cause := unfit{}
	switch {
	case err == nil:
		return newSSHHost(r), nil
	case errors.As(err, &cause) && !s.Sudo:
		return newFilesHost(ctx, link, at, cause.Error())
	case errors.As(err, &cause):
		err = fmt.Errorf("%w (with --sudo nothing else will do)", cause)
	}
	return nil, atStep(at, err)
}

// atStep says at which step something failed, if that is not said.
func atStep(step string, err error) error {
	if errors.As(err, new(*sshlink.StepError)) {
		return err
	}
	return &sshlink.StepError{Step: step, Err: err}
}

// sudo is the command to run portcheck by, if any.
func (s *SSH) sudo() string {
	if s.Sudo {
		return "sudo -n"
	}
	return ""
}

// send has our executable run on the host, or says at which step that failed.
func (s *SSH) send(ctx context.Context, link *sshlink.Link, life time.Duration) (r *reception, at string, err error) {
	r, there, err := welcome(ctx, link, s.sudo(), life)
	if err != nil {
		return nil, "start", err
	}
	a, err := s.agents.find(there)
	if err != nil {
		err = unfit{err}
	} else {
		err = r.dispatch(ctx, a, s.AgentCache)
	}
	if err != nil {
		r.dismiss(ctx)
		return nil, "transfer", err
	}
	return r, "", nil
}

// sshHost is a host on which a portcheck answers.
type sshHost struct {
	host.Host // the conversation
	link      *sshlink.Link
	session   *sshlink.Session
}

func newSSHHost(r *reception) *sshHost {
	return &sshHost{wire.NewHost(conversation{r.lines, r.session, r.link}, sshAnswerLimit), r.link, r.session}
}

// Probe implements host.Host.
func (h *sshHost) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := h.Host.Probe(ctx, req)
	if err != nil && ctx.Err() == nil {
		if said := strings.Join(strings.Fields(h.session.Said()), " "); said != "" {
			err = fmt.Errorf("%w; the host says: %s", err, said)
		}
		err = &sshlink.StepError{Step: "probe", Err: err}
	}
	return facts, err
}

// Close ends what runs on the host, and waits for that, before the connection.
func (h *sshHost) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = h.session.CloseWrite() // it may have ended by itself
	_ = h.session.Wait(ctx)    // that it failed, or is slow, changes nothing now
	return h.link.Close()
}

// conversation reads where the reception has stopped reading. Its end is that of
// the link: a session ends only when the host agrees.
type conversation struct {
	io.Reader
	io.Writer
	io.Closer
}

// quote makes a word of text for the host's shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
