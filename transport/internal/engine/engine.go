// Package engine is a client of the Docker Engine API, which Podman serves too.
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
	"sync/atomic"
	"syscall"
)

const (
	defaultSocket = "/var/run/docker.sock"
	headerLimit   = 64 << 10 // bytes of a response's header; an engine's own have less than 1 KB
	bodyLimit     = 8 << 20  // bytes of a response; a list has about 2 KB for each container
	refusalLimit  = 4 << 10  // bytes of a response that refuses a request
)

// Engine is a client of one container engine. It connects when a method needs
// it to.
type Engine struct {
	network, address string // as in net.Dial
	tls              *tls.Config
	transport        *http.Transport
	server           atomic.Pointer[string] // what the last response says it is
	ofUser           int                    // uid of the process that has to answer; 0 for any
}

// New returns a client of the engine that the docker command would use: at
// DOCKER_HOST, by TLS if DOCKER_TLS or DOCKER_TLS_VERIFY is set, with the
// certificates in DOCKER_CERT_PATH. Without DOCKER_HOST it is the first socket
// of Docker or Podman that exists. The engine's certificate is always verified.
func New(env map[string]string) (*Engine, error) {
	e := &Engine{network: "unix", address: defaultAddress(env)}
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
		return nil, fmt.Errorf("DOCKER_HOST is a %s:// address: only unix:// and tcp:// addresses are supported", scheme)
	}
	e.transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
		DisableCompression:     true, // so that bodyLimit counts what is received
		MaxResponseHeaderBytes: headerLimit,
	}
	return e, nil
}

// errBadAddress does not quote the variable, which may contain a password.
var errBadAddress = errors.New("DOCKER_HOST is not a valid address: use unix:///PATH or tcp://HOST:PORT")

// defaultAddress returns the path of the socket to use without a DOCKER_HOST.
func defaultAddress(env map[string]string) string {
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
		return nil, fmt.Errorf("TLS is on for DOCKER_HOST, but the CA certificate can't be read: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s contains no certificate", filepath.Join(dir, "ca.pem"))
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	switch {
	case err == nil:
		config.Certificates = []tls.Certificate{own}
	case !errors.Is(err, os.ErrNotExist): // not every engine requires a client certificate
		return nil, fmt.Errorf("the client certificate in %s can't be used: %w", dir, err)
	}
	return config, nil
}

// String returns the engine's address for messages.
func (e *Engine) String() string {
	if e.network == "unix" {
		return e.address
	}
	return e.network + "://" + e.address
}

// Kind returns "docker" or "podman" after a request has been answered, and "" if the
// answer had neither's name: "Docker/28.0.1 (linux)", "Libpod/5.4.2 (linux)".
func (e *Engine) Kind() string {
	server := e.server.Load()
	switch {
	case server == nil:
	case strings.HasPrefix(*server, "Docker/"):
		return "docker"
	case strings.HasPrefix(*server, "Libpod/"):
		return "podman"
	}
	return ""
}

// IsLocal reports whether the engine's address is on this machine.
func (e *Engine) IsLocal() bool {
	host, _, err := net.SplitHostPort(e.address)
	if e.network == "unix" || err == nil && host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Socket returns the path of the engine's socket, empty if it is reached in another
// way.
func (e *Engine) Socket() string {
	if e.network == "unix" {
		return e.address
	}
	return ""
}

// Close closes idle connections.
func (e *Engine) Close() { e.transport.CloseIdleConnections() }

func (e *Engine) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, e.network, e.address)
	if err == nil && e.ofUser > 0 {
		if err = isPeer(conn, e.ofUser); err != nil {
			conn.Close()
			return nil, err
		}
	}
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

// Refusal is an error response of the engine.
type Refusal struct {
	Op      string // method and path of the request
	Status  int    // HTTP status
	Message string // from the engine: untrusted text, may be empty
}

func (r *Refusal) Error() string {
	if r.Message == "" {
		return fmt.Sprintf("the engine answered %s with HTTP status %d", r.Op, r.Status)
	}
	return "the engine refused: " + r.Message
}

// IsNotFound reports whether err is the engine's answer that there is no such
// container or image.
func IsNotFound(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Status == http.StatusNotFound
}

// Unreached is the error of a request that got no usable response.
type Unreached struct {
	Engine string
	Op     string // "connect" or another system call that failed, else method and path of the request
	Hint   string // the likely reason and the remedy; may be empty
	err    error
}

func (u *Unreached) Error() string {
	text := fmt.Sprintf("the container engine at %s can't be queried (%s: %s)", u.Engine, u.Op, u.Reason())
	if u.Hint != "" {
		text += ": " + u.Hint
	}
	return text
}

// Reason returns a short text of the cause, without addresses where there is an
// errno.
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

// unreached returns an Unreached for err with a hint.
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
			u.Hint = "the engine seems to use TLS: set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
		}
		return u
	}
	info, statErr := os.Stat(e.address)
	switch {
	case statErr == nil && info.IsDir():
		u.Hint = "it is a directory, which Docker creates where the source of a bind mount is missing: mount the engine's socket"
	case errors.Is(err, os.ErrPermission):
		u.Hint = "run as root, or as a member of the group that the socket belongs to"
	case errors.Is(err, os.ErrNotExist):
		u.Hint = "there is no socket: mount the engine's socket, or set DOCKER_HOST"
	case errors.Is(err, syscall.ECONNREFUSED):
		u.Hint = "the socket exists, but no process listens on it: start the engine"
	}
	return u
}

// do sends one request, with body as JSON unless it is nil, and decodes the
// response into reply unless that is nil.
func (e *Engine) do(ctx context.Context, method, path string, query url.Values, body, reply any) error {
	response, err := e.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	op := method + " " + path
	text, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit+1))
	switch {
	case err != nil:
		return e.unreached(op, err)
	case len(text) > bodyLimit:
		return e.unreached(op, fmt.Errorf("its answer is larger than %d MB", bodyLimit>>20))
	case reply == nil:
		return nil
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return e.unreached(op, errNotAnEngine)
	}
	return nil
}

var errNotAnEngine = errors.New("its answer is not that of a container engine")

// send sends one request, with body as JSON unless it is nil. The caller closes
// the body of the response.
func (e *Engine) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	op := method + " " + path
	target := "http://engine" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	response, err := e.transport.RoundTrip(req)
	if err != nil {
		return nil, e.unreached(op, err)
	}
	server := response.Header.Get("Server")
	e.server.Store(&server)
	if response.StatusCode >= http.StatusMultipleChoices {
		defer response.Body.Close()
		return nil, refusal(op, response)
	}
	return response, nil
}

func refusal(op string, response *http.Response) error {
	r := &Refusal{Op: op, Status: response.StatusCode}
	text, err := io.ReadAll(io.LimitReader(response.Body, refusalLimit))
	var body struct{ Message string }
	if err == nil && json.Unmarshal(text, &body) == nil {
		r.Message = strings.TrimSpace(body.Message)
	}
	return r
}
