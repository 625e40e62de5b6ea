// Package testbed gives tests machines of their own: a fresh network namespace
// a test, and real programs that hold ports in it.
package testbed

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// ListenUnix listens on a unix socket until the test ends.
func ListenUnix(t *testing.T) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "socket") // t.TempDir may be too long for one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a server may have closed it
	return l
}

// Serve answers every connection to an address until the test ends, each by a
// call of answer.
func Serve(t *testing.T, network, address string, answer func(net.Conn)) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	Accept(t, l, answer)
}

// Accept is Serve for a listener, which it closes.
func Accept(t *testing.T, l net.Listener, answer func(net.Conn)) {
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
}
