package report

import (
	"bytes"
	"io"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// Metrics writes what a watch has found out in Prometheus' text format. The gauges of
// needs are those of the format prometheus.
func Metrics(w io.Writer, watching *check.Watching, now time.Time) error {
	var b bytes.Buffer
	if err := prometheus(&b, watching.Report(), Options{}); err != nil {
		return err
	}
	since := gauge{name: "portcheck_need_since_seconds", help: "Unix time at which the need became met or unmet. It is left out until that is known."}
	up := gauge{name: "portcheck_up", help: "Whether the last round could find out what listens on the target (1) or not (0)."}
	listeners := gauge{name: "portcheck_listeners", help: "Listening sockets by protocol, those with the same address and port counted once. They are left out while nothing can be found out."}
	anomalies := gauge{name: "portcheck_anomalies", help: "Listeners that differ from the baseline and that nothing explains, by kind. They are left out without a baseline, and while nothing can be found out."}
	took := gauge{name: "portcheck_round_duration_seconds", help: "How long the last round took."}
	last := gauge{name: "portcheck_round_timestamp_seconds", help: "Unix time at which the last round started."}
	rounds := gauge{name: "portcheck_rounds_total", help: "Rounds since the start.", kind: "counter"}
	failed := gauge{name: "portcheck_round_errors_total", help: "Rounds in which nothing could be found out.", kind: "counter"}
	events := gauge{name: "portcheck_events_total", help: "Changes of listeners and needs since the start.", kind: "counter"}
	for _, t := range watching.Targets() {
		target := []label{{"target", t.Target}}
		for i, r := range t.Results {
			if !t.Since[i].IsZero() {
				since.addMinOf(needLabels(r), unixTime(now, t.Since[i]))
			}
		}
		rounds.addMin(target, t.Rounds)
		failed.addMin(target, t.Failed)
		for _, kind := range check.EventKinds {
			events.addMin([]label{{"target", t.Target}, {"event", string(kind)}}, t.Counts[kind])
		}
		up.addMin(target, oneIf(t.Rounds > 0 && t.Err == nil))
		if t.Rounds == 0 {
			continue
		}
		took.addMinOf(target, t.Took.Seconds())
		last.addMinOf(target, unixTime(now, t.Time))
		for _, kind := range check.ChangeKinds {
			if n, counted := t.Anomalies[kind]; counted {
				anomalies.addMin([]label{{"target", t.Target}, {"kind", string(kind)}}, n)
			}
		}
		if t.Listeners == nil {
			continue
		}
		for _, proto := range port.Protocols {
			listeners.addMin([]label{{"target", t.Target}, {"protocol", string(proto)}, {"state", "listen"}}, t.Listeners[proto])
		}
	}
	for _, g := range []gauge{since, up, listeners, anomalies, took, last, rounds, failed, events} {
		g.write(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// unixTime returns a time in seconds, by the clock as it is set now: it may have been
// set to another time since.
func unixTime(now, at time.Time) float64 {
	return float64(now.Add(-now.Sub(at)).UnixMilli()) / 1000 // Sub uses the monotonic clock
}
