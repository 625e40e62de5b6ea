package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// concurrentRounds is how often two probes run at the same time.
const concurrentRounds = 500

// Two probes of the same free ports, at the same time, both find them free.
func TestConcurrentProbes(t *testing.T) {
	if !inParallel(t) {
		return
	}
	var req Request
	for n := uint16(8000); n < 8100; n++ {
		b := port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any}, ReuseAddress: n < 8050}
		if n >= 8075 {
			b.Protocol = port.UDP
		}
		req.Tries = append(req.Tries, Try{Binding: b, Ports: port.One(n)})
	}
	// They start together, because an open of a FIFO waits until its other end is
	// opened.
	fifo := filepath.Join(t.TempDir(), "start")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for _, name := range []string{"read", "write"} {
		wait.Go(func() {
			out, err := testbed.TryProgram("concurrent", testbed.Faults{}, fifo, name, encode(req))
			if err != nil {
				t.Error(err)
			}
			t.Logf("%s: %s", name, out)
		})
	}
	wait.Wait()
}

func runConcurrent(args []string) error {
	fifo, mode := args[0], map[string]int{"read": unix.O_RDONLY, "write": unix.O_WRONLY}[args[1]]
	var req Request
	if err := json.Unmarshal([]byte(args[2]), &req); err != nil {
		return err
	}
	fd, err := unix.Open(fifo, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	start := time.Now()
	slowest := time.Duration(0)
	for round := range concurrentRounds {
		began := time.Now()
		facts, err := Local{}.Probe(context.Background(), req)
		if err != nil {
			return err
		}
		slowest = max(slowest, time.Since(began))
		for i, tried := range facts.Tried {
			for _, a := range tried.Attempts {
				if a.Outcome != OK || !tried.TableOK {
					return fmt.Errorf("round %d: port %d (%+v): %+v, sockets %s, gaps %+v", round, req.Tries[i].Ports.First, req.Tries[i], a, describe(facts.Sockets), facts.Gaps)
				}
			}
		}
	}
	fmt.Printf("%d rounds in %s, the slowest took %s\n", concurrentRounds, time.Since(start), slowest)
	return nil
}

// probeWhile repeats a probe until the work is done.
func probeWhile(t *testing.T, req Request, work func(), check func(Facts)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	for probes := 0; ; probes++ {
		select {
		case <-done:
			t.Logf("%d probes", probes)
			if probes == 0 {
				t.Error("no probe while the work was done")
			}
			return
		default:
			check(probeHere(t, req))
		}
	}
}

// A client that connects to a port while it is probed is refused each time.
func TestNeverAccepts(t *testing.T) {
	if !inParallel(t) {
		return
	}
	req := tries(t, "tcp any 8080", "tcp any 8080 exclusive", "tcp any 8080 shared", "tcp loopback 8080")
	dial := func() {
		for i := range 4000 {
			addr := []string{"127.0.0.1:8080", "[::1]:8080"}[i%2]
			conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
			if err == nil {
				_ = conn.Close() // the test has failed
				t.Errorf("%s was accepted", addr)
				return
			}
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: %v", addr, err)
				return
			}
		}
	}
	probeWhile(t, req, dial, func(facts Facts) {
		for i, tried := range facts.Tried {
			if got := outcomes(tried.Attempts); strings.Trim(got, "ok ") != "" {
				t.Errorf("try %d: %s", i, got)
			}
		}
	})
}

// A running server that shares its port loses no connection to the probe.
func TestReusePortServer(t *testing.T) {
	if !inParallel(t) {
		return
	}
	shared := net.ListenConfig{Control: setReusePort}
	listener, err := shared.Listen(t.Context(), "tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			_, _ = conn.Write([]byte{42}) // the client reports what is missing
			_ = conn.Close()
		}
	}()
	serve := func() {
		for i := range 2000 {
			conn, err := net.DialTimeout("tcp", "127.0.0.1:8080", 5*time.Second)
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			var b [1]byte
			if n, err := conn.Read(b[:]); n != 1 || b[0] != 42 {
				t.Errorf("connection %d: %d bytes, %v", i, n, err)
			}
			_ = conn.Close() // read to its end
		}
	}
	probeWhile(t, tries(t, "tcp 127.0.0.1 8080 shared", "tcp any 8080 shared"), serve, func(facts Facts) {
		for i, tried := range facts.Tried {
			if got := outcomes(tried.Attempts); got != "not-tried" {
				t.Errorf("try %d: %s", i, got)
			}
		}
		if !strings.Contains(describe(facts.Sockets), "127.0.0.1:8080 listen") {
			t.Errorf("sockets %s", describe(facts.Sockets))
		}
	})
}

// A running UDP server with SO_REUSEADDR, or SO_REUSEPORT, loses no datagram.
func TestReuseUDPServer(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"reuse", "shared"} {
		t.Run(word, func(t *testing.T) {
			if !inParallel(t) {
				return
			}
			server := sock{Protocol: port.UDP, Addr: "127.0.0.1:8080", Reuse: word == "reuse", ReusePort: word == "shared"}.hold(t)
			client := udpSocket("127.0.0.1:9000").hold(t)
			patience := unix.Timeval{Sec: 5}
			if err := unix.SetsockoptTimeval(server, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
				t.Fatal(err)
			}
			send := func() {
				var b [1]byte
				for i := range 5000 {
					if err := unix.Sendto(client, []byte{byte(i)}, 0, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
						t.Errorf("datagram %d: %v", i, err)
						return
					}
					if _, _, err := unix.Recvfrom(server, b[:], 0); err != nil || b[0] != byte(i) {
						t.Errorf("datagram %d: %v", i, err)
						return
					}
				}
			}
			probeWhile(t, tries(t, "udp 127.0.0.1 8080 "+word, "udp any 8080 "+word), send, func(facts Facts) {
				for i, tried := range facts.Tried {
					if got := outcomes(tried.Attempts); got != "not-tried" {
						t.Errorf("try %d: %s", i, got)
					}
				}
				if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen"; got != want {
					t.Errorf("sockets %s, want %s", got, want)
				}
			})
		})
	}
}

// A socket is examined only if it made a bind fail and could be another portcheck's.
// It is a stranger's if another program has it open.
func TestFindStrangers(t *testing.T) {
	if !inParallel(t) {
		return
	}
	const script = `
import socket, time
all = []
for port in (8080, 8081):
    s = socket.socket()
    s.bind(("127.0.0.1", port))
    all.append(s)
print("ready")
time.sleep(600)`
	testbed.Python(t, script)
	sock{Protocol: port.TCP, Addr: "127.0.0.1:8082"}.hold(t) // of this program
	tcpListener("127.0.0.1:8083").hold(t)
	p := newProbe(t.Context(), tries(t, "tcp 127.0.0.1 8080", "tcp 127.0.0.1 8081", "tcp 127.0.0.1 8082", "tcp 127.0.0.1 8083"))
	p.readAll()
	for i, outcome := range []Outcome{InUse, OK, InUse, InUse} {
		p.facts.Tried[i].Attempts = []Attempt{{Outcome: outcome}}
		if len(p.seen[i]) != 1 {
			t.Fatalf("try %d: sockets %s", i, describe(p.seen[i]))
		}
	}
	p.findStrangers([]int{0, 1, 2, 3})
	for i, want := range []string{"stranger", "not examined", "portcheck", "not examined"} {
		got := "not examined"
		if stranger, examined := p.strangers[keyOf(p.seen[i][0])]; examined && stranger {
			got = "stranger"
		} else if examined {
			got = "portcheck"
		}
		if got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
	}
	if len(p.seen[0][0].Holders) > 0 || len(p.facts.Gaps) > 0 {
		t.Errorf("holders %+v, gaps %+v, want none before the end of a probe", p.seen[0][0].Holders, p.facts.Gaps)
	}
}
