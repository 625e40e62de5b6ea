package report

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/org/portcheck/check"
)

// EventLog writes events as lines of text. Changes of a port that flaps become one line
// with a count.
type EventLog struct {
	out     io.Writer
	options Options
	flaps   map[flapKey]*flap
	order   []flapKey
}

const (
	// flapWindow is the time over which the changes of a port are counted, and
	// fewChanges how many of them have lines of their own.
	flapWindow = time.Minute
	fewChanges = 3
)

// flapKey is what can flap: a listener or a need.
type flapKey struct{ target, subject string }

// flap is the changes of one port in a window.
type flap struct {
	start    time.Time
	changes  int
	held     int // of these, without a line of their own
	flapping bool
	last     check.Event
}

// NewEventLog returns a log that writes to out.
func NewEventLog(out io.Writer, o Options) *EventLog {
	return &EventLog{out: out, options: o, flaps: map[flapKey]*flap{}}
}

// Add writes the events of a round, and counts those of ports that flap.
func (l *EventLog) Add(events []check.Event) error {
	now := time.Now()
	if err := l.count(now, false); err != nil {
		return err
	}
	for _, e := range events {
		key := flapKey{e.Target, eventSubject(e)}
		f := l.flaps[key]
		if f == nil {
			f = &flap{start: now}
			l.flaps[key] = f
			l.order = append(l.order, key)
		}
		f.changes++
		f.last = e
		if f.flapping || f.changes > fewChanges {
			f.held++
			continue
		}
		if err := eventText(l.out, e, l.options); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what was counted and not yet written.
func (l *EventLog) Close() error { return l.count(time.Now(), true) }

// count writes a line for each port that flaps and whose window is over.
func (l *EventLog) count(now time.Time, all bool) error {
	var failed error
	l.order = slices.DeleteFunc(l.order, func(key flapKey) bool {
		f := l.flaps[key]
		age := now.Sub(f.start)
		if !all && age < flapWindow {
			return false
		}
		if f.held == 0 {
			delete(l.flaps, key)
			return true
		}
		failed = firstError(failed, l.writeCount(f, age))
		*f = flap{start: now, flapping: true, last: f.last}
		return false
	})
	return failed
}

func (l *EventLog) writeCount(f *flap, age time.Duration) error {
	state := "now " + Safe(string(f.last.Event))
	switch {
	case f.last.OfNeed():
		state += ": " + sentence(f.last.Message)
	case f.last.Event != check.Freed:
		state += " by " + holdersText(f.last.Holders)
	}
	_, err := fmt.Fprintf(l.out, "%sflaps %s: %d changes in %s, %s\n", eventStart(f.last.Time, f.last.Target, l.options), eventSubject(f.last), f.changes, age.Round(time.Second), state)
	return err
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
