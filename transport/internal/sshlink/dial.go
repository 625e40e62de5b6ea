package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/transport/internal/remote"
)

const clientVersion = "SSH-2.0-portcheck"

// Dial connects to a target. The error is a *remote.StepError, or context.Canceled.
func (d *Dialer) Dial(ctx context.Context, target config.SSHAddress) (*Link, error) {
	client, err := d.dial(ctx, d.account(target))
	if err != nil {
		return nil, contextError(ctx, err)
	}
	return &Link{client: client}, nil
}

// contextError returns the error of ctx if it has ended, else err. If its deadline
// has passed, the error has the step of err.
func contextError(ctx context.Context, err error) error {
	var failed *remote.StepError
	if ctx.Err() == nil || remote.IsUnread(err) || errors.As(err, &remote.LateError{}) {
		return err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.As(err, &failed) {
		return remote.At(failed.Step, ctx.Err())
	}
	return ctx.Err()
}

// dial reads the local files first, so that nothing is sent to the host if they have
// an error.
func (d *Dialer) dial(ctx context.Context, a account) (*ssh.Client, error) {
	keys, err := d.hostKeysFor(ctx)
	if err != nil {
		return nil, err
	}
	in, err := d.login(ctx, a)
	if err != nil {
		return nil, err
	}
	conn, err := d.connect(ctx, a)
	if err != nil {
		return nil, err
	}
	client, err := d.handshake(ctx, conn, a, keys, in)
	if err != nil {
		_ = conn.Close() // the first error is the one to report
		if in.agent != nil && in.agent.late && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = remote.At("authentication", remote.LateError{WaitedFor: "the agent at SSH_AUTH_SOCK", Cause: ctx.Err()})
		}
	}
	return client, err
}

// withTimeout is context.WithTimeout, without a limit if timeout is 0.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// timedOut returns the message for a step that has exceeded its timeout.
func timedOut(timeout time.Duration) string { return fmt.Sprintf("no answer within %s", timeout) }

func (d *Dialer) connect(ctx context.Context, a account) (net.Conn, error) {
	ctx, cancel := withTimeout(ctx, d.o.ConnectTimeout)
	defer cancel()
	dialer := net.Dialer{ControlContext: host.ControlDial}
	conn, err := dialer.DialContext(ctx, "tcp", a.address())
	if err != nil {
		awaitDeadline(ctx)
		return nil, d.connectError(ctx, a, err)
	}
	return conn, nil
}

// awaitDeadline waits until ctx is done if its deadline has passed. net.Dialer
// has a timer of its own for the deadline, which may fire a little earlier.
func awaitDeadline(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 0 {
		<-ctx.Done()
	}
}

func (d *Dialer) connectError(ctx context.Context, a account, err error) error {
	var unresolved *net.DNSError
	var refused *host.RefusedAddressError
	var errno syscall.Errno
	expired := ctx.Err() != nil
	switch {
	case errors.As(err, &unresolved) && expired:
		return remote.At("resolve", fmt.Errorf("the name %s: %s", a.host, timedOut(d.o.ConnectTimeout)))
	case errors.As(err, &unresolved):
		return remote.At("resolve", fmt.Errorf("the name %s has no address: %s", a.host, remote.Shorten(unresolved.Err)))
	case errors.As(err, &refused):
		return remote.At("connect", refused)
	case expired:
		return remote.At("connect", fmt.Errorf("%s: %s", a.address(), timedOut(d.o.ConnectTimeout)))
	case errors.Is(err, syscall.ECONNREFUSED):
		return remote.At("connect", fmt.Errorf("%s: %w%s", a.address(), syscall.ECONNREFUSED, remote.RefusedHint))
	case errors.As(err, &errno):
		return remote.At("connect", fmt.Errorf("%s: %w", a.address(), errno))
	}
	return remote.At("connect", fmt.Errorf("%s: %s", a.address(), brief(err)))
}

// handshake does the SSH handshake with the host at the other end of conn and
// logs the user in. When its time is up it closes conn.
func (d *Dialer) handshake(ctx context.Context, conn net.Conn, a account, keys *hostKeys, in *login) (*ssh.Client, error) {
	ctx, cancel := withTimeout(ctx, d.o.HandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // so that reads and writes fail
	in.ctx = ctx
	var trusted atomic.Bool // set by a goroutine of the connection
	algorithms := ssh.SupportedAlgorithms()
	heard := &listener{Conn: conn}
	c, channels, requests, err := ssh.NewClientConn(heard, a.keyName(), &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: withoutSHA1(algorithms.KeyExchanges),
			MACs:         withoutSHA1(algorithms.MACs),
		},
		User:          a.user,
		ClientVersion: clientVersion,
		HostKeyCallback: func(keyName string, from net.Addr, key ssh.PublicKey) error {
			if err := keys.check(keyName, from, key); err != nil {
				return err
			}
			trusted.Store(true)
			return nil
		},
		HostKeyAlgorithms: keys.algorithms(a.keyName()),
		AuthCallback:      in.next,
	})
	if err == nil && stop() {
		return ssh.NewClient(c, channels, requests), nil
	}
	if err == nil {
		_ = c.Close() // fails, since conn is closed
	}
	if text := heard.notSSH(); text != "" && ctx.Err() == nil {
		return nil, remote.At("handshake", errors.New(remote.NotSSH(text)))
	}
	return nil, handshakeError(ctx, in, trusted.Load(), err)
}

// listener keeps the beginning of what the other end of a connection sends.
type listener struct {
	net.Conn
	mu    sync.Mutex
	start []byte
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 1 << 12
	l.start = append(l.start, p[:min(n, max(most-len(l.start), 0))]...)
	return n, err
}

// notSSH returns the first line that was sent if none of those that were is the
// identification of an SSH server, which may follow other lines.
func (l *listener) notSSH() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.start)
	if strings.HasPrefix(text, "SSH-") || strings.Contains(text, "\nSSH-") {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}

// withoutSHA1 removes the algorithms that use SHA-1 from a list of the library: its
// secure message authentication codes include hmac-sha1.
func withoutSHA1(algorithms []string) []string { return slices.DeleteFunc(algorithms, usesSHA1) }

// usesSHA1 reports whether an algorithm uses SHA-1. The names of signatures do not
// show it.
func usesSHA1(algorithm string) bool {
	return strings.Contains(algorithm, "sha1") || strings.HasPrefix(algorithm, "ssh-rsa") || strings.HasPrefix(algorithm, "ssh-dss")
}

// handshakeError returns the error of a handshake. After the host key was found
// to be trusted, failures are those of the login.
func handshakeError(ctx context.Context, in *login, trusted bool, err error) error {
	var failed *remote.StepError
	var uncommon *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, &failed):
		return failed
	case trusted && ctx.Err() != nil:
		return in.failed(timedOut(in.timeout))
	case trusted:
		return in.failed("the host closed the connection: " + brief(err))
	case ctx.Err() != nil:
		return remote.At("handshake", errors.New(timedOut(in.timeout)))
	case errors.As(err, &uncommon):
		text := fmt.Sprintf("no common algorithm for %s, the host offers: %s", uncommon.What, remote.Shorten(fmt.Sprint(uncommon.RequestedAlgorithms)))
		if slices.ContainsFunc(uncommon.RequestedAlgorithms, usesSHA1) {
			text += "; SHA-1 is not accepted: let the host's SSH server offer newer algorithms"
		}
		return remote.At("handshake", errors.New(text))
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return remote.At("handshake", errors.New("the host closed the connection"))
	}
	return remote.At("handshake", fmt.Errorf("the host violates the SSH protocol: %s", brief(err)))
}
