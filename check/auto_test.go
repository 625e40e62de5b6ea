package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// auto makes a need one for any block of some ports in a range.
func auto(size int, ranges string) func(*Need) {
	return func(n *Need) {
		inRange(ranges)(n)
		n.Auto, n.Ports = true, port.Range{First: 1, Last: uint16(size)}
		if !n.Place() {
			panic("no room")
		}
	}
}

// autoVerdicts returns the results as "name target/protocol port status", with the reason of
// those that are not met.
func autoVerdicts(r Report) []string {
	var all []string
	for _, x := range r.Results {
		line := fmt.Sprintf("%s@%s/%s %s %s", x.Name, x.Target, x.Protocol, x.Ports(), x.Status)
		if !x.OK {
			line += ": " + x.Message
		}
		all = append(all, line)
	}
	return all
}

func TestAutosGetPortsOfTheirOwn(t *testing.T) {
	exclude := func(text string) func(*Need) { return func(n *Need) { n.Exclude, _ = port.ParseSet(text) } }
	named := func(name string, changes ...func(*Need)) Need { return needOf("a.yml", name, changes...) }
	owner := func(n *Need) { n.Owner = []config.Owner{{Process: "nginx"}} }
	const nginxHolds = "nginx (pid 812, nginx.service)"
	for _, c := range []struct {
		name          string
		needs         []Need
		taken, barred string
		limits        host.Limits
		want          []string
	}{
		{name: "the first of the range", needs: []Need{named("a", auto(1, "9000-9009"))}, want: []string{"a@local/tcp 9000 free"}},
		{name: "not taken", needs: []Need{named("a", auto(1, "9000-9009"))}, taken: "9000", barred: "9001", want: []string{"a@local/tcp 9002 free"}},
		{name: "not excluded", needs: []Need{named("a", auto(1, "9000-9009"), exclude("9000-9004"))}, want: []string{"a@local/tcp 9005 free"}},
		{name: "each its own", needs: []Need{named("a", auto(1, "9000-9002")), named("b", auto(1, "9000-9002")), named("c", auto(1, "9000-9002"))}, want: []string{"a@local/tcp 9000 free", "b@local/tcp 9001 free", "c@local/tcp 9002 free"}},
		{name: "not that of another need", needs: []Need{named("a", auto(1, "9000-9002")), named("b", ports(9000, 9001))}, want: []string{"a@local/tcp 9002 free", "b@local/tcp 9000-9001 free"}},
		{name: "not that of a need that listens", needs: []Need{named("a", auto(1, "9000-9001")), named("b", ports(9000, 9000), listening)}, taken: "9000", want: []string{"a@local/tcp 9001 free", "b@local/tcp 9000 listening"}},
		{name: "another protocol's", needs: []Need{named("a", auto(1, "9000")), named("b", auto(1, "9000"), udp)}, want: []string{"a@local/tcp 9000 free", "b@local/udp 9000 free"}},
		{name: "both protocols", needs: []Need{named("a", auto(1, "9000-9001"), udp), named("b", auto(1, "9000-9001"), tcpAndUDP)}, want: []string{"a@local/udp 9000 free", "b@local/tcp 9001 free", "b@local/udp 9001 free"}},
		{name: "a block", needs: []Need{named("a", auto(3, "9000-9009"))}, taken: "9001", want: []string{"a@local/tcp 9002-9004 free"}},
		{name: "the one with fewer choices first", needs: []Need{named("a", auto(1, "9000-9001")), named("b", auto(1, "9000"))}, want: []string{"a@local/tcp 9001 free", "b@local/tcp 9000 free"}},
		{name: "the block first", needs: []Need{named("a", auto(1, "9000-9004,9006")), named("b", auto(4, "9000-9004"))}, taken: "9004", want: []string{"a@local/tcp 9006 free", "b@local/tcp 9000-9003 free"}},
		{name: "one that lost to others", needs: []Need{named("a", auto(1, "9000-9001")), named("b", auto(1, "9001-9002")), named("c", auto(1, "9000-9001"))}, want: []string{"a@local/tcp 9001 free", "b@local/tcp 9002 free", "c@local/tcp 9000 free"}},
		{name: "no ephemeral one", needs: []Need{named("a", auto(1, "40000-40001,9000"))}, limits: host.Limits{Ephemeral: port.Range{First: 32768, Last: 60999}}, want: []string{"a@local/tcp 9000 free"}},
		{name: "an ephemeral one", needs: []Need{named("a", auto(1, "40000-40001"))}, limits: host.Limits{Ephemeral: port.Range{First: 32768, Last: 60999}}, want: []string{"a@local/tcp 40000 free"}},
		{name: "none", needs: []Need{named("a", auto(1, "9000-9002"))}, taken: "9000-9001", barred: "9002", want: []string{
			"a@local/tcp 9000 in-use: tcp auto in 9000-9002: no port is free (3 in use by " + nginxHolds + ")",
		}},
		{name: "none of many", needs: []Need{named("a", auto(1, "9000-9099"))}, taken: "9000-9099", want: []string{
			"a@local/tcp 9000 in-use: tcp auto in 9000-9099: no port is free (of the first 64: 64 in use by " + nginxHolds + ")",
		}},
		{name: "no block", needs: []Need{named("a", auto(2, "9000-9002"))}, taken: "9001", want: []string{
			"a@local/tcp 9000-9001 in-use: tcp auto:2 in 9000-9002: no block of 2 ports is free (1 in use by " + nginxHolds + "; 2 free, too few of them neighbours)",
		}},
		{name: "too few for all", needs: []Need{named("a", auto(1, "9000")), named("b", auto(1, "9000"))}, want: []string{
			"a@local/tcp 9000 free", "b@local/tcp 9000 in-use: tcp auto in 9000: no port is free (1 needed by others of this run)",
		}},
		{name: "held by its owner", needs: []Need{named("a", auto(1, "9000-9001"), owner)}, barred: "9000", taken: "9001", want: []string{"a@local/tcp 9001 owned"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sim{taken: set(t, c.taken), barred: set(t, c.barred), limits: c.limits}
			before := slices.Clone(c.needs)
			r := run(t, c.needs, Options{}, targetOf("local", s))
			if diff := cmp.Diff(c.want, autoVerdicts(r)); diff != "" {
				t.Error(diff)
			}
			for _, x := range r.Results {
				i := slices.IndexFunc(before, func(n Need) bool { return n.Name == x.Name })
				if x.Auto != before[i].Auto {
					t.Errorf("%s: auto is %t", x.Name, x.Auto)
				}
			}
			if diff := cmp.Diff(before[0].Ports, c.needs[0].Ports); diff != "" {
				t.Errorf("the caller's needs changed: %s", diff)
			}
			if len(s.asked) > 12 {
				t.Errorf("%d probes, want at most 12", len(s.asked))
			}
		})
	}
}

// No alternative is a port that an auto got, and none that an auto got is suggested.
func TestAutosAndAlternativesDiffer(t *testing.T) {
	needs := []Need{needOf("a.yml", "x", inRange("9000-9009")), needOf("a.yml", "a", auto(2, "9000-9009")), needOf("a.yml", "b", auto(1, "9000"))}
	r := run(t, needs, Options{Alternatives: 2, Candidates: 3}, targetOf("local", &sim{taken: set(t, "8080,9001")}))
	if diff := cmp.Diff([][]uint16{{9004, 9005}, {}, {}}, alternatives(r)); diff != "" {
		t.Error(diff)
	}
	if r.Results[1].Ports() != (port.Range{First: 9002, Last: 9003}) || r.Results[1].Candidates != "" || r.Results[0].Candidates == "" {
		t.Errorf("%+v", r.Results)
	}
}

func TestAutosOfSeveralTargets(t *testing.T) {
	on := func(target string, changes ...func(*Need)) Need {
		return needOf("a.yml", "x", append(changes, onTarget(target))...)
	}
	both := []Need{on("one", auto(1, "9000-9003")), on("two", auto(1, "9000-9003"))}
	for _, c := range []struct {
		name     string
		needs    []Need
		one, two Target
		want     []string
	}{
		{"one port on both", both, targetOf("one", &sim{taken: set(t, "9000")}), targetOf("two", &sim{taken: set(t, "9001"), barred: set(t, "9002")}), []string{"x@one/tcp 9003 free", "x@two/tcp 9003 free"}},
		{"none on both", both, targetOf("one", &sim{taken: set(t, "9000-9001")}), targetOf("two", &sim{taken: set(t, "9002-9003")}), []string{
			"x@one/tcp 9000 in-use: tcp auto in 9000-9003: no port is free (2 in use by nginx (pid 812, nginx.service); 2 free here, but not for all of its protocols and targets)",
			"x@two/tcp 9000 in-use: tcp auto in 9000-9003: no port is free (2 in use by nginx (pid 812, nginx.service); 2 free here, but not for all of its protocols and targets)",
		}},
		{"one does not answer", both, targetOf("one", &sim{taken: set(t, "9000")}), unreachable("two", "no route"), []string{
			"x@one/tcp 9001 free", "x@two/tcp 9000 unknown: tcp auto in 9000-9003 could not be checked: no route",
		}},
		{"one is lost at the binds", both, targetOf("one", &sim{}), targetOf("two", &sim{before: func(_ context.Context, asked int) error {
			if asked > 1 {
				return errors.New("connection reset")
			}
			return nil
		}}), []string{"x@one/tcp 9000 free", "x@two/tcp 9000 unknown: tcp auto in 9000-9003 could not be checked: connection reset"}},
		{"different needs of two machines", []Need{on("one", auto(1, "9000")), needOf("a.yml", "yy", auto(1, "9000"), onTarget("two"))}, targetOf("one", &sim{}), targetOf("two", &sim{}), []string{"x@one/tcp 9000 free", "yy@two/tcp 9000 free"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, c.needs, Options{Parallel: 2}, c.one, c.two)
			if diff := cmp.Diff(c.want, autoVerdicts(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is not known to be free, or not allowed, is not called in use.
func TestAutosWithoutAnAnswer(t *testing.T) {
	outcomes := func(of host.Attempt) *edited {
		return &edited{edit: func(f *host.Facts) {
			for _, tried := range f.Tried {
				for i := range tried.Attempts {
					if e := tried.Attempts[i].Endpoint; tried.Attempts[i].Outcome == host.OK {
						tried.Attempts[i] = of
						tried.Attempts[i].Endpoint = e
					}
				}
			}
		}}
	}
	for want, h := range map[string]host.Host{
		"denied: tcp auto in 80-81: no port can be had: tcp 80 (auto) may not be bound by this user: ports below 1024 (net.ipv4.ip_unprivileged_port_start) need root or CAP_NET_BIND_SERVICE": outcomes(host.Attempt{Outcome: host.Denied, Op: "bind", Errno: "EACCES"}),
		"unavailable: tcp auto in 80-81: no port can be had: tcp 80 (auto) can't be bound: the address is not on this host":                                                                    outcomes(host.Attempt{Outcome: host.NoAddress, Op: "bind", Errno: "EADDRNOTAVAIL"}),
		"unknown: tcp auto in 80-81: no port is known to be free: tcp 80 (auto) could not be tried (bind: EPERM)":                                                                              outcomes(host.Attempt{Outcome: host.Failed, Op: "bind", Errno: "EPERM"}),
		"unknown: tcp auto in 80-81: no port is known to be free: tcp 80 (auto): could not determine whether a process listens there": &edited{edit: func(f *host.Facts) {
			for i := range f.Tried {
				f.Tried[i].TableOK = false
			}
			for i := range f.Open {
				f.Open[i] = port.Set{}
			}
		}},
	} {
		n := needOf("a.yml", "x", auto(1, "80-81"), func(n *Need) { n.Addresses = []port.Address{port.Any} })
		r := run(t, []Need{n}, Options{}, targetOf("local", h)).Results[0]
		if got := fmt.Sprintf("%s: %s", r.Status, r.Message); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// Where nothing can be bound, the socket table decides.
func TestAutosByTheTableAlone(t *testing.T) {
	h := &edited{sim: sim{taken: set(t, "9000")}, edit: func(f *host.Facts) {
		for i := range f.Tried {
			f.Tried[i].NoBindReason = "nothing runs there"
			for k := range f.Tried[i].Attempts {
				f.Tried[i].Attempts[k] = host.Attempt{Endpoint: f.Tried[i].Attempts[k].Endpoint, Outcome: host.NotTried}
			}
		}
	}}
	r := run(t, []Need{needOf("a.yml", "x", auto(1, "9000-9001"))}, Options{}, targetOf("local", h))
	if diff := cmp.Diff([]string{"x@local/tcp 9001 free"}, autoVerdicts(r)); diff != "" || !r.Results[0].TableOnly {
		t.Error(diff)
	}
}

// edited is a host whose answers are changed.
type edited struct {
	sim
	edit func(*host.Facts)
}

func (e *edited) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	f, err := e.sim.Probe(ctx, req)
	f.Limits.UnprivilegedFrom = 1024
	e.edit(&f)
	return f, err
}

// A port that is taken between the table and the bind is not the one that is reported.
func TestAutosLoseRaces(t *testing.T) {
	s := &sim{}
	s.before = func(_ context.Context, asked int) error {
		if asked == 2 {
			s.taken = set(t, "9000")
		}
		return nil
	}
	r := run(t, []Need{needOf("a.yml", "x", auto(1, "9000-9001"))}, Options{}, targetOf("local", s))
	if diff := cmp.Diff([]string{"x@local/tcp 9001 free"}, autoVerdicts(r)); diff != "" {
		t.Error(diff)
	}
}

func TestAutosWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := func(d time.Duration) func(*Need) { return func(n *Need) { n.Wait = d } }
		start := time.Now()
		s := &sim{taken: set(t, "9000-9001")}
		s.before = func(context.Context, int) error {
			if time.Since(start) >= 10*time.Second {
				s.taken = set(t, "9000")
			}
			return nil
		}
		var lines diary
		r := run(t, []Need{needOf("a.yml", "x", auto(1, "9000-9001"), waits(time.Minute)), needOf("a.yml", "yy", auto(1, "9000"), waits(20*time.Second))}, Options{Timeout: time.Second, Progress: &lines}, targetOf("local", s))
		want := []string{"x@local/tcp 9001 free", "yy@local/tcp 9000 in-use: tcp auto in 9000: no port is free (1 in use by nginx (pid 812, nginx.service))"}
		if diff := cmp.Diff(want, autoVerdicts(r)); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %s, want 20s", took)
		}
		if text := strings.Join(lines, "\n"); !strings.Contains(text, "local waits for x, 1m: tcp auto in 9000-9001: no port is free") || !strings.HasSuffix(text, "local done: 1 of 2") || strings.Count(text, "waits") != 2 {
			t.Error(text)
		}
	})
}

func TestAutosAreCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sim{taken: set(t, "9000"), before: func(ctx context.Context, asked int) error {
		if asked == 2 {
			cancel()
		}
		return ctx.Err()
	}}
	n := needOf("a.yml", "x", auto(1, "9000"))
	n.Wait = time.Hour
	if _, err := Run(ctx, []Need{n}, []Target{targetOf("local", s)}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Lint has nothing to say about a port that is chosen later.
func TestLintOfAutos(t *testing.T) {
	needs := []Need{
		needOf("a.yml", "a", auto(1, "40000")), needOf("a.yml", "b", ports(40000, 40000), func(n *Need) { n.Allow = []config.NoticeCode{config.Ephemeral} }),
		needOf("a.yml", "c", auto(2, "22-23"), func(n *Need) { n.Replicas, n.Container = 2, 6379 }),
	}
	r, err := Lint(context.Background(), needs, "")
	if err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	for _, x := range r.Results {
		if len(x.Notices) > 0 {
			t.Errorf("%s: %+v", x.Name, x.Notices)
		}
	}
	if got := r.Results[2].Message; got != "tcp auto:2 in 22-23 is declared" {
		t.Error(got)
	}
}

// A merge keeps what each host found.
func TestMergeOfAutos(t *testing.T) {
	report := func(target, taken string) Report {
		n := []Need{needOf("a.yml", "x", auto(1, "9000-9001"), onTarget(target)), needOf("a.yml", "other", inRange("9000-9002"), onTarget(target))}
		return run(t, n, Options{Alternatives: 3, Candidates: 9}, targetOf(target, &sim{taken: set(t, taken)}))
	}
	got, bad, err := Merge(context.Background(), []Part{{"1.json", report("one", "8080,9000")}, {"2.json", report("two", "8080,9000-9001")}}, "", 3)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	want := []string{
		"x@one/tcp 9001 free", "x@two/tcp 9000 in-use: tcp auto in 9000-9001: no port is free (2 in use by nginx (pid 812, nginx.service))",
		"other@one/tcp 8080 in-use: tcp 8080 is in use by nginx (pid 812, nginx.service)", "other@two/tcp 8080 in-use: tcp 8080 is in use by nginx (pid 812, nginx.service)",
	}
	if diff := cmp.Diff(want, autoVerdicts(got)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]uint16{{}, {}, {9002}, {9002}}, alternatives(got)); diff != "" {
		t.Error(diff)
	}
}
