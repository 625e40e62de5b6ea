package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/port"
)

// sim is a host with some taken ports. Only one goroutine at a time may use it.
type sim struct {
	taken  port.Set // a process listens on all addresses
	barred port.Set // a bind fails, and the table does not show why
	beside port.Set // a bind succeeds beside a listener on 127.0.0.1
	noIPv6 bool     // there is no IPv6, and no ::1
	limits host.Limits
	before func(ctx context.Context, asked int) error // is called before each answer
	asked  []host.Request
}

func (*sim) Close() error { return nil }

func (s *sim) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	s.asked = append(s.asked, req)
	if s.before != nil {
		if err := s.before(ctx, len(s.asked)); err != nil {
			return host.Facts{}, err
		}
	}
	f := machine()
	f.Limits = s.limits
	for _, try := range req.Tries {
		tried := host.Tried{TableOK: true}
		for p := range (port.Set{try.Ports}).All {
			for _, e := range try.At(p) {
				a := host.Attempt{Endpoint: e, Outcome: host.OK}
				switch {
				case s.taken.Contains(p):
					a.Outcome, a.Op, a.Errno = host.InUse, "bind", "EADDRINUSE"
					f.Sockets = append(f.Sockets, host.Socket{Endpoint: e, State: host.Listen, Inode: uint64(p), Holders: []host.Holder{nginx}, Complete: true})
				case s.barred.Contains(p):
					a.Outcome, a.Op, a.Errno = host.InUse, "bind", "EADDRINUSE"
				}
				if s.beside.Contains(p) {
					loopback := port.Endpoint{Protocol: e.Protocol, Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: p}
					f.Sockets = append(f.Sockets, host.Socket{Endpoint: loopback, State: host.Listen, Inode: uint64(p), Holders: []host.Holder{nginx}, Complete: true})
				}
				if s.noIPv6 && e.Addr.Is6() {
					tried.Attempts = append(tried.Attempts, host.Attempt{Endpoint: e, Outcome: host.NoFamily, Op: "socket", Errno: "EAFNOSUPPORT"})
					if e.Addr != netip.IPv6Unspecified() || e.V6Only {
						continue
					}
					a.Addr = netip.IPv4Unspecified()
				}
				if try.Look {
					a = host.Attempt{Endpoint: a.Endpoint, Outcome: host.NotTried}
				}
				tried.Attempts = append(tried.Attempts, a)
			}
		}
		f.Tried = append(f.Tried, tried)
	}
	for _, scan := range req.Scans {
		f.Open = append(f.Open, scan.Ports.Without(func(p uint16) bool { return s.taken.Contains(p) || s.limits.Reserved.Contains(p) }))
	}
	for _, d := range req.Dials {
		f.Dialed = append(f.Dialed, dialed(d.Port, "ok"))
	}
	return f, nil
}

// targetOf returns a target that opens h at once.
func targetOf(name string, h host.Host) Target {
	return Target{Name: name, Open: func(context.Context) (host.Host, error) { return h, nil }}
}

// unreachable returns a target that can't be opened.
func unreachable(name, reason string) Target {
	return Target{Name: name, Open: func(context.Context) (host.Host, error) { return nil, errors.New(reason) }}
}

func set(t *testing.T, text string) port.Set {
	t.Helper()
	if text == "" {
		return nil
	}
	s, err := port.ParseSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inRange(text string) func(*Need) {
	return func(n *Need) { n.Range, _ = port.ParseSet(text) }
}

func run(t *testing.T, needs []Need, o Options, targets ...Target) Report {
	t.Helper()
	report, err := Run(context.Background(), needs, targets, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func alternatives(r Report) [][]uint16 {
	var all [][]uint16
	for _, x := range r.Results {
		all = append(all, x.Alternatives)
	}
	return all
}

func TestAlternatives(t *testing.T) {
	need := func(name, ranges string, changes ...func(*Need)) Need {
		return needOf("a.yml", name, append([]func(*Need){inRange(ranges)}, changes...)...)
	}
	exclude := func(text string) func(*Need) { return func(n *Need) { n.Exclude = set(t, text) } }
	for _, c := range []struct {
		name      string
		needs     []Need
		asked     int
		taken     string // beside 8080
		barred    string
		ephemeral port.Range
		reserved  string
		want      [][]uint16
		notices   []config.NoticeCode // of the first result
	}{
		{name: "in the range's order", needs: []Need{need("x", "9443,8000-8001")}, asked: 3, want: [][]uint16{{9443, 8000, 8001}}},
		{name: "as many as wanted", needs: []Need{need("x", "9000-9099")}, asked: 2, want: [][]uint16{{9000, 9001}}},
		{name: "none wanted", needs: []Need{need("x", "9000-9099")}, asked: 0, want: [][]uint16{{}}},
		{name: "no range", needs: []Need{need("x", "1")}, asked: 3, taken: "1", want: [][]uint16{{}}},
		{name: "fewer, and never outside", needs: []Need{need("x", "9000-9001")}, asked: 3, want: [][]uint16{{9000, 9001}}},
		{name: "not excluded", needs: []Need{need("x", "9000-9009", exclude("9000-9002,9004"))}, asked: 2, want: [][]uint16{{9003, 9005}}},
		{name: "not taken, not reserved", needs: []Need{need("x", "9000-9009")}, asked: 2, taken: "9000", reserved: "9001", want: [][]uint16{{9002, 9003}}},
		{name: "not claimed", needs: []Need{need("x", "9000-9009"), need("y", "9000", ports(9000, 9001))}, asked: 2, want: [][]uint16{{9002, 9003}, {}}},
		{name: "a listening need claims", needs: []Need{need("x", "9000-9009"), need("y", "", ports(9000, 9000), listening)}, asked: 1, want: [][]uint16{{9001}, {}}},
		{name: "a remote's port is not claimed", needs: []Need{need("x", "5432"), need("y", "", reachable)}, asked: 1, want: [][]uint16{{5432}, {}}},
		{name: "the other protocol's is not claimed", needs: []Need{need("x", "9000-9009"), need("y", "9000", ports(9000, 9001), udp)}, asked: 1, want: [][]uint16{{9000}, {}}},
		{name: "different needs get different ones", needs: []Need{need("x", "9000-9009", on("127.0.0.1")), need("y", "9000-9009", on("127.0.0.2"))}, asked: 2, want: [][]uint16{{9000, 9002}, {9001, 9003}}},
		{name: "each one before any two", needs: []Need{need("x", "9000-9002", on("127.0.0.1")), need("y", "9000-9002", on("127.0.0.2"))}, asked: 3, want: [][]uint16{{9000, 9002}, {9001}}},
		{name: "more while binds fail", needs: []Need{need("x", "9000-9099")}, asked: 2, barred: "9000-9049", want: [][]uint16{{9050, 9051}}},
		{name: "the last one after many failed", needs: []Need{need("x", "9000-9099")}, asked: 1, barred: "9000-9098", want: [][]uint16{{9099}}},
		{name: "all binds fail", needs: []Need{need("x", "9000-9099")}, asked: 1, barred: "9000-9099", want: [][]uint16{{}}},
		{name: "ephemeral only if there are no others", needs: []Need{need("x", "9000-9003")}, asked: 3, ephemeral: port.Range{First: 9000, Last: 9002}, want: [][]uint16{{9003}}},
		{name: "those that browsers refuse, after others", needs: []Need{need("x", "6000,9000")}, asked: 2, want: [][]uint16{{9000, 6000}}},
		{name: "those that browsers refuse, others do not bind", needs: []Need{need("x", "6000,9000")}, asked: 2, barred: "9000", want: [][]uint16{{6000}}},
		{name: "browsers matter to tcp alone", needs: []Need{need("x", "6000,9000", udp)}, asked: 2, want: [][]uint16{{6000, 9000}}},
		{name: "ephemeral", needs: []Need{need("x", "9000-9003")}, asked: 2, ephemeral: port.Range{First: 9000, Last: 9010}, want: [][]uint16{{9000, 9001}}, notices: []config.NoticeCode{config.Ephemeral}},
		{name: "ephemeral, others do not bind", needs: []Need{need("x", "9000-9003")}, asked: 2, ephemeral: port.Range{First: 9000, Last: 9001}, barred: "9002-9003", want: [][]uint16{{9000, 9001}}, notices: []config.NoticeCode{config.Ephemeral}},
		{name: "ephemeral, others go to another need", needs: []Need{need("x", "9005", on("127.0.0.1")), need("y", "9000,9005", on("127.0.0.2"))}, asked: 1, ephemeral: port.Range{First: 9000, Last: 9000}, want: [][]uint16{{9005}, {9000}}},
		{name: "ephemeral, others went to another need", needs: []Need{need("x", "9005", on("127.0.0.1")), need("y", "9000,9006,9005", on("127.0.0.2"))}, asked: 1, barred: "9006", ephemeral: port.Range{First: 9000, Last: 9000}, want: [][]uint16{{9005}, {9000}}},
		{name: "ephemeral and reserved is as others", needs: []Need{need("x", "9000-9003")}, asked: 1, ephemeral: port.Range{First: 9000, Last: 9010}, reserved: "9000", want: [][]uint16{{9001}}, notices: []config.NoticeCode{config.Ephemeral}},
		{name: "a block as a whole", needs: []Need{need("x", "9000-9009", ports(8080, 8082))}, asked: 2, taken: "9001", want: [][]uint16{{9002, 9005}}},
		{name: "a block after one of its ports failed", needs: []Need{need("x", "9000-9004", ports(8080, 8083))}, asked: 1, barred: "9000", want: [][]uint16{{9001}}},
		{name: "a block over two ranges that touch", needs: []Need{need("x", "9000-9001,9002-9003", ports(8080, 8083))}, asked: 1, want: [][]uint16{{9000}}},
		{name: "no block beyond the range", needs: []Need{need("x", "9000-9002", ports(8080, 8083))}, asked: 1, want: [][]uint16{{}}},
		{name: "no block beyond 65535", needs: []Need{need("x", "65534-65535", ports(8080, 8082))}, asked: 1, want: [][]uint16{{}}},
		{name: "what one gives back, the other gets", needs: []Need{need("x", "9000-9005", on("127.0.0.1")), need("y", "9002-9005", on("127.0.0.2"))}, asked: 2, barred: "9000-9001,9003", want: [][]uint16{{9005}, {9002, 9004}}},
		{name: "both protocols at one port", needs: []Need{need("x", "9000-9003", tcpAndUDP)}, asked: 2, want: [][]uint16{{9000, 9001}, {9000, 9001}}},
		{name: "a need that is met", needs: []Need{need("x", "9000-9003", ports(8081, 8081))}, asked: 2, want: [][]uint16{{}}},
		{name: "a need to listen on", needs: []Need{need("x", "9000-9003", ports(8081, 8081), listening)}, asked: 2, want: [][]uint16{{}}},
		{name: "duplicates", needs: []Need{need("x", "9000-9003", ports(8081, 8081)), need("y", "9000-9003", ports(8081, 8081))}, asked: 1, want: [][]uint16{{9000}, {9001}}, notices: []config.NoticeCode{config.Duplicate}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sim{taken: append(port.Set{port.One(8080)}, set(t, c.taken)...), barred: set(t, c.barred)}
			s.limits = host.Limits{Ephemeral: c.ephemeral, Reserved: set(t, c.reserved)}
			r := run(t, c.needs, Options{Alternatives: c.asked}, targetOf("local", s))
			if diff := cmp.Diff(c.want, alternatives(r)); diff != "" {
				t.Error(diff)
			}
			for _, n := range r.Results[0].Notices {
				if !slices.Contains(c.notices, n.Code) {
					t.Errorf("notice %+v", n)
				}
			}
			if len(r.Results[0].Notices) < len(c.notices) {
				t.Errorf("notices %+v, want %v", r.Results[0].Notices, c.notices)
			}
			if len(s.asked) > 12 {
				t.Errorf("%d probes, want at most 12: batches must grow while binds fail", len(s.asked))
			}
		})
	}
}

func TestAlternativesWithFewerThanRequested(t *testing.T) {
	needs := []Need{needOf("a.yml", "x", inRange("9000-9001")), needOf("a.yml", "y", ports(8081, 8081))}
	r := run(t, needs, Options{Alternatives: 3}, targetOf("local", &sim{taken: set(t, "8080")})).Results
	if r[0].Asked != 3 || r[0].From.String() != "9000-9001" || r[1].Asked != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAlternativesAreFreeOnAllTargets(t *testing.T) {
	needs := []Need{needOf("a.yml", "x", inRange("9000-9009"), onTarget("one")), needOf("a.yml", "x", inRange("9000-9009"), onTarget("two"))}
	r := run(t, needs, Options{Alternatives: 2},
		targetOf("one", &sim{taken: set(t, "8080,9000")}), targetOf("two", &sim{taken: set(t, "8080,9001"), barred: set(t, "9002")}))
	if diff := cmp.Diff([][]uint16{{9003, 9004}, {9003, 9004}}, alternatives(r)); diff != "" {
		t.Error(diff)
	}
	r = run(t, needs, Options{Alternatives: 2},
		targetOf("one", &sim{taken: set(t, "8080,9000")}), targetOf("two", &sim{}))
	if diff := cmp.Diff([][]uint16{{9001, 9002}, {}}, alternatives(r)); diff != "" {
		t.Errorf("met on the second: %s", diff)
	}
}

// On a host without IPv6, a need gets alternatives if its app uses IPv6 only where
// there is IPv6. A need that requires IPv6 gets none.
func TestAlternativesWithoutIPv6(t *testing.T) {
	for address, want := range map[port.Address][]uint16{port.Any: {9001, 9002}, port.Loopback: {9001, 9002}, port.Any4: {9001, 9002}, port.Any6: {}, "::1": {}} {
		s := &sim{noIPv6: true, taken: set(t, "8080,9000")}
		n := needOf("a.yml", "x", on(address), inRange("9000-9009"), tcpAndUDP)
		got, _, err := FreePorts(context.Background(), n, targetOf("local", s), Options{Alternatives: 2})
		if diff := cmp.Diff(want, append([]uint16{}, got...)); diff != "" || err != nil {
			t.Errorf("%s: %v %s", address, err, diff)
		}
	}
}

// A port that can be bound beside a listener is no alternative.
func TestNoAlternativeBesideAListener(t *testing.T) {
	for _, address := range []port.Address{port.Any, port.Any4} {
		s := &sim{taken: set(t, "8080"), beside: set(t, "9000-9001")}
		r := run(t, []Need{needOf("a.yml", "x", on(address), inRange("9000-9002"))}, Options{Alternatives: 3}, targetOf("local", s))
		if diff := cmp.Diff([][]uint16{{9002}}, alternatives(r)); diff != "" {
			t.Errorf("%s: %s", address, diff)
		}
	}
}

func TestCandidatesAloneAreNoAlternatives(t *testing.T) {
	r := run(t, []Need{needOf("a.yml", "x", inRange("9000-9009"))}, Options{Candidates: 2}, targetOf("local", &sim{taken: set(t, "8080")})).Results[0]
	if len(r.Alternatives) > 0 || r.Asked != 0 || r.From != nil || r.Candidates != "9000-9001" {
		t.Errorf("%+v", r)
	}
}

func TestManyNeedsGetDifferentAlternatives(t *testing.T) {
	var needs []Need
	for i := range 300 {
		p := uint16(8000 + i)
		needs = append(needs, needOf("a.yml", fmt.Sprintf("n%d", i), ports(p, p), inRange("20000-20999")))
	}
	r := run(t, needs, Options{Alternatives: 3}, targetOf("local", &sim{taken: set(t, "8000-8299")}))
	seen := map[uint16]bool{}
	for _, x := range r.Results {
		if len(x.Alternatives) != 3 {
			t.Fatalf("%s: %v", x.ID, x.Alternatives)
		}
		for _, p := range x.Alternatives {
			if seen[p] {
				t.Fatalf("%d is suggested twice", p)
			}
			seen[p] = true
		}
	}
}

func TestATargetThatFailsHidesNoOther(t *testing.T) {
	needs := []Need{
		needOf("a.yml", "x", onTarget("bad"), inRange("9000-9009")), needOf("a.yml", "x", inRange("9000-9009")),
		needOf("a.yml", "y", ports(8081, 8081), inRange("9000-9009")), needOf("a.yml", "z", ports(8080, 8080), on("127.0.0.1"), inRange("9000-9009")),
	}
	r := run(t, needs, Options{Alternatives: 1}, unreachable("bad", "no route"), targetOf("local", &sim{taken: set(t, "8080")}))
	var got []Status
	for _, x := range r.Results {
		got = append(got, x.Status)
	}
	if diff := cmp.Diff([]Status{Unknown, InUse, Free, InUse}, got); diff != "" {
		t.Error(diff)
	}
	if x := r.Results[0]; x.OK || x.Method != None || x.Message != "tcp 8080 could not be checked: no route" || x.Endpoints == nil {
		t.Errorf("%+v", x)
	}
	if x := r.Results[1]; len(x.Alternatives) > 0 || x.NoSearchReason == "" {
		t.Errorf("alternatives although one target was not reached: %+v", x)
	}
	if len(r.Results[3].Alternatives) != 1 {
		t.Errorf("%+v", r.Results[3])
	}
	if n := r.Targets[0].Notices; len(n) != 1 || n[0].Code != config.Degraded || n[0].Message != "no route" || len(r.Targets[1].Notices) > 0 {
		t.Errorf("%+v", r.Targets)
	}
	if r.Targets[0].Namespace.Kind != "unknown" || r.Targets[1].Namespace.Kind != "host" {
		t.Errorf("%+v", r.Targets)
	}
	if r.Summary.Unknown != 1 || r.Summary.Errors != 2 || r.Summary.OK != 1 {
		t.Errorf("%+v", r.Summary)
	}
}

func hang(ctx context.Context, _ int) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := run(t, []Need{needOf("a.yml", "x"), needOf("a.yml", "y", onTarget("other"))}, Options{Timeout: 50 * time.Millisecond},
			targetOf("local", &sim{before: hang}), targetOf("other", &sim{}))
		if x := r.Results[0]; x.Status != Unknown || !strings.Contains(x.Message, "no answer within 50ms (--timeout)") {
			t.Errorf("%+v", x)
		}
		if r.Results[1].Status != Free {
			t.Errorf("%+v", r.Results[1])
		}
		if took := time.Since(start); took != 50*time.Millisecond {
			t.Errorf("took %s, want 50ms", took)
		}
	})
}

func TestTimeoutIsTheTargetsNotTheProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{taken: set(t, "8080"), before: func(ctx context.Context, asked int) error {
			if asked == 1 {
				return nil
			}
			return hang(ctx, asked)
		}}
		start := time.Now()
		r := run(t, []Need{needOf("a.yml", "x", inRange("9000-9999"))}, Options{Timeout: 100 * time.Millisecond, Alternatives: 3}, targetOf("local", s))
		if len(s.asked) != 2 || time.Since(start) != 100*time.Millisecond {
			t.Errorf("%d probes in %s, want no probe after the timeout", len(s.asked), time.Since(start))
		}
		if x := r.Results[0]; x.Status != InUse || len(x.Alternatives) > 0 {
			t.Errorf("the first verdict is lost: %+v", x)
		}
		if n := r.Targets[0].Notices; len(n) != 1 || n[0].Code != config.Degraded {
			t.Errorf("the target has no notice: %+v", n)
		}
	})
}

func TestWaitEndsWhenTheHolderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{taken: set(t, "8080")}
		s.before = func(_ context.Context, asked int) error {
			if asked == 4 {
				s.taken = nil
			}
			return nil
		}
		wait := func(n *Need) { n.Wait = time.Minute }
		start := time.Now()
		r := run(t, []Need{needOf("a.yml", "x", wait, inRange("9000-9009")), needOf("a.yml", "y", ports(8081, 8081), wait)}, Options{Alternatives: 1}, targetOf("local", s))
		if !r.OK || len(s.asked) != 4 || time.Since(start) > 2*time.Second { // three pauses, the first of about 100 ms
			t.Errorf("asked %d times in %s: %+v", len(s.asked), time.Since(start), r.Results)
		}
		if n := len(s.asked[1].Tries); n != 1 {
			t.Errorf("%d needs were probed again, want only the unmet one", n)
		}
		if len(s.asked[0].Scans) != 1 || len(s.asked[1].Scans) > 0 {
			t.Errorf("want a scan in the first request only: %+v", s.asked)
		}
	})
}

func TestWaitEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{taken: set(t, "8080-8081")}
		needs := []Need{
			needOf("a.yml", "x", func(n *Need) { n.Wait = 300 * time.Millisecond }), needOf("a.yml", "yy", ports(8081, 8081)),
		}
		start := time.Now()
		r := run(t, needs, Options{}, targetOf("local", s))
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("took %s, want 300ms", took)
		}
		if r.Results[0].Status != InUse || r.Results[1].Status != InUse || len(s.asked) < 2 {
			t.Errorf("asked %d times: %+v", len(s.asked), r.Results)
		}
		for _, req := range s.asked[1:] {
			if len(req.Tries) != 1 || len(req.Scans) > 0 {
				t.Errorf("a need without wait was probed again: %+v", req)
			}
		}
	})
}

func TestNoWaitForWhatTimeDoesNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, outcome := range map[Status]string{Denied: "denied", OSReserved: "excluded bind WSAEACCES", Free: "ok"} {
			c := verdictCase{need: func(n *Need) { n.Wait = time.Minute; n.Ports = port.One(80) }, attempts: []string{outcome}}
			start := time.Now()
			if r := c.judge(t); r.Status != want || time.Since(start) > 0 {
				t.Errorf("%s after %s, want %s", r.Status, time.Since(start), want)
			}
		}
	})
}

func TestNoWaitForAHostThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for last := range 2 {
			s := &sim{taken: set(t, "8080"), before: func(_ context.Context, asked int) error {
				if asked > last {
					return errors.New("connection reset")
				}
				return nil
			}}
			start := time.Now()
			r := run(t, []Need{needOf("a.yml", "x", func(n *Need) { n.Wait = time.Minute })}, Options{}, targetOf("local", s))
			if x := r.Results[0]; x.Status != Unknown || !strings.HasSuffix(x.Message, "connection reset") || len(s.asked) != last+1 || time.Since(start) > time.Second {
				t.Errorf("asked %d times in %s: %+v", len(s.asked), time.Since(start), x)
			}
		}
	})
}

func TestWaitingIsReportedForEachHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{taken: set(t, "8080")}
		s.before = func(_ context.Context, asked int) error {
			switch asked {
			case 3:
				s.taken, s.barred = nil, set(t, "8080") // another process
			case 5:
				s.barred = nil
			}
			return nil
		}
		var got diary
		r := run(t, []Need{needOf("a.yml", "x", func(n *Need) { n.Wait = time.Minute })}, Options{Progress: &got}, targetOf("local", s))
		want := diary{
			"local started",
			"local waits for x, 1m: tcp 8080 is in use by nginx (pid 812, nginx.service)",
			"local waits for x, 1m: tcp 8080 is in use by a process that can't be seen",
			"local done: 1 of 1",
		}
		if diff := cmp.Diff(want, got); diff != "" || !r.OK {
			t.Errorf("ok %t: %s", r.OK, diff)
		}
	})
}

type cause struct{ error }

func TestTheEndOfTheContextEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, s := range map[string]*sim{
			"a probe": {before: hang},
			"a wait":  {taken: set(t, "8080")},
			"a proposal": {taken: set(t, "8080"), before: func(ctx context.Context, asked int) error {
				return map[bool]func() error{true: func() error { return hang(ctx, asked) }, false: func() error { return nil }}[asked > 1]()
			}},
		} {
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(50*time.Millisecond, func() { cancel(cause{errors.New("enough")}) })
			n := needOf("a.yml", "x", inRange("9000-9009"))
			if name == "a wait" {
				n.Wait = time.Minute
			}
			start := time.Now()
			var got diary
			_, err := Run(ctx, []Need{n}, []Target{targetOf("local", s)}, Options{Alternatives: 1, Progress: &got})
			if done := slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "done") }); done != (name == "a proposal") {
				t.Errorf("%s: %q", name, got)
			}
			if !errors.As(err, new(cause)) || time.Since(start) != 50*time.Millisecond {
				t.Errorf("%s: %v after %s", name, err, time.Since(start))
			}
		}
	})
}

func TestAPanicReachesTheCaller(t *testing.T) {
	defer func() {
		bug, ok := recover().(panics.Panic)
		if !ok || bug.String() != "boom" || !strings.Contains(string(bug.Stack), "TestAPanicReachesTheCaller") {
			t.Errorf("%+v", bug)
		}
	}()
	s := &sim{before: func(context.Context, int) error { panic("boom") }}
	_, err := Run(context.Background(), []Need{needOf("a.yml", "x")}, []Target{targetOf("local", s), targetOf("other", &sim{})}, Options{})
	t.Errorf("Run returned: %v", err)
}

// TestManyConnects checks that the answers to many connects are asked for in parts,
// since each answer has a limit, and that most of the target's time is for them.
func TestManyConnects(t *testing.T) {
	s := &sim{}
	r := run(t, []Need{needOf("a.yml", "x"), needOf("a.yml", "all", reachable, ports(1, port.MaxPort)), needOf("a.yml", "one", reachable)}, Options{Timeout: time.Minute}, targetOf("local", s))
	dialed := 0
	for i, req := range s.asked {
		dialed += len(req.Dials)
		if len(req.Dials) > dialsPerRequest || (len(req.Tries) > 0) != (i == 0) || req.DialBudget <= 0 || req.DialBudget > 45*time.Second {
			t.Errorf("request %d: %d connects in %s, %d tries", i, len(req.Dials), req.DialBudget, len(req.Tries))
		}
	}
	if dialed != port.MaxPort+1 {
		t.Errorf("%d connects in %d requests", dialed, len(s.asked))
	}
	if all := r.Results[1]; !all.OK || len(all.Endpoints) != port.MaxPort || all.Message != "db.internal ports 1-65535 accept connections" || !r.Results[2].OK {
		t.Errorf("%s: %s, %d endpoints", all.ID, all.Message, len(all.Endpoints))
	}
}

func TestOneBatchForAllNeeds(t *testing.T) {
	s := &sim{taken: set(t, "8080")}
	needs := []Need{
		needOf("a.yml", "x", inRange("9000-9009"), tcpAndUDP), needOf("a.yml", "y", ports(1, 1), inRange("9000-9009"), runAs("nobody")),
		needOf("a.yml", "z", listening, runAs("nobody")), needOf("a.yml", "r", reachable),
		needOf("a.yml", "w", ports(2, 2), owner(config.Owner{Process: "nginx"})),
	}
	run(t, needs, Options{Alternatives: 1, ShowCommand: true}, targetOf("local", s))
	req := s.asked[0]
	if len(req.Tries) != 5 || len(req.Dials) != 1 || len(req.Scans) != 2 || !req.ShowCommand {
		t.Errorf("%+v", req)
	}
	if req.Tries[3].Owners || !req.Tries[4].Owners {
		t.Errorf("want Owners only for the need with an owner: %+v", req.Tries)
	}
	if req.Tries[2].RunAs != "nobody" || !req.Tries[3].Look || req.Tries[3].RunAs != "" {
		t.Errorf("want RunAs only for a bind: %+v", req.Tries)
	}
	if len(s.asked) != 2 || len(s.asked[1].Tries) != 2 {
		t.Errorf("%+v", s.asked[1:])
	}
}

func TestFreePorts(t *testing.T) {
	n := needOf("", "free", inRange("8080-8089"))
	got, _, err := FreePorts(context.Background(), n, targetOf("local", &sim{taken: set(t, "8080,8082"), barred: set(t, "8083")}), Options{Alternatives: 2})
	if diff := cmp.Diff([]uint16{8081, 8084}, got); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	got, _, err = FreePorts(context.Background(), n, targetOf("local", &sim{taken: set(t, "8080-8089")}), Options{Alternatives: 1})
	if len(got) > 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	f := machine()
	looked := n
	looked.Ports = port.One(1)
	f.Tried, f.Open = []host.Tried{{Attempts: attempts(t, looked, []string{"not-tried"})}}, []port.Set{{}}
	f.Gaps = []host.Gap{{What: "the table can't be read", Op: "netlink", Errno: "EPERM", Kind: host.GapSockets}}
	if _, _, err = FreePorts(context.Background(), n, targetOf("local", canned(f)), Options{Alternatives: 1}); err == nil || !strings.Contains(err.Error(), "EPERM") {
		t.Errorf("without a table: %v, want EPERM", err)
	}
	_, _, err = FreePorts(context.Background(), n, targetOf("local", withoutLeases{&sim{}}), Options{Alternatives: 1})
	if want := "which ports other jobs have leased could not be determined: leases of ports could not be listed: socket"; err == nil || err.Error() != want {
		t.Errorf("without leases: %v, want %s", err, want)
	}
}

// withoutLeases is a host on which leases can't be asked for.
type withoutLeases struct{ *sim }

func (h withoutLeases) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	f, err := h.sim.Probe(ctx, req)
	noLeases(&f)
	return f, err
}

func TestFreePortsFails(t *testing.T) {
	n := needOf("", "free", inRange("8080-8089"), tcpAndUDP)
	noBind := machine()
	for range n.Protocols {
		noBind.Tried = append(noBind.Tried, host.Tried{TableOK: true, NoBindReason: "nothing runs there", Attempts: []host.Attempt{{Outcome: host.NotTried}}})
		noBind.Open = append(noBind.Open, n.Range)
	}
	for i, proto := range n.Protocols {
		noBind.Tried[i].Attempts[0].Endpoint = n.Binding(proto).At(1)[0]
	}
	for want, target := range map[string]Target{
		"no route": unreachable("local", "no route"),
		"no port can be test-bound there: nothing runs there": targetOf("local", canned(noBind)),
		"connection reset": targetOf("local", &sim{before: func(_ context.Context, asked int) error {
			if asked > 1 {
				return errors.New("connection reset")
			}
			return nil
		}}),
		"lost at once": targetOf("local", &sim{before: func(context.Context, int) error { return errors.New("lost at once") }}),
	} {
		if got, _, err := FreePorts(context.Background(), n, target, Options{Alternatives: 2}); len(got) > 0 || err == nil || err.Error() != want {
			t.Errorf("%v, %v; want %s", got, err, want)
		}
	}
	nowhere := n
	nowhere.Addresses = nil
	if got, _, err := FreePorts(context.Background(), nowhere, targetOf("local", &sim{}), Options{Alternatives: 2}); len(got) > 0 || err != nil {
		t.Errorf("without addresses: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancelled := &sim{before: func(ctx context.Context, asked int) error {
		if asked > 1 {
			cancel()
		}
		return ctx.Err()
	}}
	if got, _, err := FreePorts(ctx, n, targetOf("local", cancelled), Options{Alternatives: 2}); len(got) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", got, err)
	}
	if got, _, err := FreePorts(context.Background(), n, targetOf("local", &sim{}), Options{Alternatives: 2}); err != nil || !slices.Equal(got, []uint16{8080, 8081}) {
		t.Errorf("%v, %v", got, err)
	}
}

// A gap is a notice on its target, except for gaps about holders and containers,
// which are notices on the results that they affect.
func TestGapsAreNoticesOfTheTarget(t *testing.T) {
	f := machine()
	n := needOf("a.yml", "x")
	f.Tried = []host.Tried{{TableOK: true, Attempts: attempts(t, n, []string{"ok"})}}
	f.Machine.Namespace = host.Namespace{Kind: host.NamespaceContainer, Inode: 7, Reason: "a cgroup path"}
	f.Gaps = []host.Gap{
		{What: "holders", Kind: host.GapHolders},
		{What: "names", Kind: host.GapContainers},
		{What: "another namespace", Kind: host.GapNamespace},
		{What: "sockets", Op: "open", Errno: "EACCES", Kind: host.GapSockets},
		{What: "a default"},
	}
	got := run(t, []Need{n}, Options{}, targetOf("local", canned(f))).Targets
	want := []TargetReport{{
		Name: "local", OS: "linux", Ephemeral: "32768-60999", Namespace: Namespace{"container", 7, "a cgroup path", ""},
		Notices: []Notice{
			{config.Degraded, "another namespace", config.SeverityWarning}, {Code: config.Degraded, Message: "sockets (open: EACCES)"}, {Code: config.Degraded, Message: "a default"},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	f.Limits.Ephemeral = port.Range{}
	if got := run(t, []Need{n}, Options{}, targetOf("local", canned(f))).Targets[0].Ephemeral; got != "" {
		t.Errorf("without ephemeral ports: %q", got)
	}
}

func TestList(t *testing.T) {
	f := machine()
	f.Tried = []host.Tried{{TableOK: true}, {TableOK: true}}
	f.Sockets = []host.Socket{socket(host.Listen, "[::]:80", nginx, worker), socket(host.Listen, "udp 127.0.0.1:53")}
	f.Gaps = []host.Gap{{What: "not all processes", Op: "open", Errno: "EACCES", Kind: host.GapHolders}, {What: "a default is assumed"}}
	l, err := List(context.Background(), targetOf("local", canned(f)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range l.Sockets {
		got = append(got, fmt.Sprintf("%s %s %d %d", h.Protocol, h.Address, h.Port, h.PID))
	}
	if diff := cmp.Diff([]string{"tcp :: 80 812", "tcp :: 80 813", "udp 127.0.0.1 53 0"}, got); diff != "" {
		t.Error(diff)
	}
	if l.Version != 1 || len(l.Targets) != 1 || len(l.Targets[0].Notices) != 2 {
		t.Errorf("the notices do not have every gap: %+v", l)
	}
	f.Gaps[0].Kind = host.GapContainers
	if l, err = List(context.Background(), targetOf("local", canned(f)), Options{}); err != nil || len(l.Targets[0].Notices) != 2 {
		t.Errorf("%v: %+v", err, l)
	}
	if _, err = List(context.Background(), unreachable("local", "no route"), Options{}); err == nil || err.Error() != "no route" {
		t.Errorf("%v", err)
	}
	lost := &sim{before: func(context.Context, int) error { return errors.New("connection reset") }}
	if _, err = List(context.Background(), targetOf("local", lost), Options{}); err == nil || err.Error() != "connection reset" {
		t.Errorf("%v", err)
	}
	f.Tried[1].TableOK = false
	if _, err = List(context.Background(), targetOf("local", canned(f)), Options{}); err == nil {
		t.Error("a partial table was accepted")
	}
}

// If one target can't be probed, there are no alternatives on any target, and the
// results name that target.
func TestNoAlternativesWithoutEveryTarget(t *testing.T) {
	files := host.FromFiles(func(_ context.Context, path string) ([]byte, error) {
		text, ok := map[string]string{
			"/proc/net/tcp":                              "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
			"/proc/sys/net/ipv4/ip_local_port_range":     "32768\t60999\n",
			"/proc/sys/net/ipv4/ip_local_reserved_ports": "\n",
		}[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}, host.Machine{Arch: "amd64"}, "nothing runs there")
	for name, c := range map[string]struct {
		other  Target
		silent string
	}{
		"not reached": {unreachable("app2", "no route"), "they must be free on every target, and app2 could not be probed"},
		"by table":    {targetOf("app2", files), "no port can be test-bound on app2"},
		"no leases":   {targetOf("app2", withoutLeases{&sim{}}), "which ports other jobs have leased on app2 could not be determined"},
	} {
		on := func(target string) func(*Need) { return func(n *Need) { n.Target = target } }
		needs := []Need{needOf("a.yml", "web", inRange("20000-20010"), on("app1")), needOf("a.yml", "web", inRange("20000-20010"), on("app2"))}
		taken := &sim{taken: set(t, "8080")}
		r := run(t, needs, Options{Alternatives: 3}, targetOf("app1", taken), c.other)
		got := r.Results[0]
		if got.Status != InUse || len(got.Alternatives) > 0 || got.NoSearchReason != c.silent {
			t.Errorf("%s: %s, alternatives %v: %q", name, got.Status, got.Alternatives, got.NoSearchReason)
		}
		if len(taken.asked) > 1 {
			t.Errorf("%s: app1 was asked %d times", name, len(taken.asked))
		}
	}
}
