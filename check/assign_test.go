package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// holding is a host on which ports can be held.
type holding struct {
	sim
	mu      sync.Mutex
	held    []host.Lease
	starts  int
	budgets []time.Duration                 // how long keepers might be waited for, each time
	pending bool                            // a lease is not confirmed
	slow    bool                            // keepers do not answer in time
	alter   func(*host.LeaseReply)          // changes the answers
	refuse  func(host.LeaseRequest) error   // may be nil
	unmet   func(lease.Request) (int, bool) // a want that is not met, whatever is free
}

func (h *holding) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budgets = append(h.budgets, req.LeaseBudget)
	facts, err := h.sim.Probe(ctx, req)
	for _, l := range h.held {
		if h.slow && !slices.Contains(req.Held, host.LeasePort{Protocol: l.Protocol, Port: l.Port}) {
			facts.Leases = append(facts.Leases, host.Lease{Protocol: l.Protocol, Port: l.Port, UID: -1})
		}
	}
	return facts, err
}

func (h *holding) Hold(_ context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budgets = append(h.budgets, req.Budget)
	if h.refuse != nil {
		if err := h.refuse(req); err != nil {
			return host.LeaseReply{}, err
		}
	}
	var reply host.LeaseReply
	switch {
	case req.Start != nil:
		reply = h.start(*req.Start)
	case req.Confirm:
		h.pending = false
	case req.Release != nil:
		h.held = slices.DeleteFunc(h.held, func(l host.Lease) bool { reply.Released = true; return l.ID == req.Release.ID })
	default:
		for _, l := range h.held {
			l.Own = l.Job == lease.Name(req.Job)
			if req.List == host.AllLeases || req.List == host.OwnLeases && l.Own {
				reply.Leases = append(reply.Leases, l)
			}
			for _, p := range req.Look {
				if p.Protocol == l.Protocol && p.Port == l.Port {
					reply.Leases = append(reply.Leases, l)
				}
			}
		}
	}
	if h.alter != nil {
		h.alter(&reply)
	}
	return reply, nil
}

// start holds the first ports of the wants that are free, or none of them.
func (h *holding) start(r lease.Request) host.LeaseReply {
	h.starts++
	if h.unmet != nil {
		if i, unmet := h.unmet(r); unmet {
			return host.LeaseReply{Unmet: &i}
		}
	}
	var reply host.LeaseReply
	before := len(h.held)
	for i, w := range r.Wants {
		found := false
		for p := range w.Ports.All {
			taken := func(l host.Lease) bool { return l.Port == p && slices.Contains(w.Protocols, l.Protocol) }
			if found = !h.taken.Contains(p) && !slices.ContainsFunc(h.held, taken); found {
				reply.First = append(reply.First, p)
				for _, proto := range w.Protocols {
					h.held = append(h.held, host.Lease{Protocol: proto, Port: p, ID: r.ID, Job: lease.Name(r.Job), App: lease.Name(r.App), Name: lease.Name(w.Name)})
				}
				break
			}
		}
		if !found {
			h.held = h.held[:before]
			return host.LeaseReply{Unmet: &i}
		}
	}
	h.pending = true
	return reply
}

// lend holds ports for another job.
func (h *holding) lend(job string, ports ...uint16) {
	for _, p := range ports {
		h.held = append(h.held, host.Lease{Protocol: port.TCP, Port: p, ID: job, Job: job})
	}
}

// jobsOf lists the ports of a job.
func (h *holding) portsOf(job string) (all []uint16) {
	for _, l := range h.held {
		if l.Job == job {
			all = append(all, l.Port)
		}
	}
	return all
}

// assign assigns needs on hosts, each of which is on all of them.
func assign(ctx context.Context, job string, needs []Need, hosts ...*holding) (Assignment, error) {
	var targets []Target
	var all []Need
	for i, h := range hosts {
		targets = append(targets, Target{Name: fmt.Sprint("host", i), Job: job, Open: func(context.Context) (host.Host, error) { return h, nil }})
		for _, n := range needs {
			n.Target = targets[i].Name
			all = append(all, n)
		}
	}
	return Assign(ctx, all, targets, AssignOptions{Options: Options{Parallel: len(hosts)}, LeaseID: leaseID(hosts[0], job), Place: job, Expires: time.Now().Add(time.Hour)})
}

// leaseID returns an ID for a lease of a job that has none on a host.
func leaseID(h *holding, job string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprint("lease-", job, map[bool]string{true: "-2"}[len(h.portsOf(job)) > 0])
}

// chosen lists the ports of an assignment.
func chosen(a Assignment) (all []uint16) {
	for _, p := range a.Ports {
		all = append(all, p.Port)
	}
	return all
}

// TestAssignAgreesOnPorts checks that a need gets the same port on all targets, whatever
// is free where, and that the job gets it again.
func TestAssignAgreesOnPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, three := &holding{sim: sim{taken: set(t, "9000-9003,9007")}}, &holding{}, &holding{sim: sim{taken: set(t, "9004-9005")}}
		two.lend("other", 9006)
		needs := []Need{needOf("a.yml", "x", ports(9000, 9000), inRange("9000-9009")), needOf("a.yml", "y", ports(9001, 9001), inRange("9000-9009"))}
		a, err := assign(t.Context(), "mine", needs, one, two, three)
		got := chosen(a)
		if err != nil || len(got) != 6 || got[0] != got[2] || got[0] != got[4] || got[1] != got[3] || got[1] != got[5] || got[0]+got[1] != 9008+9009 {
			t.Errorf("%v, %v", got, err)
		}
		for _, h := range []*holding{one, two, three} {
			if h.pending || len(h.portsOf("mine")) != 2 || h.starts > 8 {
				t.Errorf("holds %v after %d attempts; pending %t", h.portsOf("mine"), h.starts, h.pending)
			}
		}
		again, err := assign(t.Context(), "mine", needs, one, two, three)
		if err != nil || !slices.Equal(chosen(again), got) || one.starts+two.starts+three.starts > 24 {
			t.Errorf("again: %v, %v", chosen(again), err)
		}
		// One more target gets what the others have.
		four := &holding{}
		if more, err := assign(t.Context(), "mine", needs, one, two, three, four); err != nil || !slices.Equal(chosen(more)[6:], got[:2]) {
			t.Errorf("one more target: %v, %v", more, err)
		}
		// If it can't have these, all get others, if there are any.
		five := &holding{}
		five.lend("other", got[0])
		if more, err := assign(t.Context(), "mine", needs, one, two, three, five); err == nil {
			t.Errorf("there is no third port: %v", chosen(more))
		}
		if len(five.portsOf("mine")) > 0 || len(one.portsOf("mine")) != 2 {
			t.Errorf("%v and %v are held", five.portsOf("mine"), one.portsOf("mine"))
		}
	})
}

// TestAssignAllOrNone checks that no target holds anything if one of them can't have the
// port, does not answer, or answers what can't be true.
func TestAssignAllOrNone(t *testing.T) {
	lies := func(change func(*host.LeaseReply)) *holding { return &holding{alter: change} }
	for name, c := range map[string]struct {
		bad  *holding
		want string
	}{
		"taken":   {&holding{sim: sim{taken: set(t, "8080")}}, "tcp 8080 is in use by nginx"},
		"refused": {&holding{refuse: func(r host.LeaseRequest) error { return map[bool]error{true: errors.New("no fork")}[r.Start != nil] }}, "host1: no fork"},
		"late": {
			&holding{refuse: func(r host.LeaseRequest) error { return map[bool]error{true: errors.New("cut")}[r.Confirm] }},
			"host1: cut; the lease lease-mine may be left there until ",
		},
		"another port":    {lies(func(r *host.LeaseReply) { first(r, 22) }), "it has port 22, which was not requested"},
		"no port":         {lies(func(r *host.LeaseReply) { r.First = nil }), "it has 0 ports instead of 1"},
		"another need":    {lies(func(r *host.LeaseReply) { r.Unmet = new(int); *r.Unmet = 7 }), "it is about another need"},
		"a need before":   {lies(func(r *host.LeaseReply) { r.Unmet = new(int); *r.Unmet = -1 }), "it is about another need"},
		"another's lease": {lies(func(r *host.LeaseReply) { r.Leases = []host.Lease{{Protocol: port.TCP, Port: 8080}} }), "which is another job's"},
		"control characters": {lies(func(r *host.LeaseReply) {
			r.Leases = []host.Lease{{Protocol: port.TCP, Port: 8080, Own: true, Job: "\x1b[2J"}}
		}), "too long, or has control characters"},
		"a long text": {lies(func(r *host.LeaseReply) {
			r.Leases = []host.Lease{{Protocol: port.TCP, Port: 8080, Own: true, App: strings.Repeat("x", 101)}}
		}), "too long, or has control characters"},
		"a protocol": {lies(func(r *host.LeaseReply) { r.Leases = []host.Lease{{Protocol: "sctp", Port: 8080, Own: true}} }), "an impossible lease"},
		"a time": {lies(func(r *host.LeaseReply) {
			r.Leases = []host.Lease{{Protocol: port.TCP, Port: 8080, Own: true, Expires: time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200))}}
		}), "an impossible lease"},
		"twice": {lies(func(r *host.LeaseReply) {
			r.Leases = []host.Lease{{Protocol: port.TCP, Port: 8080, Own: true}, {Protocol: port.TCP, Port: 8080, Own: true}}
		}), "it has tcp 8080 twice"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good := &holding{}
				_, err := assign(t.Context(), "mine", []Need{needOf("a.yml", "x")}, good, c.bad)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if len(good.held) > 0 {
					t.Errorf("%v is still held", good.held)
				}
			})
		})
	}
}

// first sets the first port of an answer that has one.
func first(r *host.LeaseReply, p uint16) {
	if len(r.First) > 0 {
		r.First[0] = p
	}
}

// TestStartedTwice checks that a host can't give one port to two needs.
func TestStartedTwice(t *testing.T) {
	w := lease.Want{Protocols: []port.Protocol{port.TCP}, Ports: set(t, "9000-9009"), Length: 2}
	if err := validateStarted(host.LeaseReply{First: []uint16{9000, 9001}}, []lease.Want{w, w}); err == nil || err.Error() != "it has tcp 9001-9002 twice" {
		t.Error(err)
	}
	if err := validateStarted(host.LeaseReply{First: []uint16{9000, 9002}}, []lease.Want{w, w}); err != nil {
		t.Error(err)
	}
}

// TestJobsThatWantAllHosts checks that two jobs which want one port on two hosts take
// turns, and that none has to wait for ever for what the other has.
func TestJobsThatWantAllHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &holding{}, &holding{}
		n := needOf("a.yml", "x", func(n *Need) { n.Wait = time.Minute })
		var both sync.WaitGroup
		for i := range 4 {
			both.Go(func() {
				job := fmt.Sprint("job", i)
				hosts := []*holding{one, two}
				if i%2 > 0 {
					slices.Reverse(hosts)
				}
				if _, err := assign(t.Context(), job, []Need{n}, hosts...); err != nil {
					t.Errorf("%s: %v", job, err)
				}
				for _, h := range hosts {
					if _, err := h.Hold(t.Context(), host.LeaseRequest{Release: &host.LeasePort{ID: "lease-" + job}}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		both.Wait()
	})
}

// TestAssignWaitsWithoutAttempts checks that a need with one port starts no keeper as
// long as another job has it: each may be a container.
func TestAssignWaitsWithoutAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &holding{}
		h.lend("other", 8080)
		time.AfterFunc(time.Minute, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.held = nil
		})
		a, err := assign(t.Context(), "mine", []Need{needOf("a.yml", "x", func(n *Need) { n.Wait = time.Hour })}, h)
		if err != nil || chosen(a)[0] != 8080 || h.starts != 2 {
			t.Errorf("%v after %d attempts, %v", chosen(a), h.starts, err)
		}
	})
}

// TestWhyUnmet checks what is said of a port that nothing has any more.
func TestWhyUnmet(t *testing.T) {
	for name, c := range map[string]struct {
		unmet int // so many attempts find the port taken
		needs []Need
		want  string // "": it is assigned
	}{
		"always":       {1 << 20, []Need{needOf("a.yml", "x")}, "a.yml:6:11: a/x gets no port: 8080 is free, but could not be leased: another job had it for a moment, or a program that is not portcheck uses the name by which portcheck marks a leased port (as root, `ss -xap | grep portcheck/1/` shows it)"},
		"with a range": {1 << 20, []Need{needOf("a.yml", "x", inRange("8080-8081"))}, "a.yml:6:11: a/x gets no port: 8080 is free, but could not be leased: another job had it for a moment, or a program that is not portcheck uses the name by which portcheck marks a leased port (as root, `ss -xap | grep portcheck/1/` shows it), and no port of its range 8080-8081 is free"},
		"another need": {0, []Need{needOf("a.yml", "x"), needOf("a.yml", "y")}, "a.yml:6:11: a/y gets no port: a/x, another need of this run, has 8080"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &holding{}
				h.unmet = func(lease.Request) (int, bool) { return 0, h.starts <= c.unmet }
				_, err := assign(t.Context(), "mine", c.needs, h)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			})
		})
	}
	// What was taken during all attempts in time, and is free then, is tried once more.
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		h := &holding{unmet: func(lease.Request) (int, bool) { return 0, time.Since(start) < moment }}
		h.before = func(context.Context, int) error {
			if time.Since(start) >= moment {
				time.Sleep(time.Millisecond)
			}
			return nil
		}
		if a, err := assign(t.Context(), "mine", []Need{needOf("a.yml", "x")}, h); err != nil || chosen(a)[0] != 8080 {
			t.Errorf("%v, %v", chosen(a), err)
		}
	})
}

// TestStartedNeeds checks that verify takes the port that a job has on most targets.
func TestStartedNeeds(t *testing.T) {
	held := func(ports ...uint16) (all []host.Lease) {
		for _, p := range ports {
			all = append(all, host.Lease{Protocol: port.TCP, Port: p, Name: "a/x", Own: true})
		}
		return all
	}
	leases := map[string][]host.Lease{"one": held(9000, 9001), "two": held(9001), "three": nil}
	var needs []Need
	for _, target := range []string{"one", "two", "three"} {
		needs = append(needs, needOf("a.yml", "x", inRange("9000-9009"), func(n *Need) { n.Target = target }))
	}
	started, missing := Started(needs, func(target string) []host.Lease { return leases[target] })
	if !slices.Equal(missing, []bool{false, false, true}) || started[0].Ports.First != 9001 || started[1].Ports.First != 9001 || started[0].Expect != config.Listening {
		t.Errorf("%v %+v", missing, started)
	}
}

// TestSilentKeepersCostASecond checks that one assignment waits for silent keepers once,
// however often it asks.
func TestSilentKeepersCostASecond(t *testing.T) {
	for what, unmet := range map[string]func(lease.Request) (int, bool){"met": nil, "unmet": func(lease.Request) (int, bool) { return 0, true }} {
		h := &holding{alter: func(r *host.LeaseReply) { r.Waited = time.Second }, unmet: unmet}
		if _, err := assign(t.Context(), "mine", []Need{needOf("a.yml", "x")}, h); (err != nil) != (unmet != nil) {
			t.Fatal(what, err)
		}
		if len(h.budgets) < 3 || h.budgets[0] != leaseTime {
			t.Errorf("%s: budgets %v", what, h.budgets)
		}
		for _, b := range h.budgets[1:] {
			if b > 20*time.Millisecond {
				t.Errorf("%s: budgets %v", what, h.budgets)
			}
		}
	}
}

// Why needs have not got their declared ports takes as many requests for two as for many:
// over SSH each is a round trip.
func TestAssignAsksOnceWhoHasTheDeclaredPorts(t *testing.T) {
	requests := func(many int) int {
		h := &holding{}
		var needs []Need
		for i := range many {
			p := uint16(10_000 + i/2) // two needs may declare one port
			if i%2 == 0 {
				h.lend(fmt.Sprint("job", p), p)
			}
			needs = append(needs, needOf("a.yml", fmt.Sprint("n", i), ports(p, p), inRange("20000-29999")))
		}
		a, err := assign(t.Context(), "mine", needs, h)
		if err != nil || len(a.Ports) != many {
			t.Fatalf("%d ports, %v", len(a.Ports), err)
		}
		for _, p := range a.Ports {
			if want := fmt.Sprintf("tcp %d is leased to job%[1]d", p.Declared); !strings.HasPrefix(p.Reason, want) {
				t.Errorf("%s has not got %d because %q, want %q", p.Name, p.Declared, p.Reason, want)
			}
		}
		return len(h.budgets)
	}
	if few, many := requests(4), requests(100); few != many {
		t.Errorf("%d requests for 4 needs, %d for 100", few, many)
	}
}

// Strangers can lease all ports of a block with long texts. What a host by SSH may answer
// has room for it all the same.
func TestAssignOfALargeBlockOfStrangers(t *testing.T) {
	h := &holding{}
	for i := range 2000 {
		h.lend(strings.Repeat("<", 96)+fmt.Sprint(i), uint16(10_000+i))
		l := &h.held[i]
		l.App, l.Name = l.Job, l.Job
	}
	target := Target{Name: "far", Job: "mine", Open: func(ctx context.Context) (host.Host, error) {
		near, far := net.Pipe()
		go func() { _ = wire.Serve(ctx, h, far, far) }()
		return wire.NewHost(near, 4<<20), nil
	}}
	needs := []Need{needOf("a.yml", "x", ports(10_000, 11_999), func(n *Need) { n.Target = "far" })}
	_, err := Assign(t.Context(), needs, []Target{target}, AssignOptions{LeaseID: "lease", Expires: time.Now().Add(time.Hour)})
	if err == nil || !strings.Contains(err.Error(), `a/x gets no port: tcp 10000 is leased to "<<<`) {
		t.Errorf("%.300v", err)
	}
}

// A job may hold thousands of ports, for a need each or for one block.
func TestStartedNeedsOfManyLeases(t *testing.T) {
	testbed.Linear(t, 15_000, func(many int) func() {
		var needs []Need
		var held []host.Lease
		hold := func(name string, p int) {
			held = append(held, host.Lease{Protocol: port.TCP, Port: uint16(p), App: "shop", Name: name})
		}
		for i := range many {
			name := fmt.Sprint("n", i)
			needs = append(needs, needOf("a.yml", name, ports(1, 1), inRange("20000-65535"), func(n *Need) { n.App = "shop" }))
			hold(name, 20_000+i)
		}
		needs = append(needs, needOf("a.yml", "block", ports(1, uint16(many)), inRange("35000-65535"), func(n *Need) { n.App = "shop" }))
		for i := range 2 * many {
			hold("block", 35_000+i)
		}
		return func() {
			started, missing := Started(needs, func(string) []host.Lease { return held })
			for i, n := range started[:many] {
				if n.Ports != port.One(uint16(20_000+i)) || n.Expect != config.Listening {
					t.Fatalf("%s has %s", n.Name, n.Ports)
				}
			}
			if block := started[many].Ports; block != (port.Range{First: 35_000, Last: 35_000 + uint16(many) - 1}) || slices.Contains(missing, true) {
				t.Errorf("the block is %s", block)
			}
		}
	})
}

// A keeper that has ended by the time at which assign is done holds nothing.
func TestAssignWhoseKeeperEnds(t *testing.T) {
	h := &holding{}
	h.refuse = func(req host.LeaseRequest) error {
		if req.Confirm {
			h.held = nil
		}
		return nil
	}
	needs := []Need{needOf("a.yml", "x", ports(9000, 9000))}
	if a, err := assign(t.Context(), "1", needs, h); err == nil || !strings.Contains(err.Error(), "so they are not leased") {
		t.Errorf("got %+v, %v", a, err)
	}
}

// The keeper that was just started may be late with its answers, on a busy machine.
func TestAssignWithASlowKeeper(t *testing.T) {
	h := &holding{slow: true}
	needs := []Need{needOf("a.yml", "x", ports(9000, 9001)), needOf("a.yml", "y", ports(9002, 9002), inRange("9000-9009"))}
	if a, err := assign(t.Context(), "1", needs, h); err != nil || !slices.Equal(chosen(a), []uint16{9000, 9002}) {
		t.Errorf("got %v, %v", chosen(a), err)
	}
}
