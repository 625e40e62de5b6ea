package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

const hostileName = "a\n::error::x\x1b[2J\u202e##[add-mask]\"}\\ 1"

func hostileEvent(kind check.EventKind) check.Event {
	holder := check.Holder{Address: "::", Port: 80, State: "listen", PID: 7, Process: hostileName, User: hostileName, Unit: hostileName}
	return check.Event{
		Version: 1, Time: time.Now(), Target: hostileName, Event: kind, Protocol: port.TCP, Address: hostileName, Port: 80, Need: hostileName,
		Holders: []check.Holder{holder}, Before: []check.Holder{holder}, Message: hostileName,
	}
}

// TestEventsAreOneSafeLine writes hostile names in each format of each event.
func TestEventsAreOneSafeLine(t *testing.T) {
	for name, format := range EventFormats {
		for _, kind := range check.EventKinds {
			var b bytes.Buffer
			if err := format(&b, hostileEvent(kind), Options{Targets: true}); err != nil {
				t.Fatal(err)
			}
			text, ended := strings.CutSuffix(b.String(), "\n")
			if !ended || strings.ContainsAny(text, "\n\r\x1b\u202e") || strings.Contains(text, "##[") {
				t.Errorf("%s of %s: %q", name, kind, text)
			}
			if name == "json" && !json.Valid([]byte(text)) {
				t.Errorf("%s: %s", kind, text)
			}
		}
	}
}

// TestTimesOfEventsSortAsText checks that a time has as many digits as every other.
func TestTimesOfEventsSortAsText(t *testing.T) {
	start := time.Date(2026, 11, 28, 12, 0, 40, 0, time.FixedZone("", 3600))
	for after, want := range map[time.Duration]string{
		0: "2026-11-28T11:00:40.000Z", 100 * time.Millisecond: "2026-11-28T11:00:40.100Z", 999999 * time.Microsecond: "2026-11-28T11:00:40.999Z",
	} {
		e := hostileEvent(check.Taken)
		e.Time = start.Add(after)
		var b bytes.Buffer
		if err := EventFormats["json"](&b, e, Options{}); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(b.String(), `{"version":1,"time":"`+want+`","target":`) {
			t.Errorf("no %s in %s", want, &b)
		}
	}
}

// TestMetricsAreSafe checks that each line of the metrics is a comment or a sample, and
// that what is not known is left out.
func TestMetricsAreSafe(t *testing.T) {
	state := check.NewWatching("test", nil, []check.Target{{Name: hostileName}})
	sample := regexp.MustCompile(`^[a-z_]+(\{([a-z]+="([^"\\]|\\["\\])*",?)+\})? [-+.e\d]+$`)
	metrics := func() string {
		var b bytes.Buffer
		if err := Metrics(&b, state, time.Now()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "# ") && !sample.MatchString(line) {
				t.Errorf("%q", line)
			}
		}
		return b.String()
	}
	if text := metrics(); strings.Contains(text, "portcheck_listeners") || !strings.Contains(text, "portcheck_up{") {
		t.Errorf("before the first round:\n%s", text)
	}
	none := func(check.Listing) map[check.ChangeKind]int { return map[check.ChangeKind]int{check.Appeared: 2} }
	round := check.Observation{
		Target: hostileName, Time: time.Now(), Events: []check.Event{hostileEvent(check.Taken)}, Listeners: map[port.Protocol]int{port.TCP: 3},
		Results: []check.Result{{ID: hostileName, Status: check.InUse}}, Since: []time.Time{time.Now()}, Listing: func() check.Listing { return check.Listing{} },
	}
	state.Add(round, none)
	if text := metrics(); !strings.Contains(text, `protocol="tcp",state="listen"} 3`) || !strings.Contains(text, `kind="appeared"} 2`) || !strings.Contains(text, `event="taken"} 1`) {
		t.Errorf("after a round:\n%s", text)
	}
	round.Err, round.Listeners = errors.New(hostileName), nil
	state.Add(round, none)
	if text := metrics(); strings.Contains(text, "portcheck_listeners") || strings.Contains(text, "portcheck_anomalies") || !strings.Contains(text, "portcheck_round_errors_total{") {
		t.Errorf("while nothing is known:\n%s", text)
	}
}

// TestUnixTimeFollowsTheClock checks that a time is said by the clock as it is set now.
func TestUnixTimeFollowsTheClock(t *testing.T) {
	at := time.Now()
	if got, want := unixTime(at.Add(time.Hour), at), float64(at.UnixMilli())/1000; got < want-0.002 || got > want+0.002 {
		t.Errorf("%f, want %f", got, want)
	}
}

// flapRun is an EventLog with rounds of a second, and what it was given.
type flapRun struct {
	t     *testing.T
	out   bytes.Buffer
	log   *EventLog
	now   time.Time
	given int
}

func newFlapRun(t *testing.T, interval time.Duration) *flapRun {
	f := &flapRun{t: t, now: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
	f.log = NewEventLog(&f.out, interval, Options{})
	return f
}

// round adds a round with events, and returns the lines that this writes.
func (f *flapRun) round(after time.Duration, events ...check.Event) string {
	f.t.Helper()
	f.now = f.now.Add(after)
	for i := range events {
		events[i].Time = f.now.Add(time.Millisecond)
	}
	f.given += len(events)
	written := f.out.Len()
	if err := f.log.Add(check.Observation{Target: "local", Time: f.now, Events: events}); err != nil {
		f.t.Fatal(err)
	}
	return f.out.String()[written:]
}

// check checks that each change is in a line or counted in one, and that the lines are
// in the order of their times.
func (f *flapRun) check() {
	f.t.Helper()
	if err := f.log.Close(); err != nil {
		f.t.Fatal(err)
	}
	told, last := 0, ""
	more := regexp.MustCompile(`: (\d+) more changes? until `)
	for line := range strings.Lines(f.out.String()) {
		if at, _, _ := strings.Cut(line, " "); at < last {
			f.t.Errorf("%q is after a line of %s", line, last)
		} else {
			last = at
		}
		n := 1
		if counted := more.FindStringSubmatch(line); counted != nil {
			n, _ = strconv.Atoi(counted[1])
		}
		told += n
	}
	if told != f.given {
		f.t.Errorf("%d changes are told of %d:\n%s", told, f.given, &f.out)
	}
}

// flapEvents returns the events of a listener that a process takes, and that it frees.
func flapEvents(at uint16, process string) (taken, changed, freed check.Event) {
	e := check.Event{Target: "local", Protocol: port.TCP, Address: "::", Port: at}
	by := []check.Holder{{Process: process, PID: 7}}
	taken, changed, freed = e, e, e
	taken.Event, changed.Event, freed.Event = check.Taken, check.Changed, check.Freed
	taken.Holders, changed.Holders, freed.Before = by, by, by
	changed.Before = []check.Holder{{Process: "nginx", PID: 6}}
	return taken, changed, freed
}

// TestFlapsThatSettle checks that whoever takes a port that flaps, and stays, has a line
// as soon as the port rests.
func TestFlapsThatSettle(t *testing.T) {
	f := newFlapRun(t, 100*time.Millisecond)
	taken, _, freed := flapEvents(80, "python3")
	_, stranger, _ := flapEvents(80, "stranger")
	other, _, _ := flapEvents(81, "nginx")
	for i, e := range []check.Event{taken, freed, taken} {
		if text := f.round(100*time.Millisecond, e); strings.Count(text, "\n") != 1 || strings.Contains(text, "flaps") {
			t.Errorf("change %d: %q", i, text)
		}
	}
	for i, e := range []check.Event{freed, taken, stranger} {
		if text := f.round(100*time.Millisecond, e); text != "" {
			t.Errorf("change %d of a port that flaps: %q", i, text)
		}
	}
	if text := f.round(time.Second, other); !strings.Contains(text, " taken tcp [::]:81 by nginx") {
		t.Errorf("another port: %q", text)
	}
	const want = "2026-11-28T12:00:02Z flaps tcp [::]:80: 3 more changes until 2026-11-28T12:00:00Z, now changed by stranger (pid 7), was nginx (pid 6)\n"
	if text := f.round(time.Second + time.Millisecond); text != want {
		t.Errorf("%q", text)
	}
	if text := f.round(time.Second); text != "" {
		t.Errorf("told twice: %q", text)
	}
	// Later it is a port like any other.
	if text := f.round(10*time.Second, freed); !strings.Contains(text, " freed tcp [::]:80, was python3") {
		t.Errorf("%q", text)
	}
	f.check()
	if len(f.log.flaps) != 1 {
		t.Errorf("%d ports are remembered, want one", len(f.log.flaps))
	}
}

// TestFlapsThatNeverRest checks that there is a line each minute, and none while the
// target can't be asked.
func TestFlapsThatNeverRest(t *testing.T) {
	f := newFlapRun(t, time.Second)
	taken, _, _ := flapEvents(80, "python3")
	for range 3 {
		f.round(time.Second, taken)
	}
	var lines []int
	for i := range 150 {
		if f.round(time.Second, taken) != "" {
			lines = append(lines, i)
		}
	}
	if !slices.Equal(lines, []int{60, 121}) {
		t.Errorf("lines after seconds %v", lines)
	}
	written := f.out.Len()
	if err := f.log.Add(check.Observation{Target: "local", Time: f.now.Add(time.Minute), Err: errors.New("unreachable")}); err != nil || f.out.Len() > written {
		t.Errorf("%v, %s", err, f.out.String()[written:])
	}
	if text := f.round(2 * time.Minute); !strings.Contains(text, ": 28 more changes until 2026-11-28T12:02:33Z, now taken by python3") {
		t.Errorf("%q", text)
	}
	f.check()
}

// TestFlapsWhenTheClockIsSet checks that changes are gathered for no longer, and that a
// port flaps no sooner, because the clock is set. Only the times of rounds are steady then.
func TestFlapsWhenTheClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		f := newFlapRun(t, time.Second)
		round := func(after, ahead time.Duration, changes int) int {
			f.now = f.now.Add(after)
			var events []check.Event
			for range changes {
				e, _, _ := flapEvents(80, "python3")
				e.Time = f.now.Add(ahead)
				events = append(events, e)
			}
			written := f.out.Len()
			if err := f.log.Add(check.Observation{Target: "local", Time: f.now, Events: events}); err != nil {
				t.Fatal(err)
			}
			return strings.Count(f.out.String()[written:], "\n")
		}
		if n := round(time.Second, 0, 5); n != 3 {
			t.Errorf("%s: %d lines of 5 changes", step, n)
		}
		if n := round(time.Second, step, 1); n != 0 {
			t.Errorf("%s: %d lines while it flaps", step, n)
		}
		if n := round(time.Second, step, 0); n != 0 {
			t.Errorf("%s: %d lines after a second of rest", step, n)
		}
		if n := round(time.Second, step, 0); n != 1 {
			t.Errorf("%s: %d lines when it rests", step, n)
		}
		if n := round(time.Minute, 0, 3); n != 3 {
			t.Errorf("%s: %d lines of 3 changes later", step, n)
		}
	}
}

// TestSlowChangesDoNotFlap checks that a port which changes every other round has a line
// for each change, whatever the interval is.
func TestSlowChangesDoNotFlap(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, time.Minute} {
		f := newFlapRun(t, interval)
		taken, _, _ := flapEvents(80, "python3")
		for range 20 {
			if text := f.round(max(2*interval, 4*time.Second), taken); !strings.Contains(text, " taken tcp") {
				t.Errorf("%s: %q", interval, text)
			}
		}
		f.check()
	}
}

// TestEachChangeIsToldOnce adds changes of all kinds at random times.
func TestEachChangeIsToldOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	f := newFlapRun(t, 100*time.Millisecond)
	for range 5000 {
		var events []check.Event
		for at := range uint16(5) {
			if random.IntN(10) == 0 {
				taken, changed, freed := flapEvents(80+at, "python3")
				need := check.Event{Target: "local", Event: check.Unmet, Need: "web", Message: "in use"}
				events = append(events, []check.Event{taken, changed, freed, need}[random.IntN(4)])
			}
		}
		after := 100 * time.Millisecond
		if random.IntN(50) == 0 {
			after = time.Duration(random.IntN(20)) * time.Second
		}
		f.round(after, events...)
	}
	f.check()
	if flaps := strings.Count(f.out.String(), " flaps "); flaps < 100 {
		t.Errorf("%d lines of ports that flap", flaps)
	}
}
