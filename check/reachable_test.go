package check

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/port"
)

// A host on Windows has names of its own for what a connect may end with.
func TestConnectsOnWindows(t *testing.T) {
	table, err := os.ReadFile("../host/bind_windows.go")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"WSAECONNREFUSED"}
	for name := range silence {
		if strings.HasPrefix(name, "WSA") {
			names = append(names, name)
		}
	}
	n := Need{Port: config.Port{Name: "db", Remote: "db.example", Ports: port.One(5432), Expect: config.Unreachable}}
	for _, name := range names {
		if !strings.Contains(string(table), `"`+name+`"`) {
			t.Errorf("no host says %s", name)
		}
		a := host.Attempt{Endpoint: port.Endpoint{Port: 5432}, Outcome: host.Failed, Op: "connect", Errno: name}
		if got := n.reachStatus(a); got != Unreachable {
			t.Errorf("%s: %s", name, got)
		}
		unix := a
		unix.Errno = strings.TrimPrefix(name, "WSA")
		for _, describe := range []func(host.Attempt) string{dialFailure, func(a host.Attempt) string { return describeDial(n, a) }} {
			if got, want := describe(a), strings.ReplaceAll(describe(unix), unix.Errno, name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if timedOut(a) != timedOut(unix) {
			t.Errorf("%s: timed out %t", name, timedOut(a))
		}
	}
}

// What judges connects beside a watch may panic: whoever takes the results gets the panic,
// and can report it.
func TestPanicBesideAWatch(t *testing.T) {
	c := &connecting{}
	broken := Target{Name: "x", Open: func(context.Context) (host.Host, error) { panic("broken") }}
	n := Need{Port: config.Port{Name: "db", Remote: "db.example", Ports: port.One(5432), Protocols: []port.Protocol{port.TCP}, Expect: config.Reachable}, Target: "x"}
	c.start(t.Context(), broken, []Need{n}, Options{})
	var caught any
	func() {
		defer func() { caught = recover() }()
		c.take(t.Context(), time.Minute)
	}()
	if p, ok := caught.(panics.Panic); !ok || p.String() != "broken" {
		t.Errorf("%v", caught)
	}
	c.close() // it has ended
}
