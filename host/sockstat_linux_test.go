package host

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// On a host with many sockets, those that are bound and do not listen are looked for
// only where an answer needs them.
func TestManySockets(t *testing.T) {
	if !inParallel(t) {
		return
	}
	quiet := sock{Protocol: port.TCP, Addr: "127.0.0.1:8080", Reuse: true}
	quiet.hold(t)
	sock{Protocol: port.TCP, Addr: "127.0.0.1:8081"}.hold(t)
	tcpListener("[::]:8082").hold(t)
	request := tries(t, "tcp any 8080", "tcp any 8081", "tcp 127.0.0.1 8082", "tcp any 8080 look", "tcp any 8083")
	show := func() string {
		facts := probeHere(t, request)
		var all []string
		for _, tried := range facts.Tried {
			all = append(all, outcomes(tried.Attempts))
		}
		return strings.Join(all, "; ") + ": " + describe(facts.Sockets)
	}
	few := show()
	crowd(t, fewSockets, 0)
	if !haveManySockets() {
		t.Fatal("the host has few sockets")
	}
	if many := show(); many != few {
		t.Errorf("with many sockets: %s\nwith few: %s", many, few)
	}
	request.Tries = request.Tries[:1]
	if got, want := show(), outcomes(probeHere(t, request).Tried[0].Attempts)+": "; got != want || strings.Contains(got, "in-use") {
		t.Errorf("a bind that works beside a socket: %q, want %q", got, want)
	}
	request.Scans = []Scan{{Binding: request.Tries[0].Binding, Ports: port.Set{{First: 8080, Last: 8083}}}}
	if open := probeHere(t, request).Open[0].String(); open != "8083" {
		t.Errorf("the ports %s are open, want 8083", open)
	}
}

// Sockets that are bound and do not listen count, too: a walk takes longest for them.
func TestManyBoundSockets(t *testing.T) {
	if !inParallel(t) {
		return
	}
	for i := range fewSockets {
		sock{Protocol: port.TCP, Addr: fmt.Sprintf("127.0.0.1:%d", 10000+i)}.hold(t)
	}
	if !haveManySockets() {
		t.Error("the host has few sockets")
	}
}

func TestSockstat(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"connected", "sockets: used 15\nTCP: inuse 7 orphan 3 tw 14 alloc 9 mem 99\nUDP: inuse 5 mem 0\nTCP6: inuse 8\nUDP6: inuse 4\n", 15 + 14},
		{"bound", "sockets: used 5000\nTCP: inuse 7 orphan 3 tw 0 alloc 3000 mem 99\n", 3000},
		{"of other kinds", "sockets: used 5000\nTCP: inuse 7 orphan 3 tw 0 alloc 30 mem 99\n", 30},
		{"elsewhere", "sockets: used 10\nTCP: inuse 7 orphan 3 tw 0 alloc 6410 mem 99\n", 10 + 200},
		{"nothing", "", 0},
		{"short", "TCP: inuse\n", 0},
		{"broken", "TCP: inuse x tw -1\n", 0},
	} {
		var s sockstat
		s.add([]byte(c.text))
		if got := s.cost(); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A server that restarts again and again beside checks of its port never fails to
// bind, and loses no connection.
func TestRestarts(t *testing.T) {
	if !inParallel(t) {
		return
	}
	restarts, checks := 500, 8
	if text := os.Getenv("PORTCHECK_TEST_RESTARTS"); text != "" { // .ci/nightly has 10,000
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		restarts, checks = n, 64
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	// Many binds for each reading of the table: a server that starts often meets one.
	request := tries(t, slices.Repeat([]string{"tcp any 8080", "tcp 127.0.0.1 8080"}, 100)...)
	for range checks {
		wait.Go(func() {
			for ctx.Err() == nil {
				if _, err := (Local{}).Probe(ctx, request); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range restarts {
		if err := serveOne(); err != nil {
			t.Errorf("start %d: %v", i, err)
			break
		}
	}
	stop()
	wait.Wait()
}

// serveOne starts a server, serves one client, and stops it. The client closes the
// connection first, so that no socket of the server stays in TIME_WAIT, which would
// keep everything from its port that binds without SO_REUSEADDR.
func serveOne() error {
	server, err := tcpListener("127.0.0.1:8080").open()
	if err != nil {
		return err
	}
	defer unix.Close(server)
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	if err := unix.Connect(client, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	conn, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(conn)
	if _, err := unix.Write(conn, []byte{42}); err != nil {
		return err
	}
	var b [1]byte
	if _, err := unix.Read(client, b[:]); err != nil {
		return err
	}
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		return err
	}
	_, err = unix.Read(conn, b[:]) // the end
	return err
}
