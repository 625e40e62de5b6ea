package host

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/port"
)

const (
	// settleFor bounds how long a bind that failed without a lasting reason
	// is repeated: checks that run beside this one hold their sockets for
	// less than a millisecond each, but may be scheduled out.
	settleFor = 250 * time.Millisecond
	settleGap = 10 * time.Millisecond // between two looks, plus up to as much jitter
)

// Local is the machine, and the network namespace, that this process runs in.
//
// Each OS provides, in files of its own:
//
//	readMachine() Machine
//	readLimits() (Limits, []Gap)
//	openSocket(b port.Binding, e port.Endpoint) (release func(), op string, err error)
//	classify(op string, err error) (Outcome, string)  // by errno, never by text
//	asUser(name string, fn func(uid int)) (op string, err error)
//	readTable(ctx, []query) (tableRead)
//	findHolders(ctx, []*Socket, every, showCommand bool) []Gap
type Local struct{}

// Close does nothing: Local keeps nothing open.
func (Local) Close() error { return nil }

// query selects a part of the socket table.
type query struct {
	protocol port.Protocol
	// every: all states; otherwise those that hold a port for good: listening
	// and bound for TCP, all for UDP.
	every bool
	ports *port.Bits // nil: all
}

// tableRead is what a reader of the socket table brings: the sockets, which
// protocols were read to the end (a partial table is no table), and what could
// not be seen.
type tableRead struct {
	sockets []Socket
	whole   map[port.Protocol]bool
	gaps    []Gap
}

// Probe implements Host. The order is: table, binds, a second look at whatever
// was not quiet, holders, connects. None of our own sockets is open while the
// table is read.
func (Local) Probe(ctx context.Context, req Request) (Facts, error) {
	p := &probe{ctx: ctx, req: req, strangers: map[socketKey]bool{}}
	p.facts = Facts{
		Machine: readMachine(), Tried: make([]Tried, len(req.Tries)), Open: []port.Set{},
		Dialed: []Attempt{}, Sockets: []Socket{}, Gaps: []Gap{},
	}
	var gaps []Gap
	p.facts.Limits, gaps = readLimits()
	p.addGaps(gaps)
	if len(req.Tries)+len(req.Scans) > 0 || req.Listeners {
		p.read()
		p.bindAll()
		p.settle()
		p.scan()
		p.collect()
	}
	p.facts.Dialed = dialAll(ctx, req.Dials)
	p.facts.Machine.Now = time.Now().UTC()
	return p.facts, ctx.Err()
}

type probe struct {
	ctx   context.Context
	req   Request
	facts Facts
	table table
	whole map[port.Protocol]bool
	seen  [][]Socket // per try: what the table shows
	// strangers says of sockets whether no check has them open
	strangers map[socketKey]bool
}

func (p *probe) addGaps(gaps []Gap) {
	for _, g := range gaps {
		if !slices.Contains(p.facts.Gaps, g) {
			p.facts.Gaps = append(p.facts.Gaps, g)
		}
	}
}

// wantedPorts are the ports to read of each protocol's table.
type wantedPorts map[port.Protocol]*port.Bits

func (w wantedPorts) add(proto port.Protocol, set port.Set) {
	if w[proto] == nil {
		w[proto] = new(port.Bits)
	}
	w[proto].AddSet(set)
}

// read makes the first pass over the table: whatever holds a port for good.
func (p *probe) read() {
	wanted := wantedPorts{}
	for _, t := range p.req.Tries {
		wanted.add(t.Protocol, port.Set{t.Ports})
	}
	for _, s := range p.req.Scans {
		wanted.add(s.Protocol, s.Ports)
	}
	var queries []query
	for _, proto := range port.Protocols {
		if bits := wanted[proto]; p.req.Listeners {
			queries = append(queries, query{protocol: proto})
		} else if bits != nil {
			queries = append(queries, query{protocol: proto, ports: bits})
		}
	}
	got := readTable(p.ctx, queries)
	p.table, p.whole = newTable(got.sockets), got.whole
	p.addGaps(got.gaps)
	p.seen = make([][]Socket, len(p.req.Tries))
	for i, t := range p.req.Tries {
		p.seen[i] = p.table.overlapping(t)
	}
}

// bindAll makes the first attempt at every try, those of one user together.
func (p *probe) bindAll() {
	all := make([]int, len(p.req.Tries))
	for i := range all {
		all[i] = i
	}
	p.bind(all)
}

func (p *probe) bind(tries []int) {
	byUser := map[string][]int{}
	var users []string
	for _, i := range tries {
		user := p.req.Tries[i].RunAs
		if _, known := byUser[user]; !known {
			users = append(users, user)
		}
		byUser[user] = append(byUser[user], i)
	}
	for _, user := range users {
		op, err := asUser(user, func(uid int) {
			for _, i := range byUser[user] {
				if p.ctx.Err() != nil {
					return
				}
				p.facts.Tried[i].UID = uid
				p.facts.Tried[i].Attempts = attempt(p.req.Tries[i], p.seen[i], p.whole[p.req.Tries[i].Protocol])
				p.facts.Limits.explain(p.facts.Tried[i].Attempts, p.seen[i])
			}
		})
		if err == nil {
			continue
		}
		outcome, errno := classify(op, err)
		if outcome == Denied {
			outcome = Failed // not the bind was denied, but the change of user
		}
		for _, i := range byUser[user] {
			t := p.req.Tries[i]
			p.facts.Tried[i] = Tried{Attempts: untried(t), UID: -1}
			if !t.Look {
				for k := range p.facts.Tried[i].Attempts {
					a := &p.facts.Tried[i].Attempts[k]
					a.Outcome, a.Op, a.Errno = outcome, op, errno
				}
			}
		}
	}
}

// attempt binds every endpoint of every port as the app would. The sockets of
// one port are held until its last is bound: closing each first would miss that
// they exclude each other. Different ports never do, so a block needs no more
// descriptors than one port. Without a whole table nobody can be spared, so a
// binding that could share a live server's traffic is not made.
func attempt(t Try, visible []Socket, whole bool) []Attempt {
	if t.Look || !whole && couldShare(t.Binding) {
		return untried(t)
	}
	var all []Attempt
	for n := int(t.Ports.First); n <= int(t.Ports.Last); n++ {
		endpoints := endpointsAt(t.Binding, uint16(n))
		if wouldShare(t.Binding, endpoints, visible) {
			for _, e := range endpoints {
				all = append(all, Attempt{Endpoint: e, Outcome: NotTried})
			}
			continue
		}
		var held []func()
		try := func(e port.Endpoint) Outcome {
			release, op, err := openSocket(t.Binding, e)
			if err != nil {
				outcome, errno := classify(op, err)
				all = append(all, Attempt{e, outcome, op, errno})
				return outcome
			}
			held = append(held, release)
			all = append(all, Attempt{Endpoint: e, Outcome: OK})
			return OK
		}
		for _, e := range endpoints {
			dual := e.Addr.Is6() && e.Addr.IsUnspecified() && !e.V6Only
			if try(e) == NoFamily && dual {
				e.Addr = ipv4Unspecified
				try(e)
			}
		}
		for _, release := range held {
			release()
		}
	}
	return all
}

// explain tells a bind that was denied because the OS keeps the port back from
// one that lacks a right, or that met an exclusive listener: Windows says
// WSAEACCES to all three.
func (l Limits) explain(attempts []Attempt, visible []Socket) {
	for i := range attempts {
		a := &attempts[i]
		if a.Outcome == Denied && l.Excluded[a.Protocol].Contains(a.Port) &&
			!anyOverlaps(visible, a.Endpoint) {
			a.Outcome = Excluded
		}
	}
}

func untried(t Try) []Attempt {
	var all []Attempt
	for n := int(t.Ports.First); n <= int(t.Ports.Last); n++ {
		for _, e := range endpointsAt(t.Binding, uint16(n)) {
			all = append(all, Attempt{Endpoint: e, Outcome: NotTried})
		}
	}
	return all
}

// endpointsAt expands a binding with devices by their names, as the table has
// them: a zone may be written as a number.
func endpointsAt(b port.Binding, n uint16) []port.Endpoint {
	endpoints := b.At(n)
	for i := range endpoints {
		endpoints[i].Device = deviceName(endpoints[i].Device)
	}
	return endpoints
}

// couldShare says whether a binding's options ask to share a port.
func couldShare(b port.Binding) bool {
	return b.ReusePort || b.Protocol == port.UDP && b.ReuseAddress
}

// wouldShare says whether a bind could take traffic from a live server: its
// options ask to share, and somebody is there to share with.
func wouldShare(b port.Binding, endpoints []port.Endpoint, visible []Socket) bool {
	if !couldShare(b) {
		return false
	}
	return slices.ContainsFunc(visible, func(s Socket) bool { return slices.ContainsFunc(endpoints, s.Shares) })
}

func anyOverlaps(sockets []Socket, e port.Endpoint) bool {
	return slices.ContainsFunc(sockets, func(s Socket) bool { return s.Overlaps(e) })
}

func overlapsAny(e port.Endpoint, all []port.Endpoint) bool {
	return slices.ContainsFunc(all, e.Overlaps)
}

// settle looks again at every try that was not quiet, with all states of its
// ports, and repeats binds that failed for no lasting reason. A check that runs
// beside this one shows as a failed bind, or as a bound socket, that is gone a
// moment later.
func (p *probe) settle() {
	start := time.Now()
	var open []int
	for i := range p.req.Tries {
		if (p.conflict(i) || len(p.seen[i]) > 0) && !p.explained(i) {
			open = append(open, i)
		}
	}
	for round := 0; len(open) > 0; round++ {
		before := make([][]Socket, len(p.seen))
		for _, i := range open {
			before[i] = p.seen[i]
		}
		if round > 0 || p.anyBound(open) {
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(settleGap + rand.N(settleGap)):
			}
		}
		if round > 0 {
			p.bind(open)
		}
		p.look(open)
		p.meetStrangers(open)
		last := time.Since(start) > settleFor
		open = slices.DeleteFunc(open, func(i int) bool {
			return last || p.lasting(i, before[i])
		})
	}
}

// explained says whether the first pass already tells all that matters of try i:
// who listens, if that is what was asked, or a listener for each bind that
// failed. All that hold a port by themselves are in the first pass; with Owners,
// connections matter too.
func (p *probe) explained(i int) bool {
	t, seen := p.req.Tries[i], p.seen[i]
	if t.Look || t.Owners {
		return t.Look
	}
	for _, a := range p.facts.Tried[i].Attempts {
		listener := slices.ContainsFunc(seen, func(s Socket) bool {
			return s.State == Listen && s.Protocol == port.TCP && s.Overlaps(a.Endpoint)
		})
		quiet := a.Outcome == OK && !anyOverlaps(seen, a.Endpoint)
		if !quiet && (a.Outcome != InUse || !listener) {
			return false
		}
	}
	return true
}

func (p *probe) anyBound(tries []int) bool {
	return slices.ContainsFunc(tries, func(i int) bool {
		return slices.ContainsFunc(p.seen[i], func(s Socket) bool { return s.State == Bound })
	})
}

func (p *probe) conflict(i int) bool {
	return slices.ContainsFunc(p.facts.Tried[i].Attempts, func(a Attempt) bool { return a.Outcome == InUse })
}

// look reads all states of the ports of these tries.
func (p *probe) look(tries []int) {
	wanted := wantedPorts{}
	for _, i := range tries {
		wanted.add(p.req.Tries[i].Protocol, port.Set{p.req.Tries[i].Ports})
	}
	var queries []query
	for _, proto := range port.Protocols {
		if wanted[proto] != nil {
			queries = append(queries, query{proto, true, wanted[proto]})
		}
	}
	got := readTable(p.ctx, queries)
	p.addGaps(got.gaps)
	fresh := newTable(got.sockets)
	for _, q := range queries {
		p.whole[q.protocol] = p.whole[q.protocol] && got.whole[q.protocol]
	}
	for _, i := range tries {
		p.seen[i] = fresh.overlapping(p.req.Tries[i])
	}
}

// lasting says whether what try i showed will not change by itself: the bind
// worked and the table shows the same sockets as before, or it failed and the
// table shows why.
func (p *probe) lasting(i int, before []Socket) bool {
	t, now := p.req.Tries[i], p.seen[i]
	for _, a := range p.facts.Tried[i].Attempts {
		if a.Outcome == NotTried && !t.Look && !wouldShare(t.Binding, endpointsAt(t.Binding, a.Port), now) {
			return false // whom we spared has left
		}
	}
	if !p.conflict(i) {
		return !slices.ContainsFunc(now, func(s Socket) bool {
			return holdsForGood(s) && !slices.ContainsFunc(before, s.same)
		})
	}
	for _, a := range p.facts.Tried[i].Attempts {
		if a.Outcome != InUse {
			continue
		}
		var listens, shown, doubt bool
		for _, s := range now {
			if !s.Overlaps(a.Endpoint) {
				continue
			}
			shown = true
			listens = listens || s.State == Listen && t.Protocol == port.TCP
			doubt = doubt || maybeCheck(s) && !(p.strangers[keyOf(s)] && slices.ContainsFunc(before, s.same))
		}
		if !listens && (doubt || !shown) {
			return false
		}
	}
	return true
}

// maybeCheck says whether a socket could be that of a check beside this one: it
// binds, and neither listens nor connects.
func maybeCheck(s Socket) bool {
	return s.State == Bound || s.State == Listen && s.Protocol == port.UDP
}

// meetStrangers finds out which of the sockets that made binds fail belong to
// processes that are no checks, so that nobody has to wait for them to go.
func (p *probe) meetStrangers(tries []int) {
	var unknown []Socket
	for _, i := range tries {
		if !p.conflict(i) {
			continue
		}
		for _, s := range p.seen[i] {
			if _, known := p.strangers[keyOf(s)]; !known && maybeCheck(s) {
				p.strangers[keyOf(s)] = false
				s.Holders = slices.Clone(s.Holders)
				unknown = append(unknown, s)
			}
		}
	}
	if len(unknown) == 0 {
		return
	}
	pointers := make([]*Socket, len(unknown))
	keys := make([]socketKey, len(unknown))
	for i := range unknown {
		pointers[i], keys[i] = &unknown[i], keyOf(unknown[i])
	}
	findHolders(p.ctx, pointers, false, false) // what it can't see is said by collect
	for i, s := range unknown {
		p.strangers[keys[i]] = len(s.Holders) > 0 && !slices.ContainsFunc(s.Holders, isCheck)
	}
}

// isCheck says whether a process is, or could be, a portcheck.
func isCheck(h Holder) bool {
	own, err := os.Executable()
	name := strings.TrimSuffix(filepath.Base(h.Executable), ".exe")
	return h.Executable == "" || name == "portcheck" || err == nil && h.Executable == own
}

func holdsForGood(s Socket) bool { return s.State == Listen || s.State == Bound }

// scan answers the Scans from the first pass over the table.
func (p *probe) scan() {
	for _, s := range p.req.Scans {
		var reserved port.Bits
		reserved.AddSet(p.facts.Limits.Reserved)
		reserved.AddSet(p.facts.Limits.Excluded[s.Protocol])
		if !p.whole[s.Protocol] {
			p.facts.Open = append(p.facts.Open, port.Set{})
			continue
		}
		p.facts.Open = append(p.facts.Open, s.Ports.Less(func(n uint16) bool {
			return reserved.Has(n) || len(p.table.at(s.Binding, n)) > 0
		}))
	}
}

// collect gathers the sockets that matter and finds their holders.
func (p *probe) collect() {
	for i, t := range p.req.Tries {
		p.facts.Tried[i].TableOK = p.whole[t.Protocol]
	}
	found := map[socketKey]bool{}
	add := func(s Socket) {
		if k := keyOf(s); !found[k] {
			found[k] = true
			p.facts.Sockets = append(p.facts.Sockets, s)
		}
	}
	if p.req.Listeners {
		for _, s := range p.table.sockets {
			if s.State == Listen {
				add(s)
			}
		}
	}
	for i := range p.req.Tries {
		for _, s := range p.seen[i] {
			add(s)
		}
	}
	if len(p.facts.Sockets) == 0 {
		return
	}
	pointers := make([]*Socket, len(p.facts.Sockets))
	for i := range p.facts.Sockets {
		pointers[i] = &p.facts.Sockets[i]
	}
	every := p.req.Listeners || slices.ContainsFunc(p.req.Tries, func(t Try) bool { return t.Owners })
	p.addGaps(findHolders(p.ctx, pointers, every, p.req.ShowCommand))
	p.facts.Sockets = merge(p.facts.Sockets)
}
