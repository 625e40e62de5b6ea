package report

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/org/portcheck/check"
)

// EventLog writes events as lines of text. When a port flaps, its further changes are
// gathered: they become one line with their number. Each change is in one line, or in
// the number of one.
type EventLog struct {
	out     io.Writer
	options Options
	window  time.Duration // after fewChanges in this time, the next one is gathered
	settled time.Duration // a port that rests for so long does not flap
	flaps   map[flapKey]*flap
	order   []flapKey
}

const (
	fewChanges = 3
	// leastWindow and leastSettled hold for short intervals. For longer ones it is a
	// number of rounds.
	leastWindow  = 10 * time.Second
	leastSettled = 2 * time.Second
	// slowestFlaps is how often a port that never rests has a line.
	slowestFlaps = time.Minute
)

// flapKey is what can flap: a listener or a need.
type flapKey struct{ target, subject string }

// flap is the latest changes of a listener or a need.
type flap struct {
	recent   []time.Time // the rounds of the last changes, fewChanges at most
	gathered int         // changes that no line has told yet
	first    time.Time   // the round of the first of these
	last     check.Event // of these
}

// NewEventLog returns a log of a watch with an interval, which writes to out.
func NewEventLog(out io.Writer, interval time.Duration, o Options) *EventLog {
	return &EventLog{
		out: out, options: o, window: max(leastWindow, 5*interval), settled: max(leastSettled, 2*interval),
		flaps: map[flapKey]*flap{},
	}
}

// Add writes the events of a round. Before these it writes what was gathered for the
// ports that have settled. Lines of one target are in the order of their times.
func (l *EventLog) Add(x check.Observation) error {
	if x.Err != nil {
		return nil // whether a port rests is not known
	}
	changing := map[flapKey]bool{}
	for _, e := range x.Events {
		changing[keyOfFlap(e)] = true
	}
	if err := l.settle(x, changing); err != nil {
		return err
	}
	for _, e := range x.Events {
		if err := l.add(e, x.Time); err != nil {
			return err
		}
	}
	return nil
}

func keyOfFlap(e check.Event) flapKey { return flapKey{e.Target, eventSubject(e)} }

// settle writes what was gathered for the ports that have settled, and forgets those
// that have changed long ago.
func (l *EventLog) settle(x check.Observation, changing map[flapKey]bool) error {
	var failed error
	l.order = slices.DeleteFunc(l.order, func(key flapKey) bool {
		f := l.flaps[key]
		age := x.Time.Sub(f.recent[len(f.recent)-1])
		if failed != nil || key.target != x.Target || changing[key] {
			return false
		}
		if f.gathered > 0 && age >= l.settled {
			failed = l.writeGathered(f, x.Time)
		}
		if f.gathered > 0 || age < l.window {
			return false
		}
		delete(l.flaps, key)
		return true
	})
	return failed
}

// add writes an event of a round, or gathers it. Times of rounds are compared: they have
// readings of the monotonic clock, which those of events have not.
func (l *EventLog) add(e check.Event, round time.Time) error {
	key := keyOfFlap(e)
	f := l.flaps[key]
	if f == nil {
		f = &flap{}
		l.flaps[key] = f
		l.order = append(l.order, key)
	}
	flaps := f.gathered > 0 || len(f.recent) == fewChanges && round.Sub(f.recent[0]) < l.window
	if len(f.recent) == fewChanges {
		f.recent = append(f.recent[:0], f.recent[1:]...)
	}
	f.recent = append(f.recent, round)
	if !flaps {
		return eventText(l.out, e, l.options)
	}
	if f.gathered == 0 {
		f.first = round
	}
	f.gathered++
	f.last = e
	if round.Sub(f.first) < slowestFlaps {
		return nil
	}
	return l.writeGathered(f, e.Time)
}

// Close writes what was gathered and not yet written.
func (l *EventLog) Close() error {
	now := time.Now()
	for _, key := range l.order {
		if f := l.flaps[key]; f.gathered > 0 {
			if err := l.writeGathered(f, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeGathered writes a line for the gathered changes of a port: their number, when
// the last one was, and that one.
func (l *EventLog) writeGathered(f *flap, now time.Time) error {
	changes := "1 more change"
	if f.gathered > 1 {
		changes = fmt.Sprintf("%d more changes", f.gathered)
	}
	f.gathered = 0
	_, err := fmt.Fprintf(l.out, "%sflaps %s: %s until %s, now %s%s\n", eventStart(now, f.last.Target, l.options), eventSubject(f.last),
		changes, eventTime(f.last.Time), Safe(string(f.last.Event)), eventDetails(f.last))
	return err
}
