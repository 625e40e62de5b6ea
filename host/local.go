package host

import (
	"context"
	"os"
	"slices"
	"sync/atomic"

	"github.com/org/portcheck/host/nat"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/port"
)

// Local is the machine, and the network namespace, that this process runs in.
//
// Each OS provides, in files of its own:
//
//	readMachine() Machine
//	readLimits() (Limits, []Gap)
//	openSocket(b port.Binding, e port.Endpoint) (release func(), op string, err error)
//	classify(op string, err error) (Outcome, string)  // by errno, never by text
//	haveIPv6() bool
//	asUser(name string, fn func(uid int)) (op string, err error)
//	readTable(ctx, []query) tableRead
//	settleV6Only(table, []Try)
//	findHolders(ctx, []*Socket, holderQuery) []Gap
//	prepareSearch() // reads what findHolders needs, whatever it is to find
//	readDigests(ctx) []uint64
//	haveManySockets() bool
//	(*probe).findUnreached()
//	deviceNameOf(index int) (string, error)
type Local struct {
	// rules are the NAT rules that Confine has read; nil: they are read when they are
	// needed.
	rules *nat.Rules
	// early is for the first probe; nil: it reads all by itself.
	early *Early
}

// OpenLocal returns a Local whose first probe takes what early has read. early may be nil.
func OpenLocal(early *Early) Local { return Local{early: early} }

// Early is what this machine is, and what it allows, read for a probe before its request is
// known.
type Early struct {
	done  <-chan *panics.Panic
	taken atomic.Bool
	surroundings
}

// ReadEarly begins to read. It returns nil where a process may open so few files that the
// caller needs them.
func ReadEarly() *Early {
	if fewDescriptors() {
		return nil
	}
	e := new(Early)
	e.done = panics.Beside(func() {
		e.surroundings = readSurroundings()
		prepareSearch()
		if e.machine.Namespace.Kind != NamespaceHost {
			containerAtStart() // the caller will ask
		}
	})
	return e
}

// take waits for what was read, and reports whether it is for the caller: what is read for
// one probe is old for the next.
func (e *Early) take() bool {
	if e == nil || !e.taken.CompareAndSwap(false, true) {
		return false
	}
	(<-e.done).Repanic()
	return true
}

// OwnContainer is the function of that name, whose result is known early. e may be nil.
func (e *Early) OwnContainer() (ids []string, inside bool) {
	if e == nil {
		return OwnContainer()
	}
	return containerAtStart()
}

// surroundings is what a probe finds, whatever it is asked.
type surroundings struct {
	machine Machine
	limits  Limits
	gaps    []Gap
}

func readSurroundings() surroundings {
	s := surroundings{machine: Local{}.Machine()}
	s.limits, s.gaps = readLimits()
	return s
}

// Machine returns what this machine is, without a probe.
func (Local) Machine() Machine {
	m := readMachine()
	m.Hostname, _ = os.Hostname() // for people: nothing depends on it
	return m
}

// Close does nothing, because Local keeps nothing open.
func (Local) Close() error { return nil }

// holderQuery is what a search for holders is to find.
type holderQuery struct {
	every       bool // all holders of each socket
	showCommand bool
	// remedies asks for what only remedies need: the jobs of holders, which their
	// environments name, and what those serve that would start them again.
	remedies bool
	most     int // about how many holders of all sockets
}

// query selects a part of the socket table.
type query struct {
	protocol port.Protocol
	// every selects all states. Otherwise only those that hold a port for
	// good are selected: listening and bound for TCP, all for UDP.
	every bool
	// listening leaves out the TCP sockets that are bound and do not listen, and the UDP
	// sockets that are connected, where the system can do so: these take time to find.
	listening bool
	ports     *port.Bits // nil selects all
}

// tableRead is the result of reading the socket table: the sockets, the protocols
// that were read whole, and what could not be seen. A partial table is not used.
type tableRead struct {
	sockets []Socket
	whole   map[port.Protocol]bool
	gaps    []Gap
	// boundHidden is true if the table does not show TCP sockets that are bound and
	// do not listen.
	boundHidden bool
}

// Probe implements Host. The order is: leases and table, binds, the table again where
// something was found, addresses without callers, NAT rules, holders, connects. None of our own sockets on the ports
// is open while the table is read. The search for holders begins with the binds, and which
// NAT chains there are is read beside the table: nf_tables tells whether they have changed.
func (l Local) Probe(ctx context.Context, req Request) (Facts, error) {
	if err := req.Validate(); err != nil {
		return Facts{}, err
	}
	if req.Survey != nil {
		return surveyLocal(ctx, *req.Survey)
	}
	p := newProbe(ctx, req)
	p.early = l.early
	if l.rules != nil {
		p.rules = l.rules
	} else {
		reading := new(nat.Reading)
		defer reading.Close()
		p.rules = reading
	}
	if !req.needsTable() {
		p.readMachine()
	} else {
		p.readAll()
		p.lookAhead()
		p.bindAll()
		p.recheck()
		p.listOwnIfTaken()
		p.findUnreached()
		p.followCallers()
		p.answerScans()
		p.collectSockets()
		p.nameHolders()
		p.facts.Sockets = merge(p.facts.Sockets)
	}
	p.facts.Dialed = dialAll(ctx, req.Dials, req.DialBudget)
	return p.facts, ctx.Err()
}

type probe struct {
	ctx   context.Context
	req   Request
	facts Facts
	table table
	whole map[port.Protocol]bool
	// boundHidden is that of the last tableRead.
	boundHidden bool
	seen        [][]Socket // the sockets that the table shows for each try
	early       *Early     // that of the Local
	rules       ruleSource
	behind      []Socket // the sockets on this machine to which they send callers
	// strangers holds, for each socket that was examined, whether processes
	// other than portcheck are known to have it open.
	strangers map[socketKey]bool
	// leases are the leased ports of the tries.
	leases map[protocolPort]Lease
	// ahead is the search for holders that was begun before the binds; readAgain is true
	// if the table was read again since then.
	ahead     ahead
	readAgain bool
}

func newProbe(ctx context.Context, req Request) *probe {
	return &probe{ctx: ctx, req: req, strangers: map[socketKey]bool{}, leases: map[protocolPort]Lease{}, facts: Facts{
		Tried: make([]Tried, len(req.Tries)), Open: []port.Set{}, Dialed: []Attempt{}, Sockets: []Socket{}, Gaps: []Gap{},
	}}
}

func (r Request) needsTable() bool { return len(r.Tries)+len(r.Scans) > 0 || r.Listeners }

func (p *probe) addGaps(gaps []Gap) {
	for _, g := range gaps {
		if !slices.Contains(p.facts.Gaps, g) {
			p.facts.Gaps = append(p.facts.Gaps, g)
		}
	}
}

// wantedPorts holds the ports to read of each protocol's table.
type wantedPorts map[port.Protocol]*port.Bits

func (w wantedPorts) add(proto port.Protocol, set port.Set) {
	if w[proto] == nil {
		w[proto] = new(port.Bits)
	}
	w[proto].AddSet(set)
}

// readMachine reads what this machine is, and what it allows.
func (p *probe) readMachine() {
	var s surroundings
	if p.early.take() {
		s = p.early.surroundings
	} else {
		s = readSurroundings()
	}
	p.facts.Machine, p.facts.Limits = s.machine, s.limits
	p.addGaps(s.gaps)
}

// readAll makes the first pass over the table, and what takes no part in it meanwhile.
func (p *probe) readAll() {
	others := func() {
		p.askLeases()
		p.readMachine()
	}
	wait := func() {}
	if fewDescriptors() {
		others()
	} else {
		read := panics.Beside(func() {
			others()
			p.beginRules()
		})
		wait = func() { (<-read).Repanic() }
	}
	queries := p.queries()
	got := readTable(p.ctx, queries) // takes the longest mostly, so it does not start last
	wait()
	p.takeFirst(queries, got)
}

// takeFirst takes what the first pass over the table found, which reads the sockets
// that hold a port for good.
func (p *probe) takeFirst(queries []query, got tableRead) {
	p.table, p.whole, p.boundHidden = newTable(got.sockets), got.whole, got.boundHidden
	p.addGaps(got.gaps)
	if slices.ContainsFunc(queries, func(q query) bool { return q.listening }) {
		p.readBound()
	}
	settleV6Only(p.table, p.req.Tries)
	p.seen = make([][]Socket, len(p.req.Tries))
	for i, t := range p.req.Tries {
		if p.ctx.Err() != nil {
			return
		}
		p.seen[i] = p.withoutGuards(p.table.overlapping(t))
	}
}

// readBound adds the TCP sockets that are bound on the ports where a try looks for a
// listener and the first pass shows none: they may be those of a server that starts.
func (p *probe) readBound() {
	missing := new(port.Bits)
	any := false
	for _, t := range p.req.Tries {
		if !t.Look || t.Protocol != port.TCP {
			continue
		}
		free := p.table.withoutTaken(t.Binding, port.Set{t.Ports})
		missing.AddSet(free)
		any = any || len(free) > 0
	}
	if !any {
		return
	}
	got := readTable(p.ctx, []query{{protocol: port.TCP, ports: missing}})
	p.table = newTable(append(p.table.sockets, got.sockets...))
	p.whole[port.TCP] = p.whole[port.TCP] && got.whole[port.TCP]
	p.addGaps(got.gaps)
}

// queries returns the queries for what the request is about. On a host with many
// sockets, the TCP sockets that are bound and do not listen are left out: a bind
// fails because of one, or it may succeed beside it. Scans need them all the same,
// so that no port that another app has bound is suggested. The binds of these ports
// that follow do not: the walk takes a millisecond also where there are few.
func (p *probe) queries() []query {
	wanted := wantedPorts{}
	for _, t := range p.req.Tries {
		wanted.add(t.Protocol, port.Set{t.Ports})
	}
	for _, s := range p.req.Scans {
		wanted.add(s.Protocol, s.Ports)
	}
	listening := len(p.req.Scans) == 0 && (p.req.Scanned || haveManySockets())
	var queries []query
	for _, proto := range port.Protocols {
		q := query{protocol: proto, listening: listening && proto == port.TCP}
		if bits := wanted[proto]; p.req.Listeners {
			queries = append(queries, q)
		} else if bits != nil {
			q.ports = bits
			queries = append(queries, q)
		}
	}
	return queries
}

// answerScans answers the Scans from the first pass over the table.
func (p *probe) answerScans() {
	for _, s := range p.req.Scans {
		if p.ctx.Err() != nil {
			return
		}
		var reserved port.Bits
		reserved.AddSet(p.facts.Limits.Reserved)
		reserved.AddSet(p.facts.Limits.Excluded[s.Protocol])
		if !p.whole[s.Protocol] {
			p.facts.Open = append(p.facts.Open, port.Set{})
			continue
		}
		open := p.table.withoutTaken(s.Binding, s.Ports.Without(reserved.Has))
		p.facts.Open = append(p.facts.Open, open)
	}
}

// collectSockets adds the sockets that matter to the facts.
func (p *probe) collectSockets() {
	for i, t := range p.req.Tries {
		p.facts.Tried[i].TableOK = p.whole[t.Protocol]
		p.facts.Tried[i].BoundHidden = p.boundHidden && t.Protocol == port.TCP
	}
	p.facts.Sockets = p.sockets()
}

// sockets returns those that matter as far as they are known, each once.
func (p *probe) sockets() []Socket {
	all := []Socket{}
	found := map[socketKey]bool{}
	add := func(s Socket) {
		if k := keyOf(s); !found[k] {
			found[k] = true
			all = append(all, s)
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
	for _, s := range p.behind {
		add(s)
	}
	return all
}
