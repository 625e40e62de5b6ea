package wire

import (
	"bufio"
	"context"
	"encoding/json"
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
		"half a line":      {`{"version":4`, "in the middle"},
		"not JSON":         {"Permission denied, \x1b[31mplease\n", `can't be parsed: "Permission denied, \x1b[31m`},
		"no facts":         {`{"version":4}` + "\n", "no facts"},
		"another version":  {`{"version":1,"facts":{}}` + "\n", "version 1"},
		"too much":         {`{"version":4,"error":"` + strings.Repeat("x", 5000) + `"}` + "\n", "larger than 4096 bytes"},
		"another request":  {`{"version":4,"id":"x","facts":{}}` + "\n", "to another request"},
		"an old answer":    {`{"version":4,"facts":{}}` + "\n", "to another request"},
		"too many parts":   {`{"version":4,"facts":{"sockets":[` + strings.Repeat("{},", 500) + `{}]}}` + "\n", "504 structs and lists"},
		"parts of nothing": {`{"version":4,"facts":{"sockets":[` + strings.Repeat("null,", 500) + `{}]}}` + "\n", "504 structs and lists"},
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

// answerWith probes a host once, with the reply that the function returns for the
// request's ID.
func answerWith(t *testing.T, limit int, reply func(id string) string) (host.Facts, error) {
	t.Helper()
	return replying(t, limit, reply).Probe(t.Context(), host.Request{})
}

// replying returns a host that answers once.
func replying(t *testing.T, limit int, reply func(id string) string) host.Host {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		var q request
		if err := json.NewDecoder(far).Decode(&q); err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(far, reply(q.ID)) // the client may have closed it
	}()
	r := NewHost(near, limit)
	t.Cleanup(func() { r.Close() })
	return r
}

// A reply may have as many bytes, and as many structs and lists, as the limit
// allows, and not one more.
func TestRemoteLimits(t *testing.T) {
	const limit = 3000
	sized := func(size int) func(string) string {
		return func(id string) string {
			reply := `{"version":4,"id":"` + id + `","facts":{},"x":"`
			return reply + strings.Repeat("x", size-len(reply)-3) + "\"}\n"
		}
	}
	parts := func(count int, part string) func(string) string {
		return func(id string) string { // one struct of each of reply and facts, and the list
			return `{"version":4,"id":"` + id + `","facts":{"gaps":[` + strings.Repeat(part+",", count-4) + part + "]}}\n"
		}
	}
	for name, c := range map[string]struct {
		reply func(id string) string
		want  string // "": no error
	}{
		"as many bytes as allowed":      {sized(limit), ""},
		"one byte more":                 {sized(limit + 1), "larger than 3000 bytes"},
		"as many structs as allowed":    {parts(limit/bytesPerPart, "{}"), ""},
		"one struct more":               {parts(limit/bytesPerPart+1, "{}"), "101 structs and lists"},
		"one null more":                 {parts(limit/bytesPerPart+1, "null"), "101 structs and lists"},
		"an error beside facts":         {func(id string) string { return `{"version":4,"id":"` + id + `","facts":{},"error":"no luck"}` + "\n" }, "no luck"},
		"neither an error nor facts":    {func(id string) string { return `{"version":4,"id":"` + id + `"}` + "\n" }, "no facts"},
		"a newer version":               {func(id string) string { return `{"version":5,"id":"` + id + `","facts":{}}` + "\n" }, "the probe uses version 5 of the protocol, and this portcheck version 4"},
		"a line that ends with the end": {func(id string) string { return `{"version":4,"id":"` + id + `","facts":{}}` }, "in the middle of its answer"},
	} {
		if _, err := answerWith(t, limit, c.reply); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// An error of the stream is returned with what it was for.
func TestRemoteCannotSend(t *testing.T) {
	for err, want := range map[error]string{io.EOF: "the probe ended before the request", io.ErrShortWrite: "send to the probe: short write"} {
		r := NewHost(brokenStream{err}, 4096)
		if _, got := r.Probe(t.Context(), host.Request{}); got == nil || got.Error() != want {
			t.Errorf("%v: %v, want %q", err, got, want)
		}
	}
}

type brokenStream struct{ err error }

func (s brokenStream) Read([]byte) (int, error)  { return 0, s.err }
func (s brokenStream) Write([]byte) (int, error) { return 0, s.err }
func (brokenStream) Close() error                { return nil }
