// Package engine talks to a container engine: Docker, or Podman by the same
// HTTP interface.
package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	defaultSocket = "/var/run/docker.sock"
	answerLimit   = 8 << 20 // bytes; a container takes about 2 KB of a list
	errorLimit    = 4 << 10 // bytes of an error's text that are told
)

// Engine is a container engine that has not been asked yet.
type Engine struct {
	network, address string // as of net.Dial
	tls              *tls.Config
	transport        *http.Transport
}

// New finds the engine as docker's own client does: DOCKER_HOST, with TLS if
// DOCKER_TLS or DOCKER_TLS_VERIFY is set, from the certificates in
// DOCKER_CERT_PATH. Without DOCKER_HOST it is the first socket of Docker and
// Podman that exists. The engine's certificate is always verified.
func New(env map[string]string) (*Engine, error) {
	e := &Engine{network: "unix", address: socket(env)}
	host := env["DOCKER_HOST"]
	scheme, rest, isAddress := strings.Cut(host, "://")
	switch {
	case host == "":
	case scheme == "unix" && rest != "":
		e.address = rest
	case (scheme == "tcp" || scheme == "http" || scheme == "https") && rest != "":
		u, err := url.Parse(host)
		if err != nil || u.Hostname() == "" {
			return nil, errBadAddress
		}
		secure := scheme == "https" || env["DOCKER_TLS"] != "" || env["DOCKER_TLS_VERIFY"] != ""
		number := u.Port()
		switch {
		case number != "":
		case secure:
			number = "2376"
		default:
			number = "2375"
		}
		e.network, e.address = "tcp", net.JoinHostPort(u.Hostname(), number)
		if secure {
			if e.tls, err = tlsConfig(env, u.Hostname()); err != nil {
				return nil, err
			}
		}
	case !isAddress:
		return nil, errBadAddress
	default:
		return nil, fmt.Errorf("DOCKER_HOST is a %s:// address, and only engines at unix:// and tcp:// addresses can be asked", scheme)
	}
	e.transport = &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
		DisableCompression: true, // the limit is of what is read
	}
	return e, nil
}

// errBadAddress quotes nothing: the text may hold a password.
var errBadAddress = errors.New("DOCKER_HOST is no address: want unix:///PATH or tcp://HOST:PORT")

// socket is the one to ask without a DOCKER_HOST.
func socket(env map[string]string) string {
	candidates := []string{defaultSocket, "/run/podman/podman.sock"}
	if dir := env["XDG_RUNTIME_DIR"]; dir != "" {
		candidates = append(candidates, dir+"/docker.sock", dir+"/podman/podman.sock") // rootless ones
	}
	for _, c := range candidates {
		if info, err := os.Stat(c); err == nil && info.Mode().Type() == os.ModeSocket {
			return c
		}
	}
	return defaultSocket
}

func tlsConfig(env map[string]string, name string) (*tls.Config, error) {
	dir := env["DOCKER_CERT_PATH"]
	if dir == "" {
		dir = filepath.Join(env["HOME"], ".docker")
	}
	config := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("DOCKER_TLS is set, but the certificate of its authority can't be read: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(dir, "ca.pem"))
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	switch {
	case err == nil:
		config.Certificates = []tls.Certificate{own}
	case !errors.Is(err, os.ErrNotExist): // without one, the engine may not ask for it
		return nil, fmt.Errorf("the client's certificate in %s can't be used: %w", dir, err)
	}
	return config, nil
}

// String is where the engine is, for people.
func (e *Engine) String() string {
	if e.network == "unix" {
		return e.address
	}
	return e.network + "://" + e.address
}

// Near says whether the engine's address is of this machine.
func (e *Engine) Near() bool {
	host, _, err := net.SplitHostPort(e.address)
	if e.network == "unix" || err == nil && host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Close ends connections that are kept for a next question.
func (e *Engine) Close() { e.transport.CloseIdleConnections() }

func (e *Engine) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, e.network, e.address)
	if err != nil || e.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, e.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// Refusal is an answer of the engine that says no.
type Refusal struct {
	Op      string // the method and path asked for
	Status  int    // HTTP status
	Message string // the engine's words: hostile text
}

func (r *Refusal) Error() string {
	if r.Message == "" {
		return fmt.Sprintf("the engine answers %s with HTTP status %d", r.Op, r.Status)
	}
	return "the engine refuses: " + r.Message
}

// IsNotFound says whether the engine knows no such container or image.
func IsNotFound(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Status == http.StatusNotFound
}

// Unreached is an engine that could not be asked, or did not answer.
type Unreached struct {
	Engine string
	Op     string // what failed, "connect"; or the method and path that got no answer
	Hint   string // what that may be; or empty
	err    error
}

func (u *Unreached) Error() string {
	text := fmt.Sprintf("the container engine at %s can't be asked (%s: %s)", u.Engine, u.Op, u.Reason())
	if u.Hint != "" {
		text += ": " + u.Hint
	}
	return text
}

// Reason is the cause in the fewest words: an errno's, or the library's.
func (u *Unreached) Reason() string {
	var errno syscall.Errno
	switch {
	case errors.Is(u.err, context.DeadlineExceeded), errors.Is(u.err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.As(u.err, &errno):
		return errno.Error()
	}
	return u.err.Error()
}

func (u *Unreached) Unwrap() error { return u.err }

// unreached says what an engine may be that can't be asked.
func (e *Engine) unreached(op string, err error) error {
	u := &Unreached{Engine: e.String(), Op: op, err: err}
	var failed *net.OpError
	if errors.As(err, &failed) {
		u.Op = failed.Op
		if failed.Op == "dial" {
			u.Op = "connect"
		}
	}
	if e.network != "unix" {
		if strings.Contains(err.Error(), "malformed HTTP response") {
			u.Hint = "it seems to speak TLS: set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
		}
		return u
	}
	info, statErr := os.Stat(e.address)
	switch {
	case statErr == nil && info.IsDir():
		u.Hint = "it is a directory, which Docker makes where a socket is missing"
	case errors.Is(err, os.ErrPermission):
		u.Hint = "run as root, or as a member of the group that the socket belongs to"
	case errors.Is(err, os.ErrNotExist):
		u.Hint = "no socket is there: mount the engine's, or name another one with DOCKER_HOST"
	case errors.Is(err, syscall.ECONNREFUSED):
		u.Hint = "the socket is there, but nobody listens to it"
	}
	return u
}

// ask sends one request and decodes the answer into reply, if that is not nil.
func (e *Engine) ask(ctx context.Context, method, path string, query url.Values, body, reply any) error {
	op := method + " " + path
	target := "http://engine" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := e.transport.RoundTrip(req)
	if err != nil {
		return e.unreached(op, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusMultipleChoices {
		return refusal(op, answer)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit+1))
	switch {
	case err != nil:
		return e.unreached(op, err)
	case len(text) > answerLimit:
		return e.unreached(op, fmt.Errorf("its answer is larger than %d MB", answerLimit>>20))
	case reply == nil:
		return nil
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return e.unreached(op, errors.New("its answer is not what an engine says"))
	}
	return nil
}

func refusal(op string, answer *http.Response) error {
	r := &Refusal{Op: op, Status: answer.StatusCode}
	text, err := io.ReadAll(io.LimitReader(answer.Body, errorLimit))
	var said struct{ Message string }
	if err == nil && json.Unmarshal(text, &said) == nil {
		r.Message = strings.TrimSpace(said.Message)
	}
	return r
}
