package metrics

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, health error) string {
	t.Helper()
	s, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Pages{
		Metrics: func(w io.Writer) error { _, err := fmt.Fprintln(w, "up 1"); return err },
		Health:  func() error { return health },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String()
}

// ask sends a text and returns the first line of the answer and its header.
func ask(t *testing.T, address, text string) (status, answer string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) { // by what was not read of the request
		t.Fatal(err)
	}
	return fmt.Sprint(response.StatusCode, " ", response.Close), string(body)
}

func TestPages(t *testing.T) {
	well, ill := start(t, nil), start(t, errors.New("the round is late"))
	for _, c := range []struct{ address, request, status, body string }{
		{well, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 false", "up 1\n"},
		{well, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200 false", "ok\n"},
		{ill, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "503 false", "the round is late\n"},
		{well, "GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "404 false", "there are /metrics and /healthz\n"},
		{well, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 false", "there are /metrics and /healthz\n"},
		{well, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "405 true", "only GET and HEAD are allowed\n"},
		{well, "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "405 false", "only GET and HEAD are allowed\n"},
		{well, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "405 false", "only GET and HEAD are allowed\n"},
		// The answer does not wait for a body, which may never come.
		{well, "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", "200 true", "up 1\n"},
		{well, "GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", "431 true", "431 Request Header Fields Too Large"},
		{well, "\x16\x03\x01 TLS\r\n\r\n", "400 true", "400 Bad Request"},
	} {
		if status, body := ask(t, c.address, c.request); status != c.status || body != c.body {
			t.Errorf("%.60q: %s %q, want %s %q", c.request, status, body, c.status, c.body)
		}
	}
	response, err := http.Head("http://" + well + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("HEAD: %s, %s", response.Status, got)
	}
}

// TestTooManyConnections checks that clients which connect and send nothing, or a part of
// a request, do not keep others out: those that have waited for longest are disconnected.
func TestTooManyConnections(t *testing.T) {
	address := start(t, nil)
	var held []net.Conn
	attack := func() {
		for i := range 2 * mostConnections {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if i%2 == 1 { // it may be disconnected at once
				_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
			}
			held = append(held, c)
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 10 {
		attack()
		response, err := client.Get("http://" + address + "/metrics")
		if err != nil {
			t.Fatalf("nobody is served beside %d connections: %v", len(held), err)
		}
		_ = response.Body.Close()
	}
	open := 0
	for _, c := range held {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open > mostConnections {
		t.Errorf("%d connections are open, want at most %d", open, mostConnections)
	}
}

// TestAClientThatAsksStays checks that a client which asks again and again is not the one
// that is disconnected.
func TestAClientThatAsksStays(t *testing.T) {
	address := start(t, nil)
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	answers := bufio.NewReader(client)
	for range 4 * mostConnections {
		if _, err := io.WriteString(client, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		for range mostConnections / 2 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		":9464": "127.0.0.1:9464", "localhost:9464": "127.0.0.1:9464", "0.0.0.0:9464": "0.0.0.0:9464", "[::]:1": "[::]:1", "[::1]:9464": "[::1]:9464", "10.0.0.1:0": "10.0.0.1:0",
		"9464": "", "": "", "web:9464": "", ":http": "", ":70000": "", "1.2.3.4": "", "[::1]": "", ":-1": "",
	} {
		got, err := ParseAddress(text)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
}
