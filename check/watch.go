package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/port"
)

// WatchOptions steer a watch.
type WatchOptions struct {
	Options                // Timeout is that of each step of a round
	Interval time.Duration // between the starts of two rounds
	// End is when the watch ends, zero: when its context does. A last round judges all
	// needs then. It begins as long before as such a round took, and may take until some
	// time after End.
	End time.Time
	// Observe gets what each round has found, in the order of a target's rounds. It is
	// called once at a time.
	Observe func(Observation)
}

// Observation is what one round has found out about a target.
type Observation struct {
	Target string
	Time   time.Time
	Took   time.Duration
	Next   time.Time // when the next round is due
	Events []Event
	Err    error // why nothing could be found out; there are no events then
	// Listeners counts the listeners by protocol. It is nil if they are not known.
	Listeners map[port.Protocol]int
	// Notices are the target's, as they were when all listeners were last listed.
	Notices []Notice
	// Results are those of the target's needs. Their status is unknown while the target
	// can't be asked. Since is when each of them became met or unmet.
	Results []Result
	Since   []time.Time
	// Changed is whether the listeners or their holders may be others than in the round
	// before. An event is not made of each difference.
	Changed bool
	// Listing returns all listeners with their holders. It must be called in Observe.
	Listing func() Listing
}

const (
	// slowestJudgement is how long a need that is met is not judged again if nothing
	// changes on its port, and an unmet one after some time. Other things than
	// listeners make a difference, too: connections, NAT rules, leases, remotes.
	slowestJudgement = 30 * time.Second
	// slowestRetry is the longest time between two attempts to reach a target.
	slowestRetry = time.Minute
	// lastRound is how long after End the last round of a target may take that could be
	// asked before, unless its rounds take longer.
	lastRound = 5 * time.Second
)

// Watch observes targets and needs until ctx or o.End. A target is opened once, and again
// after it has failed.
func Watch(ctx context.Context, needs []Need, targets []Target, o WatchOptions) {
	var observing sync.Mutex
	observe := o.Observe
	o.Observe = func(x Observation) {
		observing.Lock()
		defer observing.Unlock()
		observe(x)
	}
	caught := make([]*panics.Panic, len(targets))
	opening := newSlots(o.Parallel)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for i, t := range targets {
		w := newWatched(ctx, t, needs, o, opening)
		all.Go(func() {
			if caught[i] = panics.Catch(func() { w.run(ctx) }); caught[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	for _, p := range caught {
		p.Repanic()
	}
}

// watched is a target that is watched.
type watched struct {
	*round
	WatchOptions
	opening slots
	needs   []Need
	// parts are the listeners, by the parts of a survey, and digests those of what the
	// host has answered. They are nil before the first answer.
	parts     []map[port.Endpoint]*watchedListener
	digests   []uint64
	ephemeral port.Range
	machine   host.Machine
	report    TargetReport
	verdicts  []watchedNeed // of each result
	judged    time.Time     // when all needs were last judged
	pace      time.Duration // how long until then again
	took      time.Duration // a round in which all needs were judged
	last      bool          // this round may be the last one before End
	whole     bool          // all needs are judged in this round
	changed   bool          // in this round, as in Observation
	// connecting judges the needs that connect.
	connecting connecting
	running    context.Context // until the end of the watch
}

// watchedListener is all sockets of one endpoint, with their processes.
type watchedListener struct {
	sockets []uint64 // their digests, sorted
	holders []Holder
}

// watchedNeed is the verdict on one need and protocol.
type watchedNeed struct {
	result Result    // of the last judgement
	known  bool      // it was met or unmet once
	met    bool      // so it was last
	since  time.Time // with a reading of the monotonic clock, which UTC takes away
}

func newWatched(ctx context.Context, t Target, needs []Need, o WatchOptions, opening slots) *watched {
	w := &watched{round: newRound(t, newPlan(ctx, nil, 1, o.Options)), WatchOptions: o, opening: opening}
	w.verdicts = unjudged(needs, t.Name)
	for _, n := range needs {
		if n.Target == t.Name {
			n.Wait = 0
			w.needs = append(w.needs, n)
		}
	}
	return w
}

// unjudged returns the verdicts on a target's needs before the first judgement.
func unjudged(needs []Need, target string) []watchedNeed {
	var all []watchedNeed
	for _, n := range needs {
		if n.Target != target {
			continue
		}
		for _, proto := range n.Protocols {
			r := n.result(proto)
			r.Status, r.Method, r.Endpoints = Unknown, None, []Endpoint{}
			r.Message = n.subject(proto) + " was not checked yet"
			all = append(all, watchedNeed{result: r})
		}
	}
	return all
}

// run makes rounds until ctx or End.
func (w *watched) run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	w.running = ctx
	defer func() {
		stop()
		w.close()
		w.connecting.close()
	}()
	retry := w.Interval
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		start := time.Now()
		if !w.End.IsZero() && !start.Before(w.End) && (w.last || w.host == nil) {
			return
		}
		w.last, w.whole, w.changed = w.isLast(start), false, false
		limited, cancel := w.limit(ctx)
		events, err := w.turn(limited)
		late := limited.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return // what the end of ctx has cut short is no failure
		}
		if late {
			events, err = nil, errors.New("no answer before the end")
		}
		if w.whole {
			w.took = time.Since(start)
		}
		w.last = w.isLast(start) // it may have taken less than before
		pause := w.Interval
		if err != nil {
			pause, retry = max(retry, w.Interval), min(2*retry, max(slowestRetry, w.Interval))
		} else {
			retry = w.Interval
		}
		next := w.next(start.Add(pause))
		w.Observe(w.observation(start, next, events, err))
		if late {
			return
		}
		timer.Reset(max(time.Until(next), 0)) // time.Until uses the monotonic clock
	}
}

// isLast reports whether a round that starts then may be the last one before End.
func (w *watched) isLast(start time.Time) bool {
	return !w.End.IsZero() && !start.Before(w.End.Add(-w.took))
}

// next returns when the next round is due: at the time that is given, or earlier because
// the last one is.
func (w *watched) next(at time.Time) time.Time {
	due := w.End
	if !w.last {
		due = w.End.Add(-w.took)
	}
	if w.End.IsZero() || at.Before(due) {
		return at
	}
	return due
}

// limit returns the context of a round. At End nobody waits for a target that could
// not be asked before.
func (w *watched) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	switch {
	case w.End.IsZero():
		return context.WithCancel(ctx)
	case w.host == nil:
		return context.WithDeadline(ctx, w.End)
	}
	return context.WithDeadline(ctx, w.End.Add(max(lastRound, w.took)))
}

// turn makes one round. A connection that has ended is made again at once: helpers
// have a limited lifetime.
func (w *watched) turn(ctx context.Context) ([]Event, error) {
	if w.host != nil {
		events, err := w.survey(ctx)
		if err == nil || ctx.Err() != nil || isUnread(err) {
			return events, err
		}
		w.close()
		w.host = nil
	}
	return w.reopen(ctx)
}

// reopen opens the target, lists all of its listeners with their holders, and judges all needs.
func (w *watched) reopen(ctx context.Context) ([]Event, error) {
	w.opening.acquire()
	defer w.opening.release()
	w.spent = 0
	w.keepers.forget()
	if err := w.reach(ctx); err != nil {
		w.host = nil
		return nil, err
	}
	events, err := w.relist(ctx)
	if err != nil && !isUnread(err) {
		w.close()
		w.host = nil
	}
	return events, err
}

// relist compares all listeners, with their holders.
func (w *watched) relist(ctx context.Context) ([]Event, error) {
	now := time.Now()
	facts, err := w.askListeners(ctx)
	if err != nil {
		w.digests = nil
		return nil, unread(facts, err)
	}
	w.changed = true
	w.report, w.machine, w.ephemeral = reportTarget(w.Name, facts, nil), facts.Machine, facts.Limits.Ephemeral
	first := w.parts == nil
	if first {
		w.parts = make([]map[port.Endpoint]*watchedListener, host.SurveyParts)
	}
	fresh := w.listeners(facts.Sockets)
	var events []Event
	for part := range w.parts {
		events = append(events, w.compare(part, fresh[part], changedPorts{}, now)...)
	}
	w.digests = host.Digests(facts.Sockets)
	if first {
		events = nil // what there is at the start is no change
	}
	sortEvents(events)
	return append(events, w.judge(ctx, nil, true, now)...), nil
}

// survey asks what has changed, and then about the holders of that.
func (w *watched) survey(ctx context.Context) ([]Event, error) {
	if w.digests == nil { // the table could not be read before
		return w.relist(ctx)
	}
	w.spent = 0
	w.keepers.forget()
	now := time.Now()
	facts, err := w.ask(ctx, host.Request{Survey: &host.Survey{Known: w.digests}})
	if err != nil {
		return nil, err
	}
	if !facts.Surveyed.Whole {
		w.digests = nil
		return nil, unread(facts, fmt.Errorf("the socket table could not be read%s", because(facts.Gaps, host.GapSockets)))
	}
	var events []Event
	changed := changedPorts{}
	if w.changed = len(facts.Surveyed.Changed) > 0; w.changed {
		fresh := w.listeners(facts.Sockets)
		if err := w.nameHolders(ctx, facts.Surveyed.Changed, fresh); err != nil {
			return nil, err
		}
		digests := host.Digests(facts.Sockets)
		for _, part := range facts.Surveyed.Changed {
			events = append(events, w.compare(part, fresh[part], changed, now)...)
			w.digests[part] = digests[part]
		}
		sortEvents(events)
	}
	all := w.last || time.Since(w.judged) >= w.pace
	return append(events, w.judge(ctx, changed, all, now)...), nil
}

// unreadError is the error of a table that could not be read, on a host that answers.
type unreadError struct{ error }

// unread returns err as an unreadError if the host has answered.
func unread(f host.Facts, err error) error {
	if f.Tried == nil {
		return err
	}
	return unreadError{err}
}

func isUnread(err error) bool {
	_, ok := err.(unreadError)
	return ok
}

// changedPorts are the ports on which a listener has changed.
type changedPorts map[socketKey]bool

// listeners returns the listeners of each part.
func (w *watched) listeners(sockets []host.Socket) []map[port.Endpoint]*watchedListener {
	parts := make([]map[port.Endpoint]*watchedListener, host.SurveyParts)
	for i := range parts {
		parts[i] = map[port.Endpoint]*watchedListener{}
	}
	for _, s := range sockets {
		if s.State != host.Listen || !w.ofInterest(s) {
			continue
		}
		key := keyOf(s)
		l := parts[host.PartOf(s.Port)][key]
		if l == nil {
			l = &watchedListener{}
			parts[host.PartOf(s.Port)][key] = l
		}
		l.sockets = append(l.sockets, s.Digest())
		l.holders = append(l.holders, w.listedHolders(s)...)
	}
	for _, part := range parts {
		for _, l := range part {
			slices.Sort(l.sockets)
		}
	}
	return parts
}

// keyOf returns a socket's endpoint, which is the same whatever families it serves.
func keyOf(s host.Socket) port.Endpoint {
	e := s.Endpoint
	e.V6Only = false
	return e
}

// listedHolders returns the rows of a listing for one socket.
func (w *watched) listedHolders(s host.Socket) []Holder {
	if len(s.Holders) == 0 {
		return []Holder{newListed(s, nil, w.machine)}
	}
	var all []Holder
	for _, p := range s.Holders {
		all = append(all, newListed(s, &p, w.machine))
	}
	return all
}

// ofInterest reports whether a socket is watched. The table does not tell a UDP client
// from a server: those on ephemeral ports are left out, unless a need declares the port.
func (w *watched) ofInterest(s host.Socket) bool {
	return s.Protocol != port.UDP || !w.ephemeral.Contains(s.Port) || w.needOn(s.Protocol, s.Port) != ""
}

// needOn returns the ID of the first need that declares a port.
func (w *watched) needOn(proto port.Protocol, n uint16) string {
	for _, x := range w.needs {
		if !x.Expect.Connects() && x.Ports.Contains(n) && slices.Contains(x.Protocols, proto) {
			return x.ID(proto)
		}
	}
	return ""
}

// nameHolders finds the holders of those of the listeners that are not known yet. Those
// of the others are known from before.
func (w *watched) nameHolders(ctx context.Context, parts []int, fresh []map[port.Endpoint]*watchedListener) error {
	wanted := map[port.Protocol]*port.Bits{}
	for _, part := range parts {
		for key, l := range fresh[part] {
			if was := w.parts[part][key]; was != nil && slices.Equal(was.sockets, l.sockets) {
				l.holders = was.holders
				continue
			}
			if wanted[key.Protocol] == nil {
				wanted[key.Protocol] = new(port.Bits)
			}
			wanted[key.Protocol].Add(key.Port)
		}
	}
	req := host.Request{ShowCommand: w.ShowCommand}
	for _, proto := range port.Protocols {
		for _, r := range rangesOf(wanted[proto]) {
			req.Tries = append(req.Tries, host.Try{Binding: port.Binding{Protocol: proto, Addresses: []port.Address{port.Any}}, Ports: r, Look: true})
		}
	}
	if len(req.Tries) == 0 {
		return nil
	}
	facts, err := w.ask(ctx, req)
	if err == nil {
		err = wholeTable(facts)
	}
	if err != nil {
		return unread(facts, err)
	}
	named := map[port.Endpoint][]Holder{}
	for _, s := range facts.Sockets {
		if s.State == host.Listen {
			named[keyOf(s)] = append(named[keyOf(s)], w.listedHolders(s)...)
		}
	}
	for _, part := range parts {
		for key, l := range fresh[part] {
			// One that is gone by now is known from the survey alone.
			if holders := named[key]; holders != nil && wanted[key.Protocol] != nil && wanted[key.Protocol].Has(key.Port) {
				if was := w.parts[part][key]; was == nil || !slices.Equal(was.sockets, l.sockets) {
					l.holders = holders
				}
			}
		}
	}
	return nil
}

// rangesOf returns the ports of a set as ranges.
func rangesOf(ports *port.Bits) port.Set {
	var all port.Set
	if ports == nil {
		return nil
	}
	for n := 1; n <= port.MaxPort; n++ {
		switch last := len(all) - 1; {
		case !ports.Has(uint16(n)):
		case last >= 0 && int(all[last].Last) == n-1:
			all[last].Last = uint16(n)
		default:
			all = append(all, port.One(uint16(n)))
		}
	}
	return all
}

// compare replaces the listeners of one part and returns the changes. It adds the ports
// with other sockets than before to changed: not each of them has an event.
func (w *watched) compare(part int, fresh map[port.Endpoint]*watchedListener, changed changedPorts, now time.Time) []Event {
	var events []Event
	add := func(kind EventKind, key port.Endpoint, holders, before []Holder) {
		events = append(events, Event{
			Version: 1, Time: now.UTC(), Target: w.Name, Event: kind, Protocol: key.Protocol, Address: listedAddress(key), Port: key.Port,
			Need: w.needOn(key.Protocol, key.Port), Holders: holders, Before: before,
		})
	}
	old := w.parts[part]
	for key, was := range old {
		if fresh[key] == nil {
			add(Freed, key, nil, was.holders)
			changed[socketKey{key.Protocol, key.Port}] = true
		}
	}
	for key, l := range fresh {
		was := old[key]
		otherSockets := was == nil || !slices.Equal(was.sockets, l.sockets)
		if otherSockets {
			changed[socketKey{key.Protocol, key.Port}] = true
		}
		switch {
		case was == nil:
			add(Taken, key, l.holders, nil)
		case otherHands(l.holders, was.holders), otherSockets && otherHands(was.holders, l.holders):
			add(Changed, key, l.holders, was.holders)
		case onlyUnseen(l.holders):
			l.holders = was.holders // the last that were seen
		}
	}
	w.parts[part] = fresh
	return events
}

// listedAddress returns the address of an endpoint with its device as a zone.
func listedAddress(e port.Endpoint) string {
	if e.Device == "" {
		return e.Addr.String()
	}
	return e.Addr.String() + "%" + e.Device
}

// otherHands reports whether it is known that another program, unit, container or user
// has a listener than before. One that shared it and does not any more is none.
func otherHands(holders, before []Holder) bool {
	now, then := newHands(), newHands()
	for _, h := range holders {
		now.add(h)
	}
	for _, h := range before {
		then.add(h)
	}
	return now.compare(then) == different
}

// onlyUnseen reports whether no process of a listener is known.
func onlyUnseen(holders []Holder) bool {
	return !slices.ContainsFunc(holders, func(h Holder) bool { return h.PID > 0 || h.Kernel })
}

// judge judges the needs on ports that have changed, or all of them, as `check` does: by
// binds with the options of their apps.
func (w *watched) judge(ctx context.Context, changed changedPorts, all bool, now time.Time) []Event {
	w.whole = all
	o := w.Options
	o.Alternatives, o.Candidates, o.Progress, o.Parallel = 0, 0, nil, 1
	var needs, connects []Need
	for _, n := range w.needs {
		switch {
		case n.Expect.Connects() && all:
			connects = append(connects, n)
		case all || n.concerned(changed):
			needs = append(needs, n)
		}
	}
	w.connecting.start(w.running, w.Target, connects, o)
	var events []Event
	if len(needs) > 0 {
		target := Target{Name: w.Name, Open: func(context.Context) (host.Host, error) { return borrowed{w.host}, nil }}
		report, err := Run(ctx, needs, []Target{target}, o)
		if err != nil {
			return nil // ctx has ended
		}
		events = w.take(report.Results, now)
	}
	events = append(events, w.take(w.connecting.take(ctx, w.connectTime(len(connects) > 0)), now)...)
	if len(needs)+len(connects) == 0 {
		return events
	}
	if all {
		w.judged = time.Now()
		if len(events) > 0 || w.pace == 0 {
			w.pace = w.Interval
		} else {
			w.pace = min(2*w.pace, slowestJudgement)
		}
		if !slices.ContainsFunc(w.verdicts, func(v watchedNeed) bool { return !v.result.OK }) {
			w.pace = slowestJudgement
		}
		w.pace = max(w.pace, w.Interval)
	}
	return events
}

// connectTime returns how long a round waits for connects, some of which it may have
// started.
func (w *watched) connectTime(started bool) time.Duration {
	switch {
	case w.last:
		return lastConnects
	case w.judged.IsZero():
		return firstConnects
	case started:
		return min(someConnects, w.Interval/2)
	}
	return 0
}

// concerned reports whether a listener on a port of the need has changed.
func (n Need) concerned(changed changedPorts) bool {
	if n.Expect.Connects() {
		return false
	}
	for key := range changed {
		inRange := n.Ports.Contains(key.port) || n.Auto && n.Range.Contains(key.port)
		if inRange && slices.Contains(n.Protocols, key.protocol) {
			return true
		}
	}
	return false
}

// take replaces verdicts by newer ones, and returns the needs that have become met or
// unmet. A need of which nothing is known for a while stays what it was.
func (w *watched) take(results []Result, now time.Time) []Event {
	byID := map[string]*watchedNeed{}
	for i := range w.verdicts {
		byID[w.verdicts[i].result.ID] = &w.verdicts[i]
	}
	var events []Event
	for _, r := range results {
		v := byID[r.ID]
		before := v.result.Holders
		v.result = r
		if r.Status == Unknown || v.known && v.met == r.OK {
			continue
		}
		kind := Unmet
		if r.OK {
			kind = Met
		}
		v.known, v.met, v.since = true, r.OK, now
		addresses := make([]string, len(r.Address))
		for i, a := range r.Address {
			addresses[i] = string(a)
		}
		events = append(events, Event{
			Version: 1, Time: now.UTC(), Target: w.Name, Event: kind, Protocol: r.Protocol, Address: cmp.Or(r.Remote, strings.Join(addresses, ",")), Port: r.Port,
			Need: r.ID, Holders: r.Holders, Before: before, Message: r.reason(),
		})
	}
	return events
}

// observation returns what a round has found out.
func (w *watched) observation(start, next time.Time, events []Event, err error) Observation {
	o := Observation{Target: w.Name, Time: start, Took: time.Since(start), Next: next, Events: events, Err: err, Changed: err == nil && w.changed, Notices: w.report.Notices, Listing: w.listing}
	if err == nil {
		o.Listeners = map[port.Protocol]int{}
		for _, proto := range port.Protocols {
			o.Listeners[proto] = 0
		}
		for _, part := range w.parts {
			for key := range part {
				o.Listeners[key.Protocol]++
			}
		}
	}
	for _, v := range w.verdicts {
		r := v.result
		if err != nil {
			r.Status, r.OK, r.Message = Unknown, false, "the target can't be asked: "+err.Error()
		}
		o.Results, o.Since = append(o.Results, r), append(o.Since, v.since)
	}
	return o
}

// listing returns all listeners as List does.
func (w *watched) listing() Listing {
	l := Listing{Version: 1, Targets: []TargetReport{w.report}, Sockets: []Holder{}}
	for _, part := range w.parts {
		for _, key := range slices.SortedFunc(maps.Keys(part), port.Endpoint.Compare) {
			l.Sockets = append(l.Sockets, part[key].holders...)
		}
	}
	return l
}
