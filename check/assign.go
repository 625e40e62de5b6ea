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
	Fresh     bool   // never use a lease that the job has already
	Expires   time.Time
	UntilExit int // a process with which the lease ends, or 0
	// Start starts a keeper on the target.
	Start func(context.Context, lease.Request) (lease.Reply, error)
}

// Assignment is the output of `portcheck assign`.
type Assignment struct {
	Version int            `json:"version"`
	Lease   AssignedLease  `json:"lease"`
	Ports   []AssignedPort `json:"ports"`
}

// AssignedLease is the lease of the ports that were chosen last.
type AssignedLease struct {
	ID      string    `json:"id"`
	Job     string    `json:"job"`
	Expires time.Time `json:"expires"`
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

// assignment is an assignment in the making.
type assignment struct {
	AssignOptions
	target Target
	needs  []Need
	got    []uint16       // the first port of each need, 0 if it has none yet
	owned  []bool         // the need's own server has its declared port already
	unfit  []*port.Bits   // ports that the need's app can't have, by need
	scans  []*round       // of one element: what is known of the ranges
	moved  map[int]string // why a need has not got its declared port
}

// Assign gives each need a port of its own, which is leased to the job, or none of
// them any. The needs are those of one target for a free port.
func Assign(ctx context.Context, needs []Need, t Target, o AssignOptions) (Assignment, error) {
	a := &assignment{AssignOptions: o, target: t, needs: needs, got: make([]uint16, len(needs)), owned: make([]bool, len(needs)), moved: map[int]string{}}
	for range needs {
		a.unfit = append(a.unfit, new(port.Bits))
	}
	had, err := a.takeOwn()
	if err != nil {
		return Assignment{}, err
	}
	result := Assignment{Version: 1, Lease: had}
	if slices.Contains(a.got, 0) {
		if err := a.look(ctx); err != nil {
			return Assignment{}, err
		}
		if err := a.takeNew(ctx); err != nil {
			return Assignment{}, err
		}
		result.Lease = AssignedLease{o.LeaseID, lease.Name(o.Job), o.Expires}
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
		result.Ports = append(result.Ports, p)
	}
	return result, nil
}

// takeOwn gives needs the ports that leases of this job have for them.
func (a *assignment) takeOwn() (AssignedLease, error) {
	var had AssignedLease
	if a.Fresh {
		return had, nil
	}
	held, err := OwnLeases(a.Job)
	if err != nil || len(held) == 0 {
		return had, err
	}
	for i, n := range a.needs {
		if h, ok := n.heldBy(held); ok {
			a.got[i] = h.Port
			a.moved[i] = "this job has a lease of the other port"
			had = AssignedLease{h.ID, h.Job, h.Expires}
		}
	}
	return had, nil
}

// heldBy returns the first port, of those that a job holds, that is the need's.
func (n Need) heldBy(held []lease.Held) (lease.Held, bool) {
	type key struct {
		protocol port.Protocol
		port     uint16
	}
	ours := map[key]bool{}
	var all []lease.Held
	for _, h := range held {
		if h.App == lease.Name(n.App) && h.Name == lease.Name(n.Name) || h.Name == lease.Name(n.title()) {
			ours[key{h.Protocol, h.Port}] = true
			all = append(all, h)
		}
	}
	for _, h := range all {
		block := port.Range{First: h.Port, Last: h.Port + uint16(n.Ports.Len()-1)}
		if block.Last < block.First || !n.allows(block) {
			continue
		}
		whole := true
		for p := range (port.Set{block}).All {
			for _, proto := range n.Protocols {
				whole = whole && ours[key{proto, p}]
			}
		}
		if whole {
			return h, true
		}
	}
	return lease.Held{}, false
}

// Started returns a need for a free port as one that its app listens on the port that
// the job holds for it. It reports false if the job holds none.
func (n Need) Started(held []lease.Held) (Need, bool) {
	h, ok := n.heldBy(held)
	if !ok { // assign may have been given another range
		anywhere := n
		anywhere.Range, anywhere.Exclude = port.Set{{First: 1, Last: port.MaxPort}}, nil
		h, ok = anywhere.heldBy(held)
	}
	n.Ports = port.Range{First: h.Port, Last: h.Port + uint16(n.Ports.Len()-1)}
	n.Expect, n.Auto = config.Listening, false
	return n, ok
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

// OwnLeases returns the ports that leases of a job and of this user hold.
func OwnLeases(job string) ([]lease.Held, error) {
	held, err := lease.ListOwn(time.Now().Add(leaseTime))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(held, func(h lease.Held) bool { return !h.OwnedBy(job) }), nil
}

// look finds out which ports of the ranges can't be had, without a bind: only what is
// locked is bound. It also finds the needs that have their own server already.
func (a *assignment) look(ctx context.Context) error {
	r := newRound(a.target, newPlan(ctx, a.needs, 1, a.Options))
	defer r.close()
	if err := r.reach(ctx); err != nil {
		return err
	}
	b, asked := &batch{}, map[scanKey]bool{}
	b.try(lookOnly(port.Binding{Protocol: port.TCP}), func(host.Tried, answer) {})
	for i, n := range a.needs {
		if a.got[i] != 0 || len(n.Range) == 0 {
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
	a.scans = []*round{r}
	return a.findOwned(ctx)
}

// findOwned finds the needs of which the owner listens already. Their ports get no
// guard, which would fail.
func (a *assignment) findOwned(ctx context.Context) error {
	var some []int
	for i, n := range a.needs {
		if a.got[i] == 0 && len(n.Owner) > 0 && !n.Auto {
			some = append(some, i)
		}
	}
	results, err := a.judge(ctx, some, nil)
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

// starts returns where the ports of a need may start, in order of preference: its
// declared port, then the others from the job's own place on, those that outgoing
// connections use, and those that browsers refuse, last.
func (a *assignment) starts(i int, claimed claims) port.Set {
	n := a.needs[i]
	size := n.Ports.Len()
	var all port.Set
	if !n.Auto && !a.unfit[i].Has(n.Ports.First) {
		all = append(all, port.One(n.Ports.First))
	}
	if len(n.Range) == 0 || a.owned[i] && len(all) > 0 {
		return all
	}
	r := a.scans[0]
	var allowed, excluded port.Bits
	allowed.AddSet(n.Range)
	excluded.AddSet(n.Exclude)
	excluded.AddSet(r.facts.Limits.Reserved)
	for _, proto := range n.Protocols {
		if s := r.scans[r.scanKey(n, proto)]; s != nil {
			allowed.Keep(&s.bits)
		}
		if c := claimed[claimKey{n.Target, proto}]; c != nil {
			excluded.Join(c)
		}
	}
	total := 0
	for _, one := range n.Range {
		total += one.Len()
	}
	block := func(p uint16) port.Range { return port.Range{First: p, Last: p + uint16(size-1)} }
	usable := rotated(n.Range, int(hash(a.Place)%uint64(total))).Without(func(p uint16) bool {
		return int(p)+size-1 > port.MaxPort || !allowed.HasAll(block(p)) || excluded.HasAny(block(p)) || a.unfit[i].Has(p)
	})
	passing, unsafe := r.ephemeral(), n.unsafe()
	late := func(p uint16) bool {
		return passing.HasAny(block(p)) || unsafe != nil && unsafe.HasAny(block(p))
	}
	all = append(all, usable.Without(late)...)
	return append(all, usable.Without(func(p uint16) bool { return !late(p) })...)
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

// takeNew has a keeper hold a port for every need that has none, and makes sure that
// its app can use that port.
func (a *assignment) takeNew(ctx context.Context) error {
	start := time.Now()
	steps := backoff.NewExponentialBackOff()
	steps.InitialInterval, steps.MaxInterval = 20*time.Millisecond, time.Second
	refused := 0
	for ctx.Err() == nil {
		unmet, err := a.tryNew(ctx)
		if err != nil || unmet < 0 {
			return err
		}
		if refused++; a.got[unmet] != 0 && refused < mostRefused {
			a.got[unmet] = 0
			continue
		}
		a.got[unmet] = 0
		// The keeper of a job that has just ended needs a moment.
		left := max(a.needs[unmet].Wait, moment) - time.Since(start)
		if left <= 0 {
			return a.whyUnmet(ctx, unmet)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(steps.NextBackOff(), left)):
		}
		for _, bits := range a.unfit {
			*bits = port.Bits{}
		}
		refused = 0
	}
	return context.Cause(ctx)
}

// tryNew makes one request. If it returns a need, that one could not be met: it has
// a port if the keeper had one that its app can't use.
func (a *assignment) tryNew(ctx context.Context) (unmet int, err error) {
	claimed := claimsOf(a.needs)
	request := lease.Request{ID: a.LeaseID, Job: a.Job, App: appsOf(a.needs), Expires: a.Expires, UntilExit: a.UntilExit}
	var some []int
	for i, n := range a.needs {
		if a.got[i] != 0 {
			continue
		}
		w := lease.Want{Name: n.title(), Protocols: n.Protocols, Ports: a.starts(i, claimed), Length: n.Ports.Len(), Guard: n.guarded() && !a.owned[i]}
		if n.App == request.App {
			w.Name = n.Name
		}
		some, request.Wants = append(some, i), append(request.Wants, w)
	}
	reply, err := a.Start(ctx, request)
	switch {
	case err != nil:
		return -1, err
	case reply.Unmet != nil:
		return some[*reply.Unmet], nil
	}
	for k, i := range some {
		a.got[i] = reply.First[k]
	}
	release := func() {
		w := request.Wants[0]
		lease.Release(w.Protocols[0], reply.First[0], time.Now().Add(leaseTime))
	}
	unmet, err = a.confirm(ctx, some)
	if err == nil && unmet < 0 {
		return -1, nil
	}
	release()
	for _, i := range some {
		if i != unmet {
			a.got[i] = 0
		}
	}
	if unmet >= 0 {
		a.unfit[unmet].Add(a.got[unmet])
	}
	return unmet, err
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

// confirm returns a need of which the app can't have the port that the keeper holds,
// or -1. It also finds out why others have not got their declared ports.
func (a *assignment) confirm(ctx context.Context, some []int) (int, error) {
	results, err := a.judge(ctx, some, a.got)
	if err != nil {
		return -1, err
	}
	for _, i := range some {
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
	for _, i := range some {
		n := a.needs[i]
		if n.Auto || a.got[i] == n.Ports.First {
			continue
		}
		if a.moved[i] = a.leaseOf(n); a.moved[i] == "" {
			moved = append(moved, i)
		}
	}
	if results, err = a.judge(ctx, moved, nil); err != nil {
		return -1, err
	}
	for _, i := range moved {
		a.moved[i] = "it was taken for a moment"
		for _, r := range results[i] {
			if !r.Status.OK() {
				a.moved[i] = r.Message
			}
		}
	}
	return -1, nil
}

// leaseOf returns a text about a lease of the need's declared ports, or "" if there is
// none.
func (a *assignment) leaseOf(n Need) string {
	var locks []lease.Held
	for p := range (port.Set{n.Ports}).All {
		for _, proto := range n.Protocols {
			locks = append(locks, lease.Held{Protocol: proto, Port: p})
		}
	}
	for _, h := range lease.LookAll(locks, time.Now().Add(leaseTime)) {
		return fmt.Sprintf("%s %d is %s", h.Protocol, h.Port, leasedTo(h.Job, h.PID, h.UID, h.Expires))
	}
	return ""
}

// judge checks some of the needs, on other first ports if there are some. It returns
// the results of each by its index.
func (a *assignment) judge(ctx context.Context, some []int, first []uint16) (map[int][]Result, error) {
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
	report, err := Run(ctx, needs, []Target{a.target}, o)
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

// whyUnmet returns the error for a need that gets no port: it says who has its ports.
func (a *assignment) whyUnmet(ctx context.Context, i int) error {
	n := a.needs[i]
	unmet := UnmetError{Need: n}
	if !n.Auto {
		if unmet.Message = a.leaseOf(n); unmet.Message == "" {
			results, err := a.judge(ctx, []int{i}, nil)
			if err != nil {
				return err
			}
			for _, r := range results[i] {
				if !r.Status.OK() {
					unmet.Message = r.Message
				}
			}
		}
		if unmet.Message == "" {
			unmet.Message = fmt.Sprintf("another need of this run has %s", n.Ports)
		}
	}
	if len(n.Range) == 0 {
		return unmet
	}
	who, err := a.whoHas(ctx, n)
	if err != nil {
		return err
	}
	if unmet.Message != "" {
		unmet.Message += ", and "
	}
	what := "port"
	if size := n.Ports.Len(); size > 1 {
		what = fmt.Sprintf("block of %d ports", size)
	}
	unmet.Message += fmt.Sprintf("no %s of its range %s is free", what, clip(n.Range.String(), 100))
	if who != "" {
		unmet.Message += ": " + who
	}
	return unmet
}

// whoHas describes the leases and the processes that have ports of a need's range.
func (a *assignment) whoHas(ctx context.Context, n Need) (string, error) {
	r := newRound(a.target, newPlan(ctx, []Need{n}, 1, a.Options))
	defer r.close()
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
	held, err := lease.List(time.Now().Add(leaseTime))
	if err != nil {
		return "", err
	}
	jobs, count := []string{}, map[string]int{}
	keepers := map[int]bool{}
	for _, h := range held {
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
		if o, taken := first[v]; taken {
			problems = append(problems, config.Problem{Position: n.At, Message: fmt.Sprintf("the port of %s would be in %s, which has that of %s (%s): give one of them another variable with `env`", n.title(), v, o.title(), o.At)})
			continue
		}
		first[v] = n
	}
	return problems
}
