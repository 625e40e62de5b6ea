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
