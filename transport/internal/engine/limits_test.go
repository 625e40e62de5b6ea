package engine

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// An engine that sends a header without end is left after a few kilobytes, whatever
// the request and wherever the header grows.
func TestHeadersWithoutEnd(t *testing.T) {
	const (
		enough = 4 << 20 // bytes, with what the sockets hold
		most   = 256 << 20
	)
	for name, c := range map[string]struct{ first, again string }{
		"a line":            {"HTTP/1.1 200 OK\r\nX: ", "xxxxxxxx"},
		"the status":        {"HTTP/1.1 200 ", "OK OK OK"},
		"many lines":        {"HTTP/1.1 200 OK\r\n", "X: y\r\n"},
		"a longer value":    {"HTTP/1.1 200 OK\r\nX: y\r\n", " more\r\n"},
		"no answer but 1xx": {"", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"},
		"in a 1xx":          {"HTTP/1.1 100 Continue\r\nX: ", "xxxxxxxx"},
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			l := testbed.ListenUnix(t)
			testbed.Accept(t, l, func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 4<<10)) // the request
				if _, err := io.WriteString(conn, c.first); err != nil {
					return
				}
				block := []byte(strings.Repeat(c.again, 8<<10))
				for sent.Load() < most {
					n, err := conn.Write(block)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
			e, err := New(map[string]string{"DOCKER_HOST": "unix://" + l.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			for what, ask := range map[string]func() error{
				"list":   func() error { _, err := e.List(t.Context(), false); return err },
				"stat":   func() error { _, err := e.Stat(t.Context(), "x", "/usr"); return err },
				"attach": func() error { _, err := e.Attach(t.Context(), "x"); return err },
			} {
				sent.Store(0)
				err := ask()
				if err == nil || sent.Load() > enough {
					t.Errorf("%s: %v after %d bytes", what, err, sent.Load())
				}
			}
		})
	}
}

// An engine that sends a header forever, byte by byte, is left with the context.
func TestSlowHeaders(t *testing.T) {
	l := testbed.ListenUnix(t)
	testbed.Accept(t, l, func(conn net.Conn) {
		_, err := http.ReadRequest(bufio.NewReader(conn)) // an answer before it is an error of its own
		if err == nil {
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: ")
		}
		for ; err == nil; time.Sleep(time.Millisecond) {
			_, err = io.WriteString(conn, "x")
		}
	})
	e, err := New(map[string]string{"DOCKER_HOST": "unix://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for what, ask := range map[string]func(context.Context) error{
		"list":   func(ctx context.Context) error { _, err := e.List(ctx, false); return err },
		"attach": func(ctx context.Context) error { _, err := e.Attach(ctx, "x"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The limit of the header is none for the stream behind it.
func TestStreamsAreLongerThanHeaders(t *testing.T) {
	text := strings.Repeat("x", 10*headerLimit)
	out, err := io.ReadAll(attached(t, frame(1, text)))
	if err != nil || string(out) != text {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}
