package check

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// altered is a host that changes the answers of a sim.
type altered struct {
	*sim
	change func(*host.Facts)
}

func (a altered) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	f, err := a.sim.Probe(ctx, req)
	a.change(&f)
	return f, err
}

// After an answer to another request, or one with impossible facts, the needs are
// unknown.
func TestAnAnswerThatDoesNotMatchIsRefused(t *testing.T) {
	held := func(change func(*host.Socket)) func(*host.Facts) {
		return func(f *host.Facts) {
			s := socket(host.Listen, "0.0.0.0:9999", nginx)
			s.Holders = []host.Holder{nginx}
			change(&s)
			f.Sockets = append(f.Sockets, s)
		}
	}
	allocation := func(change func(*host.Allocation)) func(*host.Facts) {
		return func(f *host.Facts) {
			allocated("0.0.0.0", -1)(f)
			change(&f.Allocated[0])
		}
	}
	first := func(f *host.Facts) *host.Attempt { return &f.Tried[0].Attempts[0] }
	for name, change := range map[string]func(*host.Facts){
		"nothing":             func(f *host.Facts) { *f = host.Facts{} },
		"a try too few":       func(f *host.Facts) { f.Tried = f.Tried[1:] },
		"a scan too many":     func(f *host.Facts) { f.Open = append(f.Open, nil) },
		"holders without end": held(func(s *host.Socket) { s.Holders = slices.Repeat(s.Holders, host.MostHolders+20) }),
		"holders with long texts": held(func(s *host.Socket) {
			for range 300 {
				s.Holders = append(s.Holders, host.Holder{PID: 1, Executable: strings.Repeat("x", 64<<10)})
			}
		}),
		"a long gap":                func(f *host.Facts) { f.Gaps = []host.Gap{{What: strings.Repeat("x", textOfMachine)}} },
		"many gaps":                 func(f *host.Facts) { f.Gaps = make([]host.Gap, 1000) },
		"a long reason":             func(f *host.Facts) { f.Machine.Namespace.Reason = strings.Repeat("x", textOfMachine+1) },
		"a long errno":              func(f *host.Facts) { first(f).Errno = strings.Repeat("x", textOfAttempt+1) },
		"a long errno of a connect": func(f *host.Facts) { f.Dialed[0].Errno = strings.Repeat("x", textOfAttempt+1) },
		"long words about a table":  func(f *host.Facts) { f.Tried[0].NoBindReason = strings.Repeat("x", textOfTry+1) },
		"a long rule": func(f *host.Facts) {
			f.Tried[0].Routes = []host.Route{{Port: first(f).Port, Rule: host.Rule{Comment: strings.Repeat("x", textOfRoute+1)}}}
		},
		"another address without callers": func(f *host.Facts) {
			f.Tried[0].Unreached = []host.Unreached{{Addr: netip.MustParseAddr("192.0.2.1")}}
		},
		"addresses without callers without end": func(f *host.Facts) {
			f.Tried[0].Unreached = []host.Unreached{{Addr: first(f).Addr}, {Addr: first(f).Addr}}
		},
		"no endpoint":                 func(f *host.Facts) { f.Tried[0].Attempts = nil },
		"another port":                func(f *host.Facts) { first(f).Port = 8090 },
		"another protocol":            func(f *host.Facts) { first(f).Protocol = port.UDP },
		"another address":             func(f *host.Facts) { first(f).Addr = netip.IPv6Loopback() },
		"IPv6 alone":                  func(f *host.Facts) { first(f).V6Only = true },
		"a device":                    func(f *host.Facts) { first(f).Device = "eth0" },
		"one port twice":              func(f *host.Facts) { f.Tried[0].Attempts = append(f.Tried[0].Attempts, *first(f)) },
		"the ports in another order":  func(f *host.Facts) { a := f.Tried[1].Attempts; a[0], a[1] = a[1], a[0] },
		"the answers in another one":  func(f *host.Facts) { f.Tried[0], f.Tried[1] = f.Tried[1], f.Tried[0] },
		"0.0.0.0 for no reason":       func(f *host.Facts) { first(f).Addr = netip.IPv4Unspecified() },
		"an outcome of its own":       func(f *host.Facts) { first(f).Outcome = "free" },
		"ports outside of the range":  func(f *host.Facts) { f.Open[0] = append(f.Open[0], port.One(9100)) },
		"ports from last to first":    func(f *host.Facts) { f.Open[0] = port.Set{{First: 9009, Last: 9000}} },
		"the range without end":       func(f *host.Facts) { f.Open[0] = slices.Repeat(f.Open[0], 10_000) },
		"a connect to another port":   func(f *host.Facts) { f.Dialed[0].Port++ },
		"a connect by UDP":            func(f *host.Facts) { f.Dialed[0].Protocol = port.UDP },
		"a namespace of its own":      func(f *host.Facts) { f.Machine.Namespace.Kind = "\x1b[2J" },
		"limits that repeat":          func(f *host.Facts) { f.Limits.Reserved = slices.Repeat(port.Set{{First: 1, Last: 65535}}, 2) },
		"limits from last to first":   func(f *host.Facts) { f.Limits.Ephemeral = port.Range{First: 2, Last: 1} },
		"a socket without an address": held(func(s *host.Socket) { s.Addr = netip.Addr{} }),
		"a socket in a hostile zone":  held(func(s *host.Socket) { s.Addr = netip.IPv6Loopback().WithZone("\x1b[2J") }),
		"a hostile device":            held(func(s *host.Socket) { s.Device = "\n::error::" }),
		"a state of its own":          held(func(s *host.Socket) { s.State = "gone" }),
		"a process that means all":    held(func(s *host.Socket) { s.Holders[0].PID = -1 }),
		"a process that means us":     held(func(s *host.Socket) { s.Holders[0].PID = 0 }),
		"a gap of its own":            func(f *host.Facts) { f.Gaps = []host.Gap{{What: "x", Kind: "\x1b[2J"}} },
		"excluded ports that repeat": func(f *host.Facts) {
			f.Limits.Excluded = map[port.Protocol]port.Set{port.TCP: slices.Repeat(port.Set{{First: 1, Last: 65535}}, 2)}
		},
		"excluded ports of udp":      func(f *host.Facts) { f.Limits.Excluded = map[port.Protocol]port.Set{port.UDP: {{First: 2, Last: 1}}} },
		"a connect of its own":       func(f *host.Facts) { f.Dialed[0].Outcome = "perhaps" },
		"a connect too few":          func(f *host.Facts) { f.Dialed = nil },
		"a device with a blank":      held(func(s *host.Socket) { s.Device = "a b" }),
		"a device that is not ASCII": held(func(s *host.Socket) { s.Device = "eth\u202e" }),
		"a route of another port":    func(f *host.Facts) { f.Tried[0].Routes = []host.Route{{Port: 9000, All: true}} },
		"callers without end":        func(f *host.Facts) { f.Tried[0].Routes = []host.Route{{Port: 8080, From: make([]string, 17)}} },
		"a hostile destination": func(f *host.Facts) {
			f.Tried[1].Routes = []host.Route{{Port: 8082, To: []host.Destination{{Addr: netip.IPv6Loopback().WithZone("\x1b[2J")}}}}
		},
		"routes without end": func(f *host.Facts) {
			for i := range host.MostRoutesOfPort + 1 {
				f.Tried[0].Routes = append(f.Tried[0].Routes, host.Route{Port: 8080, Rule: host.Rule{Text: strconv.Itoa(i)}})
			}
		},
		"an allocation of another port":      allocation(func(a *host.Allocation) { a.Port = 9999 }),
		"an allocation of another protocol":  allocation(func(a *host.Allocation) { a.Protocol = port.UDP }),
		"an allocation without an address":   allocation(func(a *host.Allocation) { a.Addr = netip.Addr{} }),
		"an allocation in a hostile zone":    allocation(func(a *host.Allocation) { a.Addr = netip.IPv6Loopback().WithZone("\x1b[2J") }),
		"an allocation on a hostile device":  allocation(func(a *host.Allocation) { a.Device = "\n::error::" }),
		"an allocation for no container":     allocation(func(a *host.Allocation) { a.Container = "" }),
		"an allocation of a user of its own": allocation(func(a *host.Allocation) { a.User = -2 }),
		"an allocation with a long text":     allocation(func(a *host.Allocation) { a.ContainerInfo.Image = strings.Repeat("x", textOfAllocation) }),
		"allocations without end": func(f *host.Facts) {
			allocation(func(*host.Allocation) {})(f)
			f.Allocated = slices.Repeat(f.Allocated, 1025)
		},
		"an allocation of its own":   held(func(s *host.Socket) { s.State = host.Allocated }),
		"a user that there can't be": held(func(s *host.Socket) { s.Holders[0].UID = -2 }),
	} {
		t.Run(name, func(t *testing.T) {
			needs := []Need{needOf("a.yml", "x", inRange("9000-9009")), needOf("a.yml", "y", ports(8081, 8083)), needOf("a.yml", "z", reachable)}
			r := run(t, needs, Options{Alternatives: 1}, targetOf("local", altered{&sim{}, change}))
			for _, x := range r.Results {
				if x.Status != Unknown || !strings.Contains(x.Message, "does not match the request: it") {
					t.Errorf("%s is %s: %s", x.Name, x.Status, x.Message)
				}
			}
		})
	}
}

// Hosts may answer the same request differently.
func TestValidAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		address port.Address
		change  func(*host.Facts)
	}{
		"as it was asked": {port.Loopback, func(*host.Facts) {}},
		"without IPv6": {port.Any, func(f *host.Facts) {
			a := &f.Tried[0].Attempts
			(*a)[0].Outcome = host.NoFamily
			*a = append(*a, (*a)[0])
			(*a)[1].Addr, (*a)[1].Outcome = netip.IPv4Unspecified(), host.OK
		}},
		"what is at the edge": {port.Any, func(f *host.Facts) {
			f.Limits = host.Limits{
				Ephemeral: port.One(9000), Reserved: port.Set{{First: 0, Last: 65535}},
				Excluded: map[port.Protocol]port.Set{port.TCP: {port.One(1)}, port.UDP: {{First: 1, Last: 2}}},
			}
			s := socket(host.Connected, "127.0.0.1:9999", host.Holder{PID: 1, UID: -1})
			s.Device = "!~"
			f.Sockets = []host.Socket{s}
			f.Tried[0].Routes = slices.Repeat([]host.Route{{Port: f.Tried[0].Attempts[0].Port}}, host.MostRoutesOfPort)
		}},
		"a device by its name": {"fe80::1%2", func(f *host.Facts) { f.Tried[0].Attempts[0].Device = "eth0" }},
	} {
		n := needOf("a.yml", "x", on(c.address))
		if r := run(t, []Need{n}, Options{}, targetOf("local", altered{&sim{}, c.change})); r.Results[0].Status != Free {
			t.Errorf("%s: %+v", name, r.Results[0])
		}
	}
}

// 0.0.0.0 replaces only a dual-stack [::], on a host without IPv6.
func TestStandInsForDualStackAlone(t *testing.T) {
	for _, c := range []struct {
		address port.Address
		outcome host.Outcome
		want    Status
	}{
		{port.Any, host.NoFamily, Free},
		{port.Any, host.OK, Unknown},
		{port.Any6, host.NoFamily, Unknown},
		{"::1", host.NoFamily, Unknown},
		{port.Any4, host.OK, Unknown},
	} {
		r := run(t, []Need{needOf("a.yml", "x", on(c.address))}, Options{}, targetOf("local", altered{&sim{}, func(f *host.Facts) {
			a := f.Tried[0].Attempts[0]
			f.Tried[0].Attempts[0].Outcome = c.outcome
			a.Addr = netip.IPv4Unspecified()
			f.Tried[0].Attempts = append(f.Tried[0].Attempts, a)
		}}))
		if got := r.Results[0]; got.Status != c.want {
			t.Errorf("%s, %s: %s, want %s: %s", c.address, c.outcome, got.Status, c.want, got.Message)
		}
	}
}

// After an invalid answer to the search for alternatives, there are none.
func TestAlternativesThatDoNotMatch(t *testing.T) {
	s := &sim{taken: port.Set{port.One(8080)}}
	r := run(t, []Need{needOf("a.yml", "x", inRange("9000-9009"))}, Options{Alternatives: 2}, targetOf("local", altered{s, func(f *host.Facts) {
		if len(s.asked) > 1 {
			f.Tried[0].Attempts[0].Port = 9005
		}
	}}))
	if x := r.Results[0]; x.Status != InUse || len(x.Alternatives) > 0 || len(r.Targets[0].Notices) != 1 || r.Targets[0].Notices[0].Code != config.Degraded {
		t.Errorf("%+v, targets %+v", x, r.Targets)
	}
}
