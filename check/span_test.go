package check

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

func TestSpansAreWhatTheScansSaw(t *testing.T) {
	on2 := func(n *Need) { n.Target = "app1" }
	without := func(n *Need) { n.Exclude = set(t, "9002") }
	needs := []Need{
		needOf("a.yml", "x", inRange("9000-9003")),
		needOf("a.yml", "y", inRange("9000-9003"), ports(7000, 7001)), // the same range
		needOf("a.yml", "z", inRange("9000-9003"), without),
		needOf("a.yml", "u", inRange("9000-9003"), udp),
		needOf("a.yml", "t", inRange("9100,9000"), on2),
		needOf("a.yml", "none"),
		needOf("a.yml", "listens", inRange("1-9"), listening),
	}
	taken := &sim{taken: set(t, "8080,9001"), limits: host.Limits{Reserved: set(t, "9003")}}
	r := run(t, needs, Options{Alternatives: 1}, targetOf("local", taken), targetOf("app1", &sim{}))
	tcp := Span{"local", port.TCP, needs[0].Addresses, set(t, "9000-9003"), nil, set(t, "9000,9002")}
	excluded, datagrams := tcp, tcp
	excluded.Exclude, datagrams.Protocol = set(t, "9002"), port.UDP
	elsewhere := Span{"app1", port.TCP, needs[0].Addresses, set(t, "9100,9000"), nil, set(t, "9100,9000")}
	if diff := cmp.Diff([]Span{tcp, excluded, datagrams, elsewhere}, r.Spans); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if r := run(t, needs, Options{}, targetOf("local", taken), targetOf("app1", &sim{})); len(r.Spans) > 0 {
		t.Errorf("spans without alternatives: %v", r.Spans)
	}
}

// Without the table, a range has no span. An empty one would mean that every port
// is taken.
func TestNoSpanWithoutATable(t *testing.T) {
	n := needOf("a.yml", "x", inRange("9000-9003"))
	f := machine()
	f.Tried = []host.Tried{{Attempts: attempts(t, n, []string{"ok"})}}
	f.Open = []port.Set{{}}
	r, err := Run(context.Background(), []Need{n}, []Target{targetOf("local", canned(f))}, Options{Alternatives: 1})
	if err != nil || len(r.Spans) > 0 {
		t.Errorf("%v %v", r.Spans, err)
	}
	f.Tried[0].TableOK = true
	r, err = Run(context.Background(), []Need{n}, []Target{targetOf("local", canned(f))}, Options{Alternatives: 1})
	if err != nil || len(r.Spans) != 1 || len(r.Spans[0].Open) > 0 {
		t.Errorf("all taken: %v %v", r.Spans, err)
	}
}
