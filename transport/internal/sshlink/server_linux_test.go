package sshlink

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/transport/internal/remote"
)

// serveSSH starts an SSH server without authentication, and returns a link to
// it. answer is called with each request for a channel; the first is number 1.
func serveSSH(t *testing.T, answer func(number int64, c ssh.NewChannel)) *Link {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var number atomic.Int64
	testbed.Accept(t, l, func(conn net.Conn) {
		config := &ssh.ServerConfig{NoClientAuth: true}
		config.AddHostKey(hostKey)
		_, channels, requests, err := ssh.NewServerConn(conn, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for c := range channels {
			answer(number.Add(1), c)
		}
	})
	dir := t.TempDir()
	known, key := filepath.Join(dir, "known"), filepath.Join(dir, "key")
	line := xknownhosts.Line([]string{l.Addr().String()}, hostKey.PublicKey()) + "\n"
	if err := errors.Join(os.WriteFile(known, []byte(line), 0o600), os.WriteFile(key, pem.EncodeToMemory(block), 0o600)); err != nil {
		t.Fatal(err)
	}
	// The dialer has no timeout.
	link, err := New(Options{Env: map[string]string{"HOME": dir}, KnownHosts: known, Identities: []string{key}}).Dial(t.Context(), address(t, "ssh://me@"+l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close() })
	return link
}

// runCommand accepts a session, writes text as the output of its command, and
// ends with a status.
func runCommand(c ssh.NewChannel, text string, status byte) {
	channel, requests, err := c.Accept()
	if err != nil {
		return
	}
	go func() {
		defer channel.Close()
		for r := range requests {
			_ = r.Reply(r.Type == "exec", nil)
			if r.Type == "exec" {
				_, _ = io.WriteString(channel, text)
				_, _ = channel.SendRequest("exit-status", false, []byte{0, 0, 0, status})
				return
			}
		}
	}()
}

// A host that allows one session at a time may refuse the next one for a moment.
func TestSessionsThatAreRefusedForAMoment(t *testing.T) {
	for name, c := range map[string]struct {
		refused int64 // the last request for a channel that is refused; the first is granted
		want    string
	}{
		"not at all":    {1, ""},
		"almost always": {21, ""},
		"always":        {22, "session: can't open a session: rejected: administratively prohibited (\"one at a time\")"},
	} {
		var asked atomic.Int64
		l := serveSSH(t, func(number int64, c2 ssh.NewChannel) {
			asked.Store(number)
			if number > 1 && number <= c.refused {
				_ = c2.Reject(ssh.Prohibited, "one at a time")
				return
			}
			runCommand(c2, "hello", 0)
		})
		if out, err := remote.Output(soon(t), l, "x", 10); err != nil || string(out) != "hello" {
			t.Fatalf("%s: %q, %v", name, out, err)
		}
		out, err := remote.Output(soon(t), l, "x", 10)
		switch {
		case c.want == "" && (err != nil || string(out) != "hello"):
			t.Errorf("%s: %q, %v", name, out, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%s: %v", name, err)
		}
		if want := max(2, min(c.refused+1, 22)); asked.Load() != want {
			t.Errorf("%s: asked %d times, want %d", name, asked.Load(), want)
		}
	}
	// The first session is requested only once.
	var asked atomic.Int64
	l := serveSSH(t, func(_ int64, c ssh.NewChannel) {
		asked.Add(1)
		_ = c.Reject(ssh.Prohibited, "never")
	})
	if _, err := l.Start(soon(t), "x"); err == nil || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

func TestSessionsThatRunNothing(t *testing.T) {
	l := serveSSH(t, func(_ int64, c ssh.NewChannel) {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			defer channel.Close()
			for r := range requests {
				_ = r.Reply(false, nil)
			}
		}()
	})
	_, err := l.Start(soon(t), "x")
	checkStep(t, err, "session", "the host refused to run a command")
}

func TestSessionsOfAServer(t *testing.T) {
	l := serveSSH(t, func(_ int64, c ssh.NewChannel) { runCommand(c, "0123456789", 0) })
	if out, err := remote.Output(soon(t), l, "x", 10); err != nil || string(out) != "0123456789" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := remote.Output(soon(t), l, "x", 9); err == nil || err.Error() != "the command wrote more than 9 bytes" {
		t.Error(err)
	}
	l = serveSSH(t, func(_ int64, c ssh.NewChannel) { runCommand(c, "", 7) })
	var exit *remote.ExitError
	if _, err := remote.Output(soon(t), l, "x", 10); !errors.As(err, &exit) || exit.Status != 7 || err.Error() != "exit status 7" {
		t.Error(err)
	}
}

func TestLinkClosedTwice(t *testing.T) {
	l := serveSSH(t, func(_ int64, c ssh.NewChannel) { runCommand(c, "", 0) })
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
