package sshlink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/transport/internal/remote"
)

func TestSessions(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "")
	l, err := New(options(t, s)).Dial(t.Context(), address(t, "ssh://root@127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	t.Run("both ways", func(t *testing.T) {
		c, err := l.Start(soon(t), "cat; echo done >&2")
		if err != nil {
			t.Fatal(err)
		}
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // more than any buffer on the way
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d came back: %v", len(got), len(sent), err)
		}
		if err := c.Wait(soon(t)); err != nil || c.Stderr() != "done\n" {
			t.Errorf("%v, stderr %q", err, c.Stderr())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("ends", func(t *testing.T) {
		for command, want := range map[string]struct {
			status int
			text   string
		}{
			"echo out; printf 'no\nno\n' >&2; exit 7": {7, "exit status 7: no no"},
			"exit 3":     {3, "exit status 3"},
			"kill -9 $$": {-1, "the command was killed, or its exit status is unknown"},
		} {
			_, err := remote.Output(soon(t), l, command, 100)
			var exit *remote.ExitError
			if !errors.As(err, &exit) || exit.Status != want.status || err.Error() != want.text {
				t.Errorf("%s: %v; want %+v", command, err, want)
			}
		}
	})
	t.Run("much on stderr", func(t *testing.T) {
		out, err := remote.Output(soon(t), l, "yes 12345 | head -c 3000000 >&2; echo over", 100)
		if err != nil || string(out) != "over\n" {
			t.Errorf("%q, %v", out, err)
		}
		_, err = remote.Output(soon(t), l, "yes 12345 | head -c 3000000 >&2; exit 1", 100)
		var exit *remote.ExitError
		if !errors.As(err, &exit) || len(exit.Stderr) != 4096 || !strings.HasPrefix(exit.Stderr, "12345\n12345") {
			t.Errorf("%.100v", err)
		}
	})
	t.Run("limit", func(t *testing.T) {
		if out, err := remote.Output(soon(t), l, "printf 12345", 5); err != nil || string(out) != "12345" {
			t.Errorf("%q, %v", out, err)
		}
		_, err := remote.Output(soon(t), l, "yes", 5)
		if err == nil || err.Error() != "the command wrote more than 5 bytes" {
			t.Error(err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := remote.Output(ctx, l, "sleep 60", 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c, err := l.Start(soon(t), "cat")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Wait(soon(t)); errors.Is(err, context.DeadlineExceeded) {
			t.Error("cat still runs after its session was closed")
		}
	})
}

// The end of a link ends every call that waits for its host.
func TestLinksThatEnd(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "")
	d := New(options(t, s))
	for _, how := range []string{"closed by us", "ended there"} {
		l, err := d.Dial(t.Context(), address(t, "ssh://root@127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Start(soon(t), "echo $PPID; cat")
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(c, &pid); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 2)
		go func() {
			_, err := io.ReadAll(c)
			ended <- err
		}()
		go func() {
			var err error
			for err == nil { // until the window is full
				_, err = c.Write(make([]byte, 1<<20))
			}
			ended <- nil
		}()
		if how == "closed by us" {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		} else {
			run(t, nil, "kill", fmt.Sprint(pid))
		}
		for range 2 {
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: a reader or writer still waits", how)
			}
		}
		var exit *remote.ExitError
		if err := c.Wait(soon(t)); !errors.As(err, &exit) || exit.Status != -1 {
			t.Errorf("%s: %v", how, err)
		}
		_, err = l.Start(soon(t), "true")
		checkStep(t, err, "session", "can't open a session: the connection has ended")
		if err := l.Close(); err != nil {
			t.Errorf("%s, closed again: %v", how, err)
		}
	}
}

func TestHostsThatRunNothing(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "", "MaxSessions 0")
	_, err := whoami(t, options(t, s), "ssh://root@127.0.0.1")
	checkStep(t, err, "session", "can't open a session")
	s = startSSHD(t, "127.0.0.2:22", "ForceCommand echo forced; exit 3")
	l, err := New(options(t, s)).Dial(t.Context(), address(t, "ssh://root@127.0.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = remote.Output(soon(t), l, "true", 100)
	var exit *remote.ExitError
	if !errors.As(err, &exit) || exit.Status != 3 {
		t.Errorf("a forced command: %v", err)
	}
}
