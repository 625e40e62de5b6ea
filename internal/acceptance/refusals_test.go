//go:build linux

package acceptance

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// TestNoEngine checks that there is no verdict without a usable engine, and that
// the step reports the reason and what to do.
func TestNoEngine(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	p := freePorts(t, 1)
	directory := filepath.Join(temp(t), "docker.sock")
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	// This mode allows only root. The mode of the engine's own socket may differ.
	forbidden := filepath.Join(temp(t), "docker.sock")
	relay(t, forbidden, engineSocket)
	if err := os.Chmod(forbidden, 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(temp(t), "docker.sock")
	answer(t, stranger, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			fmt.Fprintln(w, "[]")
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, `{"message":"No such container: somebody"}`)
	}))
	for name, c := range map[string]struct {
		socket string
		flags  []string
		want   []string
	}{
		"directory":         {directory, nil, []string{"it is a directory", "'target: local'"}},
		"no socket":         {"-", nil, []string{"there is no socket: mount the engine's socket", "'target: local'"}},
		"permission":        {forbidden, []string{"-u", "1000:1000"}, []string{"run as root, or as a member of the group"}},
		"unknown container": {stranger, nil, []string{"has no record of this container", "mount the socket of that engine"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := step{image: image, inputs: map[string]string{"port": fmt.Sprint(p[0])}, socket: c.socket, flags: c.flags}
			if c.flags != nil {
				// This user can't write the runner's files. The log is complete.
				o := s.run(t).want(t, 3)
				for _, w := range c.want {
					if !strings.Contains(o.stdout, w) {
						t.Errorf("no %q in the log\n%s", w, o)
					}
				}
				return
			}
			s.run(t).want(t, 3).reason(t, append(c.want, "this would test the container, not the runner")...)
		})
	}
}

// TestSilentEngine checks that an engine that never answers costs no more than the
// timeout.
func TestSilentEngine(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	p := freePorts(t, 1)
	silent := filepath.Join(temp(t), "docker.sock")
	testbed.Serve(t, "unix", silent, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	const timeout = 2 * time.Second
	o := step{
		image: image, socket: silent,
		inputs: map[string]string{"port": fmt.Sprint(p[0]), "timeout": timeout.String()},
	}.run(t).want(t, 3)
	o.reason(t, "could not be reached within 2s", engineSocket)
	t.Logf("with a timeout of %s the step took %s", timeout, o.took)
	if o.took < timeout || o.took > timeout+3*time.Second {
		t.Errorf("took %s with a timeout of %s", o.took, timeout)
	}
}

// answer serves a fake engine, or a fake plugin of an engine.
func answer(t *testing.T, socket string, handler http.Handler) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler}
	t.Cleanup(func() { s.Close() })
	go func() { _ = s.Serve(l) }() // until it is closed
}

// relay forwards connections to a socket to another one.
func relay(t *testing.T, from, to string, also ...io.Writer) {
	t.Helper()
	testbed.Serve(t, "unix", from, func(c net.Conn) { forward(c, to, also...) })
}

// closesWriting is a connection that can be closed for writing, which ends a
// helper's stdin.
type closesWriting interface {
	net.Conn
	CloseWrite() error
}

// forward copies data both ways between a connection and a unix socket, and to
// other writers.
func forward(c net.Conn, to string, also ...io.Writer) {
	dialled, err := net.Dial("unix", to)
	if err != nil {
		return
	}
	d := dialled.(closesWriting)
	defer d.Close()
	done := make(chan struct{})
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(io.MultiWriter(append([]io.Writer{to}, also...)...), from)
		_ = to.(closesWriting).CloseWrite()
		done <- struct{}{}
	}
	go pass(d, c)
	go pass(c, d)
	<-done
	<-done
}
