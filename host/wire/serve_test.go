package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// fakeHost is a host of one function.
type fakeHost func(context.Context, host.Request) (host.Facts, error)

func (f fakeHost) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	return f(ctx, req)
}
func (fakeHost) Close() error { return nil }

// echo answers a request with as many open sets as it has scans.
func echo(_ context.Context, req host.Request) (host.Facts, error) {
	if req.Listeners {
		return host.Facts{}, errors.New("no\nluck")
	}
	facts := host.Facts{}
	for _, s := range req.Scans {
		facts.Open = append(facts.Open, s.Ports)
	}
	return facts, nil
}

// converse sends one request after the other and returns the replies.
func converse(t *testing.T, requests ...string) []Reply {
	t.Helper()
	in, asks := io.Pipe()
	answers, out := io.Pipe()
	served := make(chan error, 1)
	go func() {
		err := Serve(t.Context(), fakeHost(echo), in, out)
		_ = out.Close()
		served <- err
	}()
	var replies []Reply
	lines := json.NewDecoder(answers)
	for _, request := range requests {
		if _, err := io.WriteString(asks, request); err != nil {
			t.Fatal(err)
		}
		var reply Reply
		if err := lines.Decode(&reply); err != nil {
			t.Fatal(err)
		}
		replies = append(replies, reply)
	}
	if err := asks.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Errorf("at the end: %v", err)
	}
	if rest, err := io.ReadAll(io.MultiReader(lines.Buffered(), answers)); err != nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("and then %q (%v)", rest, err)
	}
	return replies
}

func TestServe(t *testing.T) {
	t.Parallel()
	scan := func(first, last uint16) string {
		text, err := json.Marshal(host.Request{Scans: []host.Scan{{Ports: port.Set{{First: first, Last: last}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + "\n"
	}
	replies := converse(t, scan(1, 2), `{"listeners": true}`+"\n", scan(3, 4), `{"a_key_of_tomorrow": 1}`+"\n")
	for i, want := range []string{"1-2", "no\nluck", "3-4", ""} {
		r := replies[i]
		got := r.Error
		if r.Facts != nil && len(r.Facts.Open) > 0 {
			got = r.Facts.Open[0].String()
		}
		if got != want || r.Version != Version || (r.Facts == nil) == (r.Error == "") {
			t.Errorf("reply %d: %+v, want %q", i, r, want)
		}
	}
}

// Each reply is one line, whatever is in it.
func TestServeLines(t *testing.T) {
	t.Parallel()
	in, asks := io.Pipe()
	answers, out := io.Pipe()
	go func() {
		_ = Serve(t.Context(), fakeHost(echo), in, out) // TestServe checks it
		_ = out.Close()
	}()
	go func() { _, _ = io.WriteString(asks, `{"listeners":true}`) }() // a request needs no newline
	line := make([]byte, 1<<10)
	n, err := answers.Read(line)
	if err != nil || bytes.Count(line[:n], []byte("\n")) != 1 || line[n-1] != '\n' {
		t.Errorf("%q, %v", line[:n], err)
	}
	_ = asks.Close()
}

// The end of the requests ends a probe that is under way, and so does ctx.
func TestServeStops(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"end of requests", "cancelled"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				in, asks := io.Pipe()
				defer in.Close()
				stopped := false
				under := func(ctx context.Context, _ host.Request) (host.Facts, error) {
					<-ctx.Done()
					stopped = true
					return host.Facts{}, ctx.Err()
				}
				var out bytes.Buffer
				served := make(chan error, 1)
				go func() { served <- Serve(ctx, fakeHost(under), in, &out) }()
				if _, err := io.WriteString(asks, "{}\n"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if stopped {
					t.Fatal("stopped for no reason")
				}
				if name == "cancelled" {
					cancel()
				} else if err := asks.Close(); err != nil {
					t.Fatal(err)
				}
				if err := <-served; err != nil || !stopped || out.Len() > 0 {
					t.Errorf("%v, stopped %t, %q", err, stopped, &out)
				}
			})
		})
	}
}

func TestServeBrokenRequest(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"{", "nonsense\n", `{"tries": 1}` + "\n", `[]` + "\n", `{"tries": [{"ports": {"first": 65536}}]}`, "{}\n{", "\x00"} {
		var out bytes.Buffer
		err := Serve(t.Context(), fakeHost(echo), strings.NewReader(text), &out)
		if err == nil || !strings.HasPrefix(err.Error(), "read request: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Serve(t.Context(), fakeHost(echo), strings.NewReader(""), io.Discard); err != nil {
		t.Errorf("no request: %v", err)
	}
}

func TestServeBrokenPipe(t *testing.T) {
	t.Parallel()
	in, asks := io.Pipe()
	defer in.Close()
	go func() { _, _ = io.WriteString(asks, "{}\n") }()
	if err := Serve(t.Context(), fakeHost(echo), in, brokenWriter{}); err == nil || !strings.HasPrefix(err.Error(), "write reply: ") {
		t.Error(err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Whatever the requests are, every line of the output is a Reply.
func FuzzServe(f *testing.F) {
	f.Add([]byte("{}\n{\"listeners\":true}\n"))
	f.Add([]byte(`{"tries":[{"protocol":"tcp","addresses":["any"],"ports":{"first":80,"last":81}}],"scans":[{"ports":[{"first":1,"last":2}]}],"dials":[{"host":"h","port":1}]}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		err := Serve(t.Context(), fakeHost(echo), bytes.NewReader(text), &out)
		for line := range bytes.Lines(out.Bytes()) {
			var reply Reply
			if err := json.Unmarshal(line, &reply); err != nil || reply.Version != Version || (reply.Facts == nil) == (reply.Error == "") {
				t.Fatalf("%q (%v)", line, err)
			}
		}
		if json.Valid(text) && bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) && err == nil {
			t.Fatalf("a list of requests is taken for one request: %q", text)
		}
	})
}

// A request may not take more memory than a probe may use.
func TestServeLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"bytes": {`{"x":"` + strings.Repeat("x", requestLimit) + `"}`, "larger than 16777216 bytes"},
		"parts": {`{"tries":[` + strings.Repeat("{},", requestParts) + `{}]}`, "more than 524288 structs and lists"},
		"nulls": {`{"tries":[` + strings.Repeat("null,", requestParts) + `{}]}`, "more than 524288 structs and lists"},
	} {
		var out bytes.Buffer
		err := Serve(t.Context(), fakeHost(echo), strings.NewReader(c.text), &out)
		if err == nil || !strings.HasPrefix(err.Error(), "read request: ") || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
			t.Errorf("%s: %v, %.100q", name, err, &out)
		}
	}
	// The limits are those of each request, not of all.
	if replies := converse(t, strings.Repeat(" ", requestLimit-10)+"{}\n", strings.Repeat(" ", requestLimit-10)+"{}\n"); len(replies) != 2 {
		t.Errorf("%d replies", len(replies))
	}
}

// Neither end takes a request with more endpoints than a target may have.
func TestEndpointsOfARequest(t *testing.T) {
	t.Parallel()
	block := host.Try{Binding: port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any}}, Ports: port.Range{First: 1, Last: 65535}, Look: true}
	wide, reversed := block, block
	wide.Addresses = []port.Address{"127.0.0.1", "127.0.0.2"}
	reversed.Ports = port.Range{First: 2, Last: 1}
	for name, c := range map[string]struct {
		tries []host.Try
		want  string
	}{
		"as many as allowed": {[]host.Try{block}, ""},
		"in two tries":       {[]host.Try{block, block}, "more than 65536 endpoints"},
		"of two addresses":   {[]host.Try{wide}, "more than 65536 endpoints"},
		"a reversed range":   {[]host.Try{reversed}, "ends before it starts"},
	} {
		req := host.Request{Tries: c.tries}
		_, near := NewHost(brokenStream{io.ErrShortWrite}, 4096).Probe(t.Context(), req)
		_, far := host.Local{}.Probe(t.Context(), req)
		for end, err := range map[string]error{"near": near, "far": far} {
			if c.want == "" && err != nil && !errors.Is(err, io.ErrShortWrite) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, %s end: %v, want %q", name, end, err, c.want)
			}
		}
	}
}
