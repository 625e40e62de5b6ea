package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/host"
)

// answering is a host that answers with the host of the first Dial as boot ID, and
// with an error.
type answering struct{ err error }

func (a answering) Probe(_ context.Context, req host.Request) (host.Facts, error) {
	return host.Facts{Machine: host.Machine{BootID: req.Dials[0].Host}}, a.err
}

func (answering) Close() error { return nil }

func connected(t *testing.T, h host.Host) host.Host {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		_ = Serve(t.Context(), h, far, far) // ends with near
		far.Close()
	}()
	r := NewHost(near, 1<<20)
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRemoteAsksServe(t *testing.T) {
	r := connected(t, answering{})
	for _, word := range []string{"one", "two", strings.Repeat("x", 200_000)} {
		facts, err := r.Probe(t.Context(), host.Request{Dials: []host.Dial{{Host: word}}})
		if err != nil || facts.Machine.BootID != word {
			t.Fatalf("%.10s: %.20s, %v", word, facts.Machine.BootID, err)
		}
	}
	// An error of the probed host does not close the connection.
	r = connected(t, answering{errors.New("no /proc")})
	for range 2 {
		if _, err := r.Probe(t.Context(), host.Request{Dials: []host.Dial{{}}}); err == nil || err.Error() != "no /proc" {
			t.Errorf("error %v", err)
		}
	}
}

func TestRemoteGivesUp(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	r := NewHost(near, 1<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Probe(ctx, host.Request{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if _, err := r.Probe(t.Context(), host.Request{}); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("after giving up: %v", err)
	}
}

func TestRemoteRefuses(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"nothing":          {"", "without an answer"},
		"half a line":      {`{"version":2`, "in the middle"},
		"not JSON":         {"Permission denied, \x1b[31mplease\n", `can't be parsed: "Permission denied, \x1b[31m`},
		"no facts":         {`{"version":2}` + "\n", "no facts"},
		"another version":  {`{"version":1,"facts":{}}` + "\n", "version 1"},
		"too much":         {`{"version":2,"error":"` + strings.Repeat("x", 5000) + `"}` + "\n", "larger than 4096 bytes"},
		"another request":  {`{"version":2,"id":"x","facts":{}}` + "\n", "to another request"},
		"an old answer":    {`{"version":2,"facts":{}}` + "\n", "to another request"},
		"too many parts":   {`{"version":2,"facts":{"sockets":[` + strings.Repeat("{},", 500) + `{}]}}` + "\n", "504 structs and lists"},
		"parts of nothing": {`{"version":2,"facts":{"sockets":[` + strings.Repeat("null,", 500) + `{}]}}` + "\n", "504 structs and lists"},
		"without end":      {strings.Repeat("x", 5000), "larger than 4096 bytes"},
	} {
		near, far := net.Pipe()
		go func() {
			_, _ = bufio.NewReader(far).ReadString('\n')
			_, _ = io.WriteString(far, c.answer) // it may hang up on us
			far.Close()
		}()
		r := NewHost(near, 4096)
		if _, err := r.Probe(t.Context(), host.Request{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.Probe(t.Context(), host.Request{}); err == nil {
			t.Errorf("%s: still open", name)
		}
	}
}
