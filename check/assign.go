package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// AssignOptions steer an assignment.
type AssignOptions struct {
	Options
	LeaseID   string // of the lease that may be made
	Place     string // where in a range the job starts to look: the same for the same text
	Fresh     bool   // never use a lease that the job has already; the keeper is nobody's child
	Expires   time.Time
	UntilExit int // a process with which the lease ends, or 0
}

// Assignment is the output of `portcheck assign`.
type Assignment struct {
	Version int            `json:"version"`
	Lease   AssignedLease  `json:"lease"`
	Ports   []AssignedPort `json:"ports"`
	// Silent are leases of the same user of which the keeper has not answered, so the job
	// may have ports that are not known.
	Silent  []ListedLease  `json:"-"`
	Targets []TargetReport `json:"-"` // on which ports were chosen now
}

// AssignedLease is the lease of the ports that were chosen last.
type AssignedLease struct {
	ID      string    `json:"id"`
	Job     string    `json:"job"`
	Expires time.Time `json:"expires"`
	// UntilExit is a process with which the lease ends.
	UntilExit int `json:"until_exit,omitempty"`
}

// AssignedPort is the port, or block, that one need has.
type AssignedPort struct {
	App      string          `json:"app,omitempty"`
	Name     string          `json:"name"`
	Target   string          `json:"target"`
	Protocol []port.Protocol `json:"protocol"`
	Port     uint16          `json:"port"`
	PortLast uint16          `json:"port_last,omitempty"`
	Env      string          `json:"env"`
	Declared uint16          `json:"declared,omitempty"` // if it is another one
	Reason   string          `json:"reason,omitempty"`   // why the need has not got that
	// Lease is that of the port, if it is another one than that of the assignment.
	Lease *AssignedLease `json:"lease,omitempty"`
	// Kept is set if the job had the port before.
	Kept bool `json:"-"`

	Source  config.Position `json:"-"`
	Service *config.Service `json:"-"` // of Compose, or nil
	Entry   int             `json:"-"` // as of the need
}

// assignment is an assignment in the making. Slices without another index have an
// element for each need.
type assignment struct {
	AssignOptions
	sites   []*site
	needs   []Need
	at      []*site
	groups  []*group
	of      []*group
	got     []uint16 // the first port, 0 if it has none yet
	kept    []bool   // an earlier lease of this job has that port
	had     []AssignedLease
	owned   []bool   // its own server has its declared port already
	moved   []string // why it has not got its declared port
	claimed claims
	chosen  map[choosing]port.Set // results of inRange
}

// site is a target of an assignment.
type site struct {
	*Opened
	held    []host.Lease // of this job
	scan    *round       // what is known of the ranges; nil if nothing is
	wanting []int        // the needs of the attempt
	request lease.Request
	reply   host.LeaseReply
	started bool // the reply is about ports that are held
	// confirming is set once the keeper may not end with the connection any more.
	confirming bool
	silent     []host.Lease
	locked     bool // no other request chooses ports for the job there
	busy       bool // another one does, which is the process chooser there if that is known
	chooser    int
	unmet      int // a need that could not be met, or -1
	// notices are about what was not seen when the ports were judged that it holds.
	notices []Notice
	err     error
}

// group is a need on all of its targets, where it gets one port.
type group struct {
	needs []int
	held  uint16    // a port that earlier leases have for it somewhere; 0: a new one is chosen
	unfit port.Bits // first ports that its app can't have
	list  port.Set  // if set, the only ports that are left to try
}

// Assign gives each need a port of its own, which is leased to the job, or none of
// them any. The needs are those for a free port; one that is on several targets gets the
// same port on each.
func Assign(ctx context.Context, needs []Need, targets []Target, o AssignOptions) (Assignment, error) {
	opened := OpenAll(ctx, targets, o.Options)
	defer CloseAll(opened)
	a := newAssignment(needs, opened, o)
	defer a.unlock(ctx)
	if err := a.lockAndList(ctx); err != nil {
		return Assignment{}, a.orCause(ctx, err)
	}
	had := a.takeOwn()
	result := Assignment{Version: 1, Lease: had}
	for _, p := range a.sites {
		result.Silent = append(result.Silent, LeasesOf(p.Name, p.silent).Leases...)
	}
	if slices.Contains(a.got, 0) {
		if err := a.each(func(p *site) error { return a.look(ctx, p) }); err != nil {
			return Assignment{}, a.orCause(ctx, err)
		}
		made, err := a.takeNew(ctx)
		if err != nil {
			a.release(ctx)
			return Assignment{}, a.orCause(ctx, err)
		}
		result.Lease = made
	}
	for i, n := range needs {
		p := AssignedPort{
			App: n.App, Name: n.Name, Target: n.Target, Protocol: n.Protocols, Port: a.got[i], Env: n.Variable(),
			Source: n.At, Service: n.Service, Entry: n.Entry,
		}
		if size := n.Ports.Len(); size > 1 {
			p.PortLast = p.Port + uint16(size-1)
		}
		if !n.Auto && p.Port != n.Ports.First {
			p.Declared, p.Reason = n.Ports.First, a.moved[i]
		}
		if p.Kept = a.kept[i]; p.Kept && a.had[i].ID != result.Lease.ID {
			p.Lease = &a.had[i]
		}
		result.Ports = append(result.Ports, p)
	}
	for _, s := range a.sites {
		if s.scan != nil {
			t := reportTarget(s.Name, s.scan.facts, nil)
			for _, n := range s.notices {
				if !slices.Contains(t.Notices, n) {
					t.Notices = append(t.Notices, n)
				}
			}
			result.Targets = append(result.Targets, t)
		}
	}
	return result, nil
}

func newAssignment(needs []Need, opened []*Opened, o AssignOptions) *assignment {
	a := &assignment{
		AssignOptions: o, needs: needs, got: make([]uint16, len(needs)), kept: make([]bool, len(needs)), had: make([]AssignedLease, len(needs)),
		owned: make([]bool, len(needs)), moved: make([]string, len(needs)), claimed: o.claimsOf(needs), chosen: map[choosing]port.Set{},
	}
	byName := map[string]*site{}
	for _, t := range opened {
		p := &site{Opened: t, unmet: -1}
		a.sites, byName[t.Name] = append(a.sites, p), p
	}
	for _, n := range needs {
		a.at = append(a.at, byName[n.Target])
	}
	a.groups, a.of = groupsOf(needs)
	return a
}

// groupsOf returns the groups of needs, and that of each need.
func groupsOf(needs []Need) (all []*group, of []*group) {
	byEntry := map[entry]*group{}
	for i, n := range needs {
		key := n.entry()
		if byEntry[key] == nil {
			byEntry[key] = &group{}
			all = append(all, byEntry[key])
		}
		byEntry[key].needs = append(byEntry[key].needs, i)
		of = append(of, byEntry[key])
	}
	return all, of
}

// each calls do for all targets side by side. It returns the first error of them, in
// their order.
func (a *assignment) each(do func(*site) error) error {
	sideBySide(a.sites, newSlots(a.Parallel), func(p *site) { p.err = do(p) })
	for _, p := range a.sites {
		if p.err != nil {
			return p.at(p.err)
		}
	}
	return nil
}

// orCause returns the cause of ctx if that has ended, else err.
func (a *assignment) orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// takeOwn gives needs the ports that leases of this job have for them.
func (a *assignment) takeOwn() AssignedLease {
	var had AssignedLease
	own := map[*site]ownLeases{}
	for _, p := range a.sites {
		own[p] = leasesByName(p.held)
	}
	for _, g := range a.groups {
		held := g.heldBy(a.needs, func(i int) ownLeases { return own[a.at[i]] })
		for _, i := range g.needs {
			h, ok := held[i]
			if !ok {
				continue
			}
			g.held = h.Port
			a.got[i], a.kept[i] = h.Port, true
			a.moved[i] = "this job has a lease of the other port"
			had = AssignedLease{h.ID, h.Job, h.Expires, h.UntilExit}
			a.had[i] = had
		}
	}
	return had
}

// heldBy returns the leases that a job has for the needs of a group. They are of the
// port that it has on most of their targets.
func (g *group) heldBy(needs []Need, leases func(need int) ownLeases) map[int]host.Lease {
	byPort := map[uint16]map[int]host.Lease{}
	best := map[int]host.Lease{}
	var order []uint16
	for _, i := range g.needs {
		for _, h := range needs[i].allHeldBy(leases(i)) {
			if byPort[h.Port] == nil {
				byPort[h.Port] = map[int]host.Lease{}
				order = append(order, h.Port)
			}
			byPort[h.Port][i] = h
		}
	}
	for _, p := range order {
		if len(byPort[p]) > len(best) {
			best = byPort[p]
		}
	}
	return best
}

// ownLeases are the leases of a job on a target, by the name of the need.
type ownLeases map[string][]host.Lease

func leasesByName(held []host.Lease) ownLeases {
	all := ownLeases{}
	for _, h := range held {
		all[h.Name] = append(all[h.Name], h)
	}
	return all
}

// allHeldBy returns the first ports, of those that a job holds, that can be the need's.
func (n Need) allHeldBy(held ownLeases) []host.Lease {
	app, name, title := lease.Name(n.App), lease.Name(n.Name), lease.Name(n.title())
	candidates := slices.Clip(held[title])
	if name != title {
		for _, h := range held[name] {
			if h.App == app {
				candidates = append(candidates, h)
			}
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	ours := map[port.Protocol]*port.Bits{}
	for _, proto := range n.Protocols {
		ours[proto] = new(port.Bits)
	}
	for _, h := range candidates {
		if bits := ours[h.Protocol]; bits != nil {
			bits.Add(h.Port)
		}
	}
	var allowed, excluded port.Bits
	allowed.AddSet(n.Range)
	excluded.AddSet(n.Exclude)
	var whole []host.Lease
	for _, h := range candidates {
		block := port.Range{First: h.Port, Last: h.Port + uint16(n.Ports.Len()-1)}
		lacks := func(proto port.Protocol) bool { return !ours[proto].HasAll(block) }
		asked := !n.Auto && block == n.Ports
		if h.Protocol == n.Protocols[0] && block.First <= block.Last && !slices.ContainsFunc(n.Protocols, lacks) && (asked || allowed.HasAll(block) && !excluded.HasAny(block)) {
			whole = append(whole, h)
		}
	}
	return whole
}

// onAnyPort returns the need with all ports as its range.
func (n Need) onAnyPort() Need {
	n.Range, n.Exclude = port.Set{{First: 1, Last: port.MaxPort}}, nil
	return n
}

// Started returns needs, of which those for a free port are now such that their apps
// listen on the ports that the job holds for them, also if the ranges that these were
// chosen from are not known here. missing reports of which it holds none. leases returns
// those of the job on a target.
func Started(needs []Need, leases func(target string) []host.Lease) (started []Need, missing []bool) {
	started, missing = slices.Clone(needs), make([]bool, len(needs))
	anywhere := make([]Need, len(needs))
	for i, n := range needs {
		anywhere[i] = n.onAnyPort()
	}
	own := map[string]ownLeases{}
	for _, n := range needs {
		if own[n.Target] == nil {
			own[n.Target] = leasesByName(leases(n.Target))
		}
	}
	groups, _ := groupsOf(needs)
	for _, g := range groups {
		ofTarget := func(i int) ownLeases { return own[needs[i].Target] }
		held := g.heldBy(needs, ofTarget)
		if len(held) == 0 {
			held = g.heldBy(anywhere, ofTarget)
		}
		for _, i := range g.needs {
			n := &started[i]
			if n.Expect != config.Free {
				continue
			}
			h, ok := held[i]
			if missing[i] = !ok; ok {
				n.Ports = port.Range{First: h.Port, Last: h.Port + uint16(n.Ports.Len()-1)}
				n.Expect, n.Auto = config.Listening, false
			}
		}
	}
	return started, missing
}

// Clashes returns a problem for each need that would get the variable of another one.
func Clashes(needs []Need) []config.Problem {
	var problems []config.Problem
	first := map[string]Need{}
	for _, n := range needs {
		v := n.Variable()
		if o, taken := first[v]; taken && o.entry() != n.entry() {
			problems = append(problems, config.Problem{Position: n.At, Message: fmt.Sprintf("the port of %s would be in %s, which has that of %s (%s): give one of them another variable with `env`", n.title(), v, o.title(), o.At)})
			continue
		}
		first[v] = n
	}
	return problems
}
