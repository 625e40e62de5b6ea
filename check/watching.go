package check

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Watching is what the rounds of a watch have found out so far. Its methods may be
// called at the same time.
type Watching struct {
	mu      sync.Mutex
	tool    string
	targets []WatchedTarget
}

// WatchedTarget is the state of one target. Of its last Observation it has no events.
type WatchedTarget struct {
	Observation
	Rounds int
	Failed int // rounds in which nothing could be found out
	Counts map[EventKind]int
	// Anomalies counts what differs from a baseline. It is nil if there is none, or if
	// the listeners are not known.
	Anomalies map[ChangeKind]int
	Down      time.Time // since when nothing can be found out; zero if it can
}

// NewWatching returns the state before the first round.
func NewWatching(tool string, needs []Need, targets []Target) *Watching {
	w := &Watching{tool: tool}
	for _, t := range targets {
		state := WatchedTarget{Observation: Observation{Target: t.Name, Next: time.Now()}, Counts: map[EventKind]int{}}
		for _, v := range unjudged(needs, t.Name) {
			state.Results, state.Since = append(state.Results, v.result), append(state.Since, v.since)
		}
		w.targets = append(w.targets, state)
	}
	return w
}

// Add adds what a round has found out, and returns the target's state before. It calls
// anomalies if the listeners may be others than in the round before.
func (w *Watching) Add(o Observation, anomalies func(Listing) map[ChangeKind]int) (before WatchedTarget) {
	var compared map[ChangeKind]int
	changed := o.Err == nil && (w.down(o.Target) || o.Changed)
	if changed {
		compared = anomalies(o.Listing()) // not while others wait for the lock
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.targets, func(t WatchedTarget) bool { return t.Target == o.Target })
	t := &w.targets[i]
	before = *t
	t.Counts = maps.Clone(t.Counts) // Targets may have returned it
	for _, e := range o.Events {
		t.Counts[e.Event]++
	}
	if changed || o.Err != nil {
		t.Anomalies = compared
	}
	o.Events, o.Listing = nil, nil
	t.Observation = o
	t.Rounds++
	if o.Err == nil {
		t.Down = time.Time{}
		return before
	}
	t.Failed++
	if t.Down.IsZero() {
		t.Down = o.Time
	}
	return before
}

// down reports whether a target's listeners are not known.
func (w *Watching) down(target string) bool {
	return slices.ContainsFunc(w.Targets(), func(t WatchedTarget) bool { return t.Target == target && (t.Rounds == 0 || t.Err != nil) })
}

// Targets returns the states of all targets.
func (w *Watching) Targets() []WatchedTarget {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.targets)
}

// Report returns the results of all needs as they are known now.
func (w *Watching) Report() Report {
	report := Report{Version: 1, Tool: w.tool}
	for _, t := range w.Targets() {
		report.Results = append(report.Results, t.Results...)
	}
	report.Finish()
	return report
}

// Asked reports whether every target had a round.
func (w *Watching) Asked() bool {
	return !slices.ContainsFunc(w.Targets(), func(t WatchedTarget) bool { return t.Rounds == 0 })
}

// Late returns how late the next round of a target is, of the latest one.
func (w *Watching) Late() (target string, late time.Duration) {
	for _, t := range w.Targets() {
		if d := time.Since(t.Next); d > late {
			target, late = t.Target, d
		}
	}
	return target, late
}
