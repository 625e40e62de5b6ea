package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

func TestNewFindsTheEngine(t *testing.T) {
	dir, err := os.MkdirTemp("", "run") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Mkdir(dir+"/podman", 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/podman/podman.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, c := range map[string]struct {
		env   map[string]string
		want  string // the address, or the error's beginning
		local bool
	}{
		"a socket":         {map[string]string{"DOCKER_HOST": "unix:///run/x.sock"}, "/run/x.sock", true},
		"an address":       {map[string]string{"DOCKER_HOST": "tcp://docker:2375"}, "tcp://docker:2375", false},
		"no port":          {map[string]string{"DOCKER_HOST": "tcp://10.0.0.1"}, "tcp://10.0.0.1:2375", false},
		"IPv6":             {map[string]string{"DOCKER_HOST": "tcp://[::1]:1"}, "tcp://[::1]:1", true},
		"near":             {map[string]string{"DOCKER_HOST": "http://localhost:1"}, "tcp://localhost:1", true},
		"ssh":              {map[string]string{"DOCKER_HOST": "ssh://me:secret@host"}, "DOCKER_HOST is a ssh:// address", false},
		"no host":          {map[string]string{"DOCKER_HOST": "tcp://:secret@"}, "DOCKER_HOST is not a valid address", false},
		"no address":       {map[string]string{"DOCKER_HOST": "docker:2375"}, "DOCKER_HOST is not a valid address", false},
		"no certificates":  {map[string]string{"DOCKER_HOST": "tcp://docker:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": dir}, "TLS is on for DOCKER_HOST, but the CA certificate can't be read", false},
		"Podman, rootless": {map[string]string{"XDG_RUNTIME_DIR": dir}, "", true},
	} {
		e, err := New(c.env)
		if err != nil {
			if c.want == "" || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if c.want == "" { // Docker's own socket comes first, if it exists
			c.want = defaultSocket
			if info, err := os.Stat(defaultSocket); err != nil || info.Mode().Type() != os.ModeSocket {
				c.want = dir + "/podman/podman.sock"
			}
		}
		if e.String() != c.want || e.IsLocal() != c.local {
			t.Errorf("%s: %s, local %v", name, e, e.IsLocal())
		}
	}
}

// serve starts an engine on a unix socket that answers with the function.
func serve(t *testing.T, answer http.HandlerFunc) *Engine {
	t.Helper()
	l := testbed.ListenUnix(t)
	server := &http.Server{Handler: answer}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	e, err := New(map[string]string{"DOCKER_HOST": "unix://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestInvalidLists(t *testing.T) {
	const whole = `[{"Id":"x","Names":["/web"],"Ports":[{"PublicPort":80,"Type":"tcp"}]}]`
	for _, text := range []string{"", "{}", "x", whole[:40], whole + "x", `[{"Ports":[{"PublicPort":65536}]}]`, `[{"Id":1}]`, strings.Repeat("[", 1<<20)} {
		e := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
		if all, err := e.List(t.Context(), false); err == nil || !strings.Contains(err.Error(), "not that of a container engine") {
			t.Errorf("%.20q: %v, %v", text, all, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/gone/json"):
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"No such container: gone"}`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusConflict)
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"authorization denied by plugin x: no"}`)
		}
	})
	if _, err := e.Inspect(t.Context(), "gone"); !IsNotFound(err) {
		t.Errorf("gone: %v", err)
	}
	// A name can't change the path of a request.
	if _, err := e.Inspect(t.Context(), "../gone/json?x"); IsNotFound(err) {
		t.Errorf("a name that looks like a path: %v", err)
	}
	_, err := e.Create(t.Context(), "x", Spec{})
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden || err.Error() != "the engine refused: authorization denied by plugin x: no" {
		t.Errorf("create: %v", err)
	}
	if _, err := e.Attach(t.Context(), "x"); !errors.As(err, &refusal) {
		t.Errorf("attach: %v", err)
	}
	if err := e.Remove(t.Context(), "x"); err != nil {
		t.Errorf("a removal that is under way: %v", err)
	}
}

func TestSilenceEndsWithTheContext(t *testing.T) {
	e := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for name, ask := range map[string]func(context.Context) error{
		"list":   func(ctx context.Context) error { _, err := e.List(ctx, false); return err },
		"attach": func(ctx context.Context) error { _, err := e.Attach(ctx, "x"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func frame(kind byte, text string) []byte {
	header := [8]byte{kind}
	binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
	return append(header[:], text...)
}

// attached returns the result of Attach for a container that writes text.
func attached(t *testing.T, text []byte) *Stream {
	t.Helper()
	e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_, _ = conn.Write(text) // the other end may have hung up
	})
	s, err := e.Attach(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStreamTakesFramesApart(t *testing.T) {
	long := strings.Repeat("x", 4096)
	s := attached(t, bytes.Join([][]byte{frame(1, "ab"), frame(2, "warn"), frame(1, ""), frame(2, long), frame(2, "more"), frame(1, "cd")}, nil))
	out, err := io.ReadAll(s)
	if err != nil || string(out) != "abcd" {
		t.Errorf("%q, %v", out, err)
	}
	if stderr := s.Stderr(); stderr != ("warn" + long)[:4096] {
		t.Errorf("stderr %d bytes, %.10q", len(stderr), stderr)
	}
}

func TestStreamBroken(t *testing.T) {
	huge := frame(2, "x")
	huge[4] = 0xff
	for name, text := range map[string][]byte{
		"no frame":        []byte("Permission denied"),
		"half a header":   frame(1, "abc")[:4],
		"half a frame":    frame(2, "abc")[:9],
		"more than is":    huge,
		"an unknown kind": frame(3, "abc"),
	} {
		s := attached(t, text)
		if out, err := io.ReadAll(s); err == nil || len(out) > 0 {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
