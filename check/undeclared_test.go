package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// crowded is a host with listeners.
type crowded struct {
	sim
	sockets []host.Socket
	err     error // of the request for listeners
	unread  bool  // a table could not be read then
}

func (l *crowded) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	f, err := l.sim.Probe(ctx, req)
	if req.Listeners {
		f.Sockets, err = l.sockets, l.err
		if l.unread {
			f.Tried[1].TableOK = false
			f.Gaps = []host.Gap{{What: "the udp socket table can't be read", Op: "netlink", Errno: "EPERM", Kind: host.GapSockets}}
		}
	}
	return f, err
}

func socketAt(proto port.Protocol, address string, p uint16, state host.State) host.Socket {
	return host.Socket{Endpoint: port.Endpoint{Protocol: proto, Addr: netip.MustParseAddr(address), Port: p}, State: state, Inode: uint64(p), Holders: []host.Holder{nginx}, Complete: true}
}

func TestUndeclared(t *testing.T) {
	need := func(name string, p uint16, proto port.Protocol, expect config.Expect, a port.Address) Need {
		return Need{Target: "local", Port: config.Port{Name: name, Ports: port.One(p), Protocols: []port.Protocol{proto}, Addresses: []port.Address{a}, Expect: expect, Severity: config.SeverityError}}
	}
	auto := need("auto", 20000, port.TCP, config.Free, port.Any)
	auto.Auto, auto.Range = true, port.Set{{First: 20000, Last: 20001}}
	needs := []Need{need("web", 80, port.TCP, config.Listening, port.Any), need("db", 5432, port.TCP, config.Free, "10.0.0.1"), auto}
	sockets := []host.Socket{
		socketAt(port.TCP, "0.0.0.0", 80, host.Listen),     // declared
		socketAt(port.UDP, "0.0.0.0", 80, host.Listen),     // of another protocol
		socketAt(port.TCP, "10.0.0.2", 5432, host.Listen),  // on another address
		socketAt(port.TCP, "0.0.0.0", 20001, host.Listen),  // in the range of an auto that takes the other
		socketAt(port.TCP, "0.0.0.0", 20000, host.Listen),  // the auto's
		socketAt(port.TCP, "127.0.0.1", 6379, host.Listen), // on loopback
		socketAt(port.TCP, "::1", 6379, host.Listen),       // the same
		socketAt(port.TCP, "127.0.0.1", 9000, host.Listen), // on loopback, and
		socketAt(port.TCP, "10.0.0.1", 9000, host.Listen),  // not only there
		socketAt(port.TCP, "0.0.0.0", 22, host.Bound),      // does not listen
		socketAt(port.UDP, "0.0.0.0", 40000, host.Listen),  // a client's
		socketAt(port.TCP, "0.0.0.0", 40001, host.Listen),  // no client's
	}
	run := func(l *crowded, o Options) []Result {
		t.Helper()
		l.limits.Ephemeral = port.Range{First: 32768, Last: 60999}
		o.Parallel = 1
		r, err := Run(t.Context(), needs, []Target{targetOf("local", l)}, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Results) != r.Summary.Checked || r.OK {
			t.Errorf("%+v", r.Summary)
		}
		return r.Results[len(needs):]
	}
	ids := func(all []Result) string {
		var s []string
		for _, r := range all {
			if r.Status != Undeclared || r.OK || r.Severity != config.SeverityWarning || len(r.Holders) == 0 || r.Source.File != "--undeclared" {
				t.Errorf("%+v", r)
			}
			s = append(s, strings.TrimPrefix(r.ID, "undeclared-"))
		}
		return strings.Join(s, " ")
	}
	const want = "5432@local/tcp 9000@local/tcp 20001@local/tcp 40001@local/tcp 80@local/udp"
	if got := ids(run(&crowded{sockets: sockets}, Options{Undeclared: config.SeverityWarning})); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := ids(run(&crowded{sockets: sockets}, Options{Undeclared: config.SeverityWarning, UndeclaredLoopback: true})), strings.Replace(want, " 9000", " 6379@local/tcp 9000", 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for name, l := range map[string]*crowded{"an error": {err: errors.New("the connection was lost")}, "a table": {unread: true}} {
		all := run(l, Options{Undeclared: config.SeverityError})
		if len(all) != 1 || all[0].Status != Unknown || all[0].OK || !strings.Contains(all[0].Message, "could not be determined: the ") {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// A target that can't be opened has a result of its own, also if it has no needs.
func TestUndeclaredOfATargetThatCannotBeAsked(t *testing.T) {
	targets := []Target{unreachable("app1", "no route"), targetOf("app2", &crowded{}), unreachable("app3", "no route")}
	web := Need{Target: "app1", Port: config.Port{Name: "web", Ports: port.One(80), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any}, Severity: config.SeverityError}}
	for _, needs := range [][]Need{{web}, nil} {
		r, err := Run(t.Context(), needs, targets, Options{Undeclared: config.SeverityWarning, Parallel: 3})
		if err != nil {
			t.Fatal(err)
		}
		found := r.Results[len(needs):]
		if len(found) != 2 || r.OK || r.Summary.Unknown != len(r.Results) {
			t.Fatalf("%+v", r)
		}
		for i, target := range []string{"app1", "app3"} {
			x := found[i]
			if x.Status != Unknown || x.OK || x.Target != target || x.Severity != config.SeverityWarning || !strings.HasSuffix(x.Message, "could not be determined: no route") {
				t.Errorf("%+v", x)
			}
		}
	}
}

// Of thousands of listeners the report has the first, and says how many there are.
func TestManyUndeclared(t *testing.T) {
	l := &crowded{}
	for i := range 5000 {
		s := socketAt(port.TCP, "0.0.0.0", uint16(1000+i), host.Listen)
		for range 3 {
			s.Holders = append(s.Holders, nginx)
		}
		l.sockets = append(l.sockets, s)
	}
	needs := make([]Need, 4000)
	for i := range needs {
		needs[i] = Need{Target: "local", Port: config.Port{Name: fmt.Sprint("n", i), Ports: port.One(uint16(60000)), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any}, Expect: config.Listening, Allow: config.NoticeCodes}}
	}
	r, err := Run(t.Context(), needs, []Target{targetOf("local", l)}, Options{Undeclared: config.SeverityError})
	if err != nil {
		t.Fatal(err)
	}
	found := r.Results[len(needs):]
	last := found[len(found)-1]
	if len(found) != mostUndeclared || len(last.Notices) != 1 || last.Notices[0].Message != "4900 more ports with listeners that no need declares are not listed" {
		t.Errorf("%d results, the last %+v", len(found), last)
	}
}
