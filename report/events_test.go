package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
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

// TestFlaps checks the lines of a port that changes every second for two minutes and then
// rests.
func TestFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := NewEventLog(&b, Options{})
		add := func(events ...check.Event) {
			if err := log.Add(events); err != nil {
				t.Fatal(err)
			}
		}
		e := check.Event{Target: "local", Event: check.Taken, Protocol: port.TCP, Address: "::", Port: 80}
		for range 150 {
			add(e)
			time.Sleep(time.Second)
		}
		for range 200 {
			add()
			time.Sleep(time.Second)
		}
		other := e
		other.Port = 81
		add(e, other)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(b.String()) {
			got = append(got, strings.Join(strings.Fields(line)[1:6], " "))
		}
		want := []string{
			"taken tcp [::]:80 by an", "taken tcp [::]:80 by an", "taken tcp [::]:80 by an",
			"flaps tcp [::]:80: 60 changes", "flaps tcp [::]:80: 60 changes", "flaps tcp [::]:80: 30 changes",
			"taken tcp [::]:80 by an", "taken tcp [::]:81 by an",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q", got)
		}
	})
}
