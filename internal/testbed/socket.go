// Package testbed provides tests with fresh network namespaces and with real
// programs that hold ports in them.
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
	dir, err := os.MkdirTemp("", "socket") // t.TempDir's name may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a server may have closed it already
	return l
}

// Serve listens on an address until the test ends and calls answer for each
// connection in its own goroutine.
func Serve(t *testing.T, network, address string, answer func(net.Conn)) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	Accept(t, l, answer)
}

// Accept is like Serve, for an existing listener. It closes the listener.
func Accept(t *testing.T, l net.Listener, answer func(net.Conn)) {
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it already
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
