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
	"github.com/org/portcheck/transport/internal/openssh"
	"github.com/org/portcheck/transport/internal/remote"
	"github.com/org/portcheck/transport/internal/sshlink"
)

// SSHClient is a way to connect to ssh:// targets.
type SSHClient string

// The ways to connect.
const (
	// AutoSSH is OpenSSH where it can be used, and BuiltinSSH elsewhere.
	AutoSSH SSHClient = "auto"
	// OpenSSH runs the ssh on PATH, with the user's own configuration.
	OpenSSH SSHClient = "openssh"
	// BuiltinSSH needs no other program, and dials only addresses that it has
	// checked.
	BuiltinSSH SSHClient = "builtin"
)

// SSHClients lists the ways.
var SSHClients = []SSHClient{AutoSSH, OpenSSH, BuiltinSSH}

// SSHOptions configure the connections to ssh:// targets and the portcheck that
// runs there.
type SSHOptions struct {
	Client     SSHClient
	Untrusted  string   // if set, why names and addresses may be a stranger's: then AutoSSH is BuiltinSSH
	ConfigFile string   // ssh_config(5) file that replaces the user's; for OpenSSH alone
	Identities []string // private key files
	KnownHosts string   // file that replaces the user's and the system's known_hosts
	RemotePath string   // portcheck executable installed on the hosts; if empty, one is sent
	AgentDir   string   // directory of executables for other systems, named portcheck-OS-ARCH
	AgentCache bool     // the hosts keep the executable that was sent
	Sudo       bool     // run the executable by `sudo -n`
	// Log, if set, gets the log of each ssh of OpenSSH that has failed. It may be
	// called by several targets at once.
	Log func(host string, lines []string)
	// Names maps an environment variable to the name by which the user sets
	// it, such as an action's input, for messages.
	Names map[string]string
}

// SSH holds what all ssh:// targets of a run share: keys, known hosts and the
// executables to send. It is safe for concurrent use.
type SSH struct {
	SSHOptions
	env      map[string]string
	dialer   *sshlink.Dialer
	openSSH  *openssh.Client
	binaries binaries
}

// Timeouts of single steps. The target's timeout limits all steps together.
const (
	connectTimeout   = 10 * time.Second
	handshakeTimeout = 10 * time.Second
)

// sshReplyLimit is the size limit of a reply from a host, in bytes. Hosts are
// not trusted.
const sshReplyLimit = 4 << 20

// NewSSH returns the SSH of a run. It reads no file yet.
func NewSSH(o SSHOptions, env map[string]string) *SSH {
	return &SSH{
		SSHOptions: o, env: env,
		openSSH: openssh.New(openssh.Options{
			Env: env, ConfigFile: o.ConfigFile, Identities: o.Identities, KnownHosts: o.KnownHosts, ConnectTimeout: connectTimeout, Log: o.Log,
		}),
		dialer: sshlink.New(sshlink.Options{
			Env: env, Names: o.Names, Identities: o.Identities, KnownHosts: o.KnownHosts,
			ConnectTimeout: connectTimeout, HandshakeTimeout: handshakeTimeout,
		}),
		binaries: binaries{dir: o.AgentDir},
	}
}

// openSSH connects to a host and starts a portcheck there. Where none can run,
// it falls back to reading the host's files.
func openSSH(ctx context.Context, target config.Target, o Options) (host.Host, error) {
	s := o.SSH
	link, err := s.dial(ctx, target.SSH)
	if err != nil {
		return nil, err
	}
	h, err := s.open(ctx, link, o.Lifetime)
	if err != nil {
		_ = link.Close() // the first error is the one to report
		return nil, err
	}
	return h, nil
}

// dial connects to a target.
func (s *SSH) dial(ctx context.Context, target config.SSHAddress) (remote.Link, error) {
	reason, remedy := s.whyBuiltin(ctx)
	switch {
	case reason == "":
		return wrap(s.openSSH.Dial(ctx, target))
	case s.ConfigFile != "":
		return nil, remote.At("config", fmt.Errorf("--ssh-config needs OpenSSH's ssh, but %s", reason))
	}
	link, err := wrap(s.dialer.Dial(ctx, target))
	if failed := new(remote.StepError); errors.As(err, &failed) && failed.Step == "resolve" && ctx.Err() == nil {
		err = &remote.StepError{Step: "resolve", Err: fmt.Errorf("%w; the built-in client, which is used because %s, reads no ssh_config(5): name the host by its full name or address%s", failed.Err, reason, remedy)}
	}
	return link, err
}

// whyBuiltin returns why the built-in client is used, "" if OpenSSH's is, and what
// else could be done.
func (s *SSH) whyBuiltin(ctx context.Context) (reason, remedy string) {
	variable := s.TextVariable(s.env)
	switch {
	case s.Client == OpenSSH:
		return "", ""
	case s.Client != AutoSSH:
		return "--ssh is builtin", ", or use --ssh openssh"
	case s.Untrusted != "":
		return s.Untrusted, ""
	case variable != "":
		return s.nameOf(variable) + " holds a text", ", or use files and an agent"
	}
	if err := s.openSSH.Find(ctx); err != nil {
		return err.Error(), ", or install OpenSSH's ssh"
	}
	return "", ""
}

// nameOf returns the name by which the user sets a variable.
func (o SSHOptions) nameOf(variable string) string {
	if name := o.Names[variable]; name != "" {
		return name
	}
	return variable
}

// wrap returns a link as the interface, nil on an error.
func wrap[L remote.Link](link L, err error) (remote.Link, error) {
	if err != nil {
		return nil, err
	}
	return link, nil
}

// TextVariable returns the variable that holds a key, a passphrase or known hosts as
// text, which only the built-in client can use, or "" if none is in use.
func (o SSHOptions) TextVariable(env map[string]string) string {
	for _, name := range []string{"PORTCHECK_SSH_KEY", "PORTCHECK_SSH_PASSPHRASE", "PORTCHECK_SSH_KNOWN_HOSTS"} {
		if env[name] != "" && (name != "PORTCHECK_SSH_KNOWN_HOSTS" || o.KnownHosts == "") {
			return name
		}
	}
	return ""
}

func (s *SSH) open(ctx context.Context, link remote.Link, lifetime time.Duration) (host.Host, error) {
	if s.RemotePath != "" {
		b, err := startInstalled(ctx, link, s.RemotePath, s.sudo(), lifetime)
		if err != nil {
			return nil, remote.At("start", err)
		}
		return newSSHHost(b), nil
	}
	b, step, err := s.startSent(ctx, link, lifetime)
	cause := cannotRunError{}
	switch {
	case err == nil:
		return newSSHHost(b), nil
	case remote.IsLost(err): // nothing shows that the host can't run one
	case errors.As(err, &cause) && !s.Sudo:
		return newFilesHost(ctx, link, b, step, cause.Error())
	case errors.As(err, &cause):
		err = fmt.Errorf("%w (with --sudo there is no fallback)", cause)
	}
	return nil, remote.At(step, err)
}

// sudo returns the command that runs portcheck as root, "" for none.
func (s *SSH) sudo() string {
	if s.Sudo {
		return "sudo -n"
	}
	return ""
}

// startSent sends an executable to the host and runs it. It returns the step
// that failed with the error, and then the script if that runs plain commands.
func (s *SSH) startSent(ctx context.Context, link remote.Link, lifetime time.Duration) (b *bootstrap, step string, err error) {
	b, found, err := startBootstrap(ctx, link, s.sudo(), lifetime)
	if err != nil {
		return nil, "start", err
	}
	bin, err := s.binaries.find(found)
	if err != nil {
		b.plain, err = true, cannotRunError{err}
	} else {
		err = b.runBinary(ctx, bin, s.AgentCache)
	}
	switch {
	case err == nil:
		return b, "", nil
	case b.plain && !s.Sudo:
		return b, "transfer", err
	}
	b.stop(ctx)
	return nil, "transfer", err
}

// sshHost is a host with a running portcheck that answers requests.
type sshHost struct {
	host.Host // exchanges requests and replies
	link      remote.Link
	session   remote.Session
}

func newSSHHost(b *bootstrap) *sshHost {
	return &sshHost{wire.NewHost(sessionStream{b.lines, b.session, b.link}, sshReplyLimit), b.link, b.session}
}

// Probe implements host.Host.
func (h *sshHost) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	facts, err := h.Host.Probe(ctx, req)
	return facts, h.explain(ctx, err)
}

// Hold implements host.Leaser.
func (h *sshHost) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	reply, err := host.Hold(ctx, h.Host, req)
	return reply, h.explain(ctx, err)
}

// lastWords is how long to wait for the rest of stderr after the end of stdout.
const lastWords = time.Second

// explain adds the step to the error of a request, and what the host has written to
// stderr.
func (h *sshHost) explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if errors.Is(err, wire.ErrEnded) {
		ended, cancel := context.WithTimeout(ctx, lastWords)
		_ = h.session.Wait(ended) // then stderr, which says why, is read to its end
		cancel()
	}
	if stderr := oneLine(h.session.Stderr()); stderr != "" {
		err = fmt.Errorf("%w; stderr of the host: %s", err, stderr)
	}
	return &remote.StepError{Step: "probe", Err: err}
}

// Close ends the portcheck on the host, waits for its exit, and closes the
// connection.
func (h *sshHost) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	_ = h.session.CloseWrite() // it may have exited already
	_ = h.session.Wait(ctx)    // the exit status does not matter any more
	return h.link.Close()
}

// sessionStream is the stream of a session, read from where the bootstrap has
// stopped reading. Its Close closes the link, since closing a session needs the
// host's cooperation.
type sessionStream struct {
	io.Reader
	io.Writer
	io.Closer
}

// oneLine returns text with each run of white space replaced by a space.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// quote returns text as one word for the host's shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
