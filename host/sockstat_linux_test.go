package host

import (
	"fmt"
	"strings"
	"testing"

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
