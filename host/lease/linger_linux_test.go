package lease

import (
	"io"
	"net"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// leaveTimeWait has a server on a port close a connection, and end.
func leaveTimeWait(t *testing.T, n uint16) {
	t.Helper()
	server, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(int(n)))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.Dial("tcp4", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
}

// TestPortsOfClosedConnections checks that a port can be leased although the server that
// had it has just left, and that it is held as any other: by an exclusive bind it is
// taken for a minute.
func TestPortsOfClosedConnections(t *testing.T) {
	if !isolated(t) {
		return
	}
	for n := uint16(8000); n <= 8002; n++ {
		leaveTimeWait(t, n)
		if bindable(t, n, false) || !bindable(t, n, true) {
			testbed.Missing(t, "a closed connection does not linger here")
		}
	}
	if reply := mustStart(t, request("a", want(8000, 8000))); !slices.Equal(reply.First, []uint16{8000}) {
		t.Fatalf("got %+v, but only closed connections have the port", reply)
	}
	if !bindable(t, 8000, true) {
		t.Error("the server can't start on its leased port")
	}
	if reply := mustStart(t, request("b", want(8000, 8000))); reply.Unmet == nil {
		t.Error("the port was leased twice")
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:8001")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if reply := mustStart(t, request("c", want(8001, 8001))); reply.Unmet == nil {
		t.Error("the port of a server was leased")
	}
	starting, err := bindOn(unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Port: 8002}, []int{unix.SO_REUSEADDR})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(starting)
	var l lingering
	if l.has(8002); !l.held.Has(8002) {
		testbed.Missing(t, "this kernel shows no socket that is bound and does not listen")
	}
	if reply := mustStart(t, request("d", want(8002, 8002))); reply.Unmet == nil {
		t.Error("the port of a server that starts was leased")
	}
	if _, leased := Look(port.TCP, 8002, soon()); leased {
		t.Error("the lock of a refused lease is left")
	}
}
