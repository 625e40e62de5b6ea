package host

import (
	"context"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestSurvey compares surveys with what listens: each socket is in the answer when it is
// new, and its part when it is gone.
func TestSurvey(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	known := survey(t, nil).digests
	expect := func(what string, changed ...uint16) []Socket {
		t.Helper()
		got := survey(t, known)
		var parts []int
		for _, n := range changed {
			parts = append(parts, PartOf(n))
		}
		slices.Sort(parts)
		if !slices.Equal(got.Surveyed.Changed, slices.Compact(parts)) {
			t.Errorf("%s: the parts %v have changed, want those of the ports %v", what, got.Surveyed.Changed, changed)
		}
		for _, part := range got.Surveyed.Changed {
			known[part] = got.digests[part]
		}
		// What is read without keeping sockets is the same as what is made of sockets.
		if quick := readDigests(t.Context()); !slices.Equal(quick, known) {
			t.Errorf("%s: readDigests differs from Digests", what)
		}
		return got.Sockets
	}
	expect("nothing")
	tcp := listen(t, "tcp4", "127.0.0.1:1001")
	if sockets := expect("a listener", 1001); len(sockets) != 1 || sockets[0].Port != 1001 || len(sockets[0].Holders) > 0 {
		t.Errorf("the answer is %v", sockets)
	}
	expect("nothing since")
	listen(t, "tcp6", "[::]:1002")
	listen(t, "tcp", "[::1]:1003")
	expect("IPv6", 1002, 1003)
	udp, err := net.ListenPacket("udp", "127.0.0.1:1004")
	if err != nil {
		t.Fatal(err)
	}
	expect("UDP", 1004)
	client, err := net.Dial("udp", "127.0.0.1:1004")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	connection, err := net.Dial("tcp", "127.0.0.1:1001")
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	expect("connections")
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo") })
		if failed != nil {
			return failed
		}
		return err
	}}
	device, err := config.Listen(t.Context(), "tcp4", "0.0.0.0:1005")
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	expect("a device", 1005)
	_ = tcp.Close()
	_ = udp.Close()
	expect("two less", 1001, 1004)
	listen(t, "tcp4", "127.0.0.1:1001")
	expect("another socket on the same port", 1001)
}

type surveyAnswer struct {
	Facts
	digests []uint64
}

func survey(t *testing.T, known []uint64) surveyAnswer {
	t.Helper()
	facts, err := Local{}.Probe(context.Background(), Request{Survey: &Survey{Known: known}})
	if err != nil {
		t.Fatal(err)
	}
	if !facts.Surveyed.Whole {
		t.Fatalf("the table was not read: %v", facts.Gaps)
	}
	return surveyAnswer{facts, Digests(facts.Sockets)}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it
	return l
}

// TestSurveyOfFiles compares the survey of a machine of which only files can be read.
func TestSurveyOfFiles(t *testing.T) {
	row := func(port string) string {
		return "   0: 0100007F:" + port + " 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n"
	}
	head := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	udp := strings.TrimSuffix(head, "\n") + " ref pointer drops\n"
	files := map[string]string{"/proc/net/tcp": head + row("1F90"), "/proc/net/udp": udp, "/proc/net/tcp6": head, "/proc/net/udp6": udp}
	h := FromFiles(func(_ context.Context, path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, unix.ENOENT
	}, Machine{Arch: "amd64", UID: -1}, "test")
	facts, err := h.Probe(t.Context(), Request{Survey: &Survey{}})
	if err != nil || !facts.Surveyed.Whole || len(facts.Sockets) != 1 || facts.Sockets[0].Port != 8080 {
		t.Fatalf("%+v, %v", facts, err)
	}
	known := Digests(facts.Sockets)
	files["/proc/net/tcp"] += row("1F91")
	facts, err = h.Probe(t.Context(), Request{Survey: &Survey{Known: known}})
	if err != nil || !slices.Equal(facts.Surveyed.Changed, []int{PartOf(8081)}) || len(facts.Sockets) != 1 || facts.Sockets[0].Protocol != port.TCP {
		t.Errorf("%+v, %v", facts, err)
	}
	delete(files, "/proc/net/udp")
	if facts, err = h.Probe(t.Context(), Request{Survey: &Survey{Known: known}}); err != nil || facts.Surveyed.Whole || len(facts.Sockets) > 0 {
		t.Errorf("without a table: %+v, %v", facts, err)
	}
}
