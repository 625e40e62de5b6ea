package check

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

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

// UnmetError is the error for a need that can't get a port.
type UnmetError struct {
	Need    Need
	Message string // without the need's name and position
	Unknown bool   // whether it could get one was not found out
}

func (e UnmetError) Error() string {
	return fmt.Sprintf("%s: %s gets no port: %s", e.Need.At, e.Need.title(), e.Message)
}

// title returns the name of a need with its app.
func (n Need) title() string {
	if n.App != "" {
		return n.App + "/" + n.Name
	}
	return n.Name
}

// mostRefused limits how often what a keeper holds turns out to be of no use to the
// app, such as a port of which NAT rules send the callers elsewhere.
const mostRefused = 64

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
	err        error
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
			result.Targets = append(result.Targets, reportTarget(s.Name, s.scan.facts, nil))
		}
	}
	return result, nil
}

func newAssignment(needs []Need, opened []*Opened, o AssignOptions) *assignment {
	a := &assignment{
		AssignOptions: o, needs: needs, got: make([]uint16, len(needs)), kept: make([]bool, len(needs)), had: make([]AssignedLease, len(needs)),
		owned: make([]bool, len(needs)), moved: make([]string, len(needs)), claimed: o.claimsOf(needs),
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
	byEntry := map[string]*group{}
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

// entry returns a text that is the same for one need on several targets, and no others.
func (n Need) entry() string { return n.title() + "\x00" + n.At.String() }

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
	for _, g := range a.groups {
		held := g.heldBy(a.needs, func(i int) []host.Lease { return a.at[i].held })
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
func (g *group) heldBy(needs []Need, leases func(need int) []host.Lease) map[int]host.Lease {
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

// allHeldBy returns the first ports, of those that a job holds, that can be the need's.
func (n Need) allHeldBy(held []host.Lease) []host.Lease {
	ours := map[socketKey]bool{}
	var all, whole []host.Lease
	for _, h := range held {
		if h.App == lease.Name(n.App) && h.Name == lease.Name(n.Name) || h.Name == lease.Name(n.title()) {
			ours[socketKey{h.Protocol, h.Port}] = true
			if h.Protocol == n.Protocols[0] {
				all = append(all, h)
			}
		}
	}
	for _, h := range all {
		block := port.Range{First: h.Port, Last: h.Port + uint16(n.Ports.Len()-1)}
		if block.Last < block.First || !n.allows(block) {
			continue
		}
		missing := false
		for p := range (port.Set{block}).All {
			for _, proto := range n.Protocols {
				missing = missing || !ours[socketKey{proto, p}]
			}
		}
		if !missing {
			whole = append(whole, h)
		}
	}
	return whole
}

// Started returns needs, of which those for a free port are now such that their apps
// listen on the ports that the job holds for them, also if the ranges that these were
// chosen from are not known here. missing reports of which it holds none. leases returns
// those of the job on a target.
func Started(needs []Need, leases func(target string) []host.Lease) (started []Need, missing []bool) {
	started, missing = slices.Clone(needs), make([]bool, len(needs))
	anywhere := slices.Clone(needs)
	for i := range anywhere {
		anywhere[i].Range, anywhere[i].Exclude = port.Set{{First: 1, Last: port.MaxPort}}, nil
	}
	groups, _ := groupsOf(needs)
	for _, g := range groups {
		ofTarget := func(i int) []host.Lease { return leases(needs[i].Target) }
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

// allows reports whether a block may be the need's, wherever it is free.
func (n Need) allows(block port.Range) bool {
	if !n.Auto && block == n.Ports {
		return true
	}
	for p := range (port.Set{block}).All {
		if !n.Range.Contains(p) || n.Exclude.Contains(p) {
			return false
		}
	}
	return true
}

// look finds out which ports of a target's ranges can't be had, without a bind: only what
// is locked is bound. It also finds the needs that have their own server already.
func (a *assignment) look(ctx context.Context, p *site) error {
	r := newRound(p.Shared(), newPlan(ctx, a.needs, 1, a.Options))
	if err := r.reach(ctx); err != nil {
		return err
	}
	b, asked := &batch{}, map[scanKey]bool{}
	b.try(lookOnly(port.Binding{Protocol: port.TCP}), func(host.Tried, answer) {})
	for i, n := range a.needs {
		if a.at[i] != p || a.got[i] != 0 && len(a.of[i].needs) == 1 || len(n.Range) == 0 {
			continue
		}
		for _, proto := range n.Protocols {
			if key := r.scanKey(n, proto); !asked[key] && !(proto == port.TCP && n.guarded()) {
				asked[key] = true
				b.try(lookOnly(n.Binding(proto)), func(host.Tried, answer) {})
				r.askRange(b, n, proto)
			}
		}
	}
	facts, err := r.ask(ctx, b.Request)
	if err == nil {
		err = wholeTable(facts)
	}
	if err != nil {
		return fmt.Errorf("ports can't be chosen: %w", err)
	}
	r.facts = facts
	b.take(ctx, facts)
	p.scan = r
	return a.findOwned(ctx, p)
}

// findOwned finds the needs of which the owner listens already. Their ports get no
// guard, which would fail.
func (a *assignment) findOwned(ctx context.Context, p *site) error {
	var some []int
	for i, n := range a.needs {
		if a.at[i] == p && a.got[i] == 0 && len(n.Owner) > 0 && !n.Auto {
			some = append(some, i)
		}
	}
	results, err := a.judge(ctx, p, some, nil)
	for _, i := range some {
		a.owned[i] = err == nil && !slices.ContainsFunc(results[i], func(r Result) bool { return r.Status != Owned })
	}
	return err
}

// guarded reports whether a keeper holds the need's TCP ports by a socket: its server
// has to set SO_REUSEADDR.
func (n Need) guarded() bool {
	return n.Binding(port.TCP).ReuseAddress && (n.Guard == nil || *n.Guard)
}

// guardedUDP is guarded for UDP ports, of which few servers set SO_REUSEADDR.
func (n Need) guardedUDP() bool {
	return n.Binding(port.UDP).ReuseAddress && n.Guard != nil && *n.Guard
}

// candidates returns where the ports of a group may start, in order of preference.
func (a *assignment) candidates(g *group) port.Set {
	if g.held != 0 {
		return port.Set{port.One(g.held)}
	}
	all := g.list
	if all == nil {
		all = a.starts(g.needs[0])
		for _, i := range g.needs[1:] {
			var others port.Bits
			others.AddSet(a.starts(i))
			all = all.Without(func(p uint16) bool { return !others.Has(p) })
		}
	}
	return all.Without(g.unfit.Has)
}

// starts returns where the ports of a need may start, in order of preference: its
// declared port, then the others from the job's own place on, those that outgoing
// connections use, and those that browsers refuse, last.
func (a *assignment) starts(i int) port.Set {
	n := a.needs[i]
	size := n.Ports.Len()
	var all port.Set
	if !n.Auto {
		all = append(all, port.One(n.Ports.First))
	}
	if len(n.Range) == 0 || a.owned[i] && !a.of[i].unfit.Has(n.Ports.First) {
		return all
	}
	r := a.at[i].scan
	var allowed, excluded port.Bits
	allowed.AddSet(n.Range)
	excluded.AddSet(n.Exclude)
	excluded.AddSet(r.facts.Limits.Reserved)
	for _, proto := range n.Protocols {
		if s := r.scans[r.scanKey(n, proto)]; s != nil {
			allowed.Keep(&s.bits)
		}
		if c := a.claimed[claimKey{n.Target, proto}]; c != nil {
			excluded.Join(c)
		}
	}
	total := 0
	for _, one := range n.Range {
		total += one.Len()
	}
	block := func(p uint16) port.Range { return port.Range{First: p, Last: p + uint16(size-1)} }
	usable := rotated(n.Range, int(hash(a.Place)%uint64(total))).Without(func(p uint16) bool {
		return int(p)+size-1 > port.MaxPort || !allowed.HasAll(block(p)) || excluded.HasAny(block(p))
	})
	passing, unsafe := r.ephemeral(), n.unsafe()
	phaseOf := func(p uint16) phase {
		switch {
		case passing.HasAny(block(p)):
			return ephemeral
		case unsafe != nil && unsafe.HasAny(block(p)):
			return refused
		}
		return stable
	}
	for ph := range exhausted {
		all = append(all, usable.Without(func(p uint16) bool { return phaseOf(p) != ph })...)
	}
	return all
}

// hash returns a number for a text.
func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // always nil
	return h.Sum64()
}

// rotated returns a set in the order that starts at its port of that index.
func rotated(s port.Set, index int) port.Set {
	for i, r := range s {
		if index >= r.Len() {
			index -= r.Len()
			continue
		}
		at := r.First + uint16(index)
		all := append(port.Set{{First: at, Last: r.Last}}, s[i+1:]...)
		all = append(all, s[:i]...)
		if index > 0 {
			all = append(all, port.Range{First: r.First, Last: at - 1})
		}
		return all
	}
	return s
}

// moment is how long the ports of a job may still be held after its end.
const moment = 500 * time.Millisecond

// takeNew has keepers hold a port for every need that has none, and makes sure that its
// app can use that port.
func (a *assignment) takeNew(ctx context.Context) (AssignedLease, error) {
	start := time.Now().Add(-a.waited()) // what has ended since then, has ended
	steps := backoff.NewExponentialBackOff()
	steps.InitialInterval, steps.MaxInterval = 20*time.Millisecond, time.Second
	refused, lastTry := 0, false
	for ctx.Err() == nil {
		unmet, final, err := a.attempt(ctx)
		if err != nil {
			return AssignedLease{}, err
		}
		if unmet < 0 && final {
			return AssignedLease{a.LeaseID, lease.Name(a.at[0].jobOf(a.Options)), a.Expires, a.UntilExit}, a.confirm(ctx)
		}
		a.release(ctx)
		if refused++; !final && refused < mostRefused {
			continue
		}
		if unmet < 0 {
			unmet = slices.Index(a.kept, false)
		}
		// The keeper of a job that has just ended needs a moment.
		left := max(a.needs[unmet].Wait, moment) - time.Since(start)
		if left <= 0 {
			why, err := a.whyUnmet(ctx, unmet, lastTry)
			if err != nil {
				return AssignedLease{}, err
			}
			if lastTry || why.Message != "" {
				return AssignedLease{}, why
			}
			lastTry = true // what had the port is gone
		} else if err := a.pause(ctx, unmet, steps, start.Add(max(a.needs[unmet].Wait, moment))); err != nil {
			return AssignedLease{}, err
		}
		for _, g := range a.groups {
			g.unfit, g.list = port.Bits{}, nil
		}
		if had, err := a.again(ctx, time.Since(start) > 2*moment); err != nil || !slices.Contains(a.got, 0) {
			return had, err
		}
		refused = 0
	}
	return AssignedLease{}, context.Cause(ctx)
}

// waited returns how long keepers have been waited for.
func (a *assignment) waited() time.Duration {
	var most time.Duration
	for _, p := range a.sites {
		most = max(most, p.waited)
	}
	return most
}

// pause waits before another attempt, until a time at the latest. As long as a need's
// only port is leased there is none: each attempt may cost a container. Others may choose
// ports for the job in the meantime.
func (a *assignment) pause(ctx context.Context, unmet int, steps *backoff.ExponentialBackOff, until time.Time) error {
	a.unlock(ctx)
	for {
		left := time.Until(until)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(steps.NextBackOff(), left)):
		}
		if len(a.needs[unmet].Range) > 0 || !time.Now().Before(until) {
			return nil
		}
		if text, err := a.leaseOf(ctx, unmet); err != nil || text == "" {
			return err
		}
	}
}

// attempt makes one request to each target. It is final if another one at once would be
// of no use: then all needs are met, or one that could not be met is returned.
func (a *assignment) attempt(ctx context.Context) (unmet int, final bool, err error) {
	lists := map[*group]port.Set{}
	for _, g := range a.groups {
		if slices.ContainsFunc(g.needs, func(i int) bool { return !a.kept[i] }) {
			lists[g] = a.candidates(g)
		}
	}
	err = a.each(func(p *site) error { return a.start(ctx, p, lists) })
	if err != nil {
		return -1, true, err
	}
	for _, p := range a.sites {
		if p.unmet >= 0 {
			return p.unmet, !a.forgetHeld(a.of[p.unmet]), nil
		}
	}
	if again := a.agree(lists); again {
		return -1, false, nil
	}
	if err := a.each(func(p *site) (err error) { p.unmet, err = a.judgeGot(ctx, p); return err }); err != nil {
		return -1, true, err
	}
	for _, p := range a.sites {
		if p.unmet >= 0 {
			g := a.of[p.unmet]
			g.unfit.Add(a.got[p.unmet])
			a.forgetHeld(g)
			return p.unmet, false, nil
		}
	}
	return -1, true, nil
}

// forgetHeld makes a group choose a port for all of its targets, if it was to have the
// one that the job holds on some of them. It reports whether it was.
func (a *assignment) forgetHeld(g *group) bool {
	had := g.held != 0
	g.held = 0
	for _, i := range g.needs {
		a.kept[i], a.moved[i] = false, ""
	}
	return had
}

// start has a keeper of a target hold ports for its needs.
func (a *assignment) start(ctx context.Context, p *site, lists map[*group]port.Set) error {
	p.wanting, p.started, p.unmet = nil, false, -1
	var own []Need
	for i, n := range a.needs {
		if a.at[i] == p {
			own = append(own, n)
			if !a.kept[i] {
				p.wanting = append(p.wanting, i)
			}
		}
	}
	if len(p.wanting) == 0 {
		return nil
	}
	p.request = lease.Request{ID: a.LeaseID, Job: p.jobOf(a.Options), App: appsOf(own), Expires: a.Expires, Lifetime: max(time.Until(a.Expires), 1), UntilExit: a.UntilExit, Orphan: a.Fresh}
	for _, i := range p.wanting {
		n := a.needs[i]
		w := lease.Want{Name: n.title(), Protocols: n.Protocols, Ports: lists[a.of[i]], Length: n.Ports.Len(), Guard: n.guarded() && !a.owned[i], GuardUDP: n.guardedUDP() && !a.owned[i]}
		if n.App == p.request.App {
			w.Name = n.Name
		}
		p.request.Wants = append(p.request.Wants, w)
	}
	reply, err := p.hold(ctx, host.LeaseRequest{Start: &p.request})
	switch {
	case err != nil:
		return err
	case reply.Unmet != nil:
		p.unmet = p.wanting[*reply.Unmet]
		return nil
	}
	p.reply, p.started = reply, true
	for k, i := range p.wanting {
		a.got[i] = reply.First[k]
	}
	return nil
}

// agree reports whether the targets of a group hold different ports for it. Then the
// next attempt starts at the last of these in the group's order: some target could have
// none of those before.
func (a *assignment) agree(lists map[*group]port.Set) (again bool) {
	for g, list := range lists {
		last, different := a.got[g.needs[0]], false
		for _, i := range g.needs {
			if a.got[i] != last {
				different = true
				if indexOf(list, a.got[i]) > indexOf(list, last) {
					last = a.got[i]
				}
			}
		}
		if different {
			g.list = startingAt(list, last)
			again = true
		}
	}
	return again
}

// indexOf returns the index of a port in the order of a set.
func indexOf(s port.Set, n uint16) int {
	before := 0
	for _, r := range s {
		if r.Contains(n) {
			return before + int(n-r.First)
		}
		before += r.Len()
	}
	return before
}

// startingAt returns the part of a set, in its order, from a port on.
func startingAt(s port.Set, n uint16) port.Set {
	for i, r := range s {
		if r.Contains(n) {
			return append(port.Set{{First: n, Last: r.Last}}, s[i+1:]...)
		}
	}
	return nil
}

// release ends what the attempt holds.
func (a *assignment) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	sideBySide(a.sites, newSlots(a.Parallel), func(p *site) {
		if !p.started {
			return
		}
		p.started = false
		end := host.LeaseRequest{Release: &host.LeasePort{Protocol: p.request.Wants[0].Protocols[0], Port: p.reply.First[0], ID: a.LeaseID}}
		if _, err := p.hold(ctx, end); err == nil || !p.confirming {
			return // elsewhere it ends with the connection at the latest
		}
		if h, err := p.Open(ctx); err == nil {
			_, _ = host.Hold(ctx, h, end) // the error says that it may be left
			_ = h.Close()
		}
	})
	for i := range a.needs {
		if !a.kept[i] {
			a.got[i] = 0
		}
	}
}

// releaseTime limits how long a rollback takes.
const releaseTime = 5 * time.Second

// confirm makes what the targets hold independent of this process.
func (a *assignment) confirm(ctx context.Context) error {
	return a.each(func(p *site) error {
		if !p.started {
			return nil
		}
		p.confirming = true
		_, err := p.hold(ctx, host.LeaseRequest{Confirm: true})
		if err != nil {
			err = fmt.Errorf("%w; the lease %s may be left there until %s, or until `portcheck release %s`", err, a.LeaseID, a.Expires.UTC().Format(time.RFC3339), a.LeaseID)
		}
		return err
	})
}

// appsOf returns the apps of needs, one after the other.
func appsOf(needs []Need) string {
	var all []string
	for _, n := range needs {
		if n.App != "" && !slices.Contains(all, n.App) {
			all = append(all, n.App)
		}
	}
	return strings.Join(all, ", ")
}

// judgeGot returns a need of which the app can't have the port that the keeper of a
// target holds, or -1. It also finds out why others have not got their declared ports.
func (a *assignment) judgeGot(ctx context.Context, p *site) (int, error) {
	results, err := a.judge(ctx, p, p.wanting, a.got)
	if err != nil {
		return -1, err
	}
	for _, i := range p.wanting {
		for _, r := range results[i] {
			switch {
			case r.Status.OK():
			case movable(&r):
				return i, nil
			default: // another port would not help
				return -1, UnmetError{a.needs[i], r.Message, r.Status == Unknown}
			}
		}
	}
	var moved []int
	for _, i := range p.wanting {
		n := a.needs[i]
		if n.Auto || a.got[i] == n.Ports.First {
			continue
		}
		if a.moved[i], err = a.leaseOf(ctx, i); err != nil {
			return -1, err
		}
		if a.moved[i] == "" {
			moved = append(moved, i)
		}
	}
	if results, err = a.judge(ctx, p, moved, nil); err != nil {
		return -1, err
	}
	for _, i := range moved {
		a.moved[i] = "it was taken for a moment"
		if g := a.of[i]; len(g.needs) > 1 {
			a.moved[i] = "it can't be had on another target"
		}
		for _, r := range results[i] {
			if !r.Status.OK() {
				a.moved[i] = r.Message
			}
		}
	}
	return -1, nil
}

// leaseOf returns a text about a lease that another job has of a need's declared ports, or "" if there is
// none.
func (a *assignment) leaseOf(ctx context.Context, i int) (string, error) {
	n := a.needs[i]
	var locks []host.LeasePort
	for p := range (port.Set{n.Ports}).All {
		for _, proto := range n.Protocols {
			locks = append(locks, host.LeasePort{Protocol: proto, Port: p})
		}
	}
	reply, err := a.at[i].hold(ctx, host.LeaseRequest{Look: locks})
	other := slices.IndexFunc(reply.Leases, func(l host.Lease) bool { return !l.Own })
	if err != nil || other < 0 {
		return "", err
	}
	h := reply.Leases[other]
	return fmt.Sprintf("%s %d is %s", h.Protocol, h.Port, leasedTo(h.Job, h.PID, h.UID, h.Expires)), nil
}

// judge checks some of a target's needs, on other first ports if there are some. It
// returns the results of each by its index.
func (a *assignment) judge(ctx context.Context, p *site, some []int, first []uint16) (map[int][]Result, error) {
	if len(some) == 0 {
		return nil, nil
	}
	needs := make([]Need, len(some))
	for k, i := range some {
		n := a.needs[i]
		if first != nil {
			n.Ports = port.Range{First: first[i], Last: first[i] + uint16(n.Ports.Len()-1)}
		}
		n.Auto, n.Wait, n.Range = false, 0, nil
		needs[k] = n
	}
	o := a.Options
	o.Alternatives, o.Candidates, o.Progress = 0, 0, nil
	report, err := Run(ctx, needs, []Target{p.Shared()}, o)
	if err != nil {
		return nil, err
	}
	results, at := map[int][]Result{}, 0
	for k, i := range some {
		results[i] = report.Results[at : at+len(needs[k].Protocols)]
		at += len(needs[k].Protocols)
	}
	return results, nil
}

// whyUnmet returns the error for a need that gets no port: it says what has its ports.
// The message is empty if nothing has the declared port any more, unless this was the
// last try.
func (a *assignment) whyUnmet(ctx context.Context, i int, lastTry bool) (UnmetError, error) {
	n := a.needs[i]
	unmet := UnmetError{Need: n}
	if !n.Auto {
		var err error
		if unmet.Message, err = a.leaseOf(ctx, i); err != nil {
			return unmet, err
		}
		if unmet.Message == "" {
			results, err := a.judge(ctx, a.at[i], []int{i}, nil)
			if err != nil {
				return unmet, err
			}
			for _, r := range results[i] {
				if !r.Status.OK() {
					unmet.Message = r.Message
				}
			}
		}
		switch o, claimed := a.claimant(i); {
		case unmet.Message != "":
		case claimed:
			unmet.Message = fmt.Sprintf("%s, another need of this run, has %s", o.title(), n.Ports)
		case !lastTry:
			return unmet, nil
		default:
			unmet.Message = fmt.Sprintf("%s is free, but could not be leased: another job had it for a moment, or a program that is not portcheck has bound the name of its socket (`ss -xap | grep portcheck/1/` shows it as root)", n.Ports)
		}
	}
	if len(n.Range) == 0 {
		return unmet, nil
	}
	who, err := a.whoHas(ctx, a.at[i], n)
	if err != nil {
		return unmet, err
	}
	if unmet.Message != "" {
		unmet.Message += ", and "
	}
	what := "port"
	if size := n.Ports.Len(); size > 1 {
		what = fmt.Sprintf("block of %d ports", size)
	}
	unmet.Message += fmt.Sprintf("no %s of its range %s is free", what, clip(n.Range.String(), 100))
	if len(a.of[i].needs) > 1 {
		unmet.Message += " on all of its targets"
	}
	if who != "" {
		unmet.Message += ": " + who
	}
	return unmet, nil
}

// claimant returns another need of the run that declares a port of a need.
func (a *assignment) claimant(i int) (Need, bool) {
	n := a.needs[i]
	for j, o := range a.needs {
		shared := slices.ContainsFunc(o.Protocols, func(p port.Protocol) bool { return slices.Contains(n.Protocols, p) })
		if j == i || a.at[j] != a.at[i] || !shared {
			continue
		}
		// An auto leaves out what others declare.
		if !o.Auto && o.Ports.First <= n.Ports.Last && n.Ports.First <= o.Ports.Last {
			return o, true
		}
	}
	return Need{}, false
}

// whoHas describes the leases and the processes that have ports of a need's range.
func (a *assignment) whoHas(ctx context.Context, at *site, n Need) (string, error) {
	r := newRound(at.Shared(), newPlan(ctx, []Need{n}, 1, a.Options))
	if err := r.reach(ctx); err != nil {
		return "", err
	}
	b, left := &batch{}, host.MostEndpoints
	for _, part := range n.Range {
		for _, proto := range n.Protocols {
			try := lookOnly(n.Binding(proto))
			try.Ports = part
			if left -= part.Len() * len(try.At(part.First)); left >= 0 {
				b.try(try, func(host.Tried, answer) {})
			}
		}
	}
	facts, err := r.ask(ctx, b.Request)
	if err != nil {
		return "", err
	}
	reply, err := at.hold(ctx, host.LeaseRequest{List: host.AllLeases})
	if err != nil {
		return "", err
	}
	jobs, count := []string{}, map[string]int{}
	keepers := map[int]bool{}
	for _, h := range reply.Leases {
		keepers[h.PID] = true
		if !slices.Contains(n.Protocols, h.Protocol) || !n.Range.Contains(h.Port) {
			continue
		}
		to := leasedTo(h.Job, h.PID, h.UID, h.Expires)
		if count[to]++; count[to] == 1 {
			jobs = append(jobs, to)
		}
	}
	var parts []string
	for k, to := range jobs {
		if k == describedJobs {
			parts = append(parts, fmt.Sprintf("leases of %d more jobs", len(jobs)-k))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s", Counted(count[to], "port"), to))
	}
	sockets := slices.DeleteFunc(facts.Sockets, func(s host.Socket) bool {
		return !holdsPort(s) || slices.ContainsFunc(s.Holders, func(h host.Holder) bool { return keepers[h.PID] })
	})
	if len(sockets) > 0 {
		ports := port.Bits{}
		total := 0
		for _, s := range sockets {
			if !ports.Has(s.Port) {
				total++
			}
			ports.Add(s.Port)
		}
		parts = append(parts, fmt.Sprintf("%s held by %s", Counted(total, "port"), describeAll(sockets)))
	}
	return strings.Join(parts, "; "), nil
}

// describedJobs is how many jobs an error names.
const describedJobs = 3

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
