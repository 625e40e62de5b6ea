package peer

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestOf(t *testing.T) {
	dial := func(network, address string) net.Conn {
		t.Helper()
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		conn, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	conn := dial("unix", filepath.Join(t.TempDir(), "socket"))
	if p, err := Of(conn); err != nil || int(p.Pid) != os.Getpid() || int(p.Uid) != os.Geteuid() {
		t.Errorf("%+v, %v; want this process", p, err)
	}
	conn.Close()
	if p, err := Of(conn); err == nil {
		t.Errorf("of a closed connection: %+v", p)
	}
	if p, err := Of(dial("tcp", "127.0.0.1:0")); err == nil {
		t.Errorf("of a TCP connection: %+v", p)
	}
}
