package report

import (
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// The advice after a wait is a longer one.
func TestAdviceAfterAWait(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		0:                "use `--wait 30s`",
		2 * time.Second:  "use `--wait 30s`, since 2s was not enough",
		30 * time.Second: "use `--wait 1m`, since 30s was not enough",
		time.Hour:        "use `--wait 2h`, since 1h was not enough",
		90 * time.Minute: "use `--wait 3h`, since 1h30m was not enough",
		20 * time.Hour:   "use `--wait 24h`, since 20h was not enough",
	} {
		r := check.Result{Protocol: "tcp", Port: 8080, Status: check.NotListening, Wait: wait, Source: config.Position{File: "--port"}}
		if got := hints(r)[0].Text; !strings.HasSuffix(got, "; if it takes a while to start, "+want) {
			t.Errorf("%s: %s, want %s", wait, got, want)
		}
	}
}

func TestAdviceForRivals(t *testing.T) {
	for rivals, want := range map[int]string{
		1: "give one of the two needs another port: only one app at a time can bind this one",
		3: "give all but one of the 4 needs another port: only one app at a time can bind this one",
	} {
		r := check.Result{Status: check.Free, Rivals: rivals, Notices: []check.Notice{{Code: config.Duplicate}}}
		if got := hints(r)[0].Text; got != want {
			t.Errorf("%d: %s, want %s", rivals, got, want)
		}
	}
}

func TestAdviceForAnUnknownUser(t *testing.T) {
	r := check.Result{Status: check.Unknown, Method: check.Bind, Endpoints: []check.Endpoint{{Op: "look up user"}}, Source: config.Position{File: "--port"}}
	if got := hints(r)[0].Text; !strings.HasPrefix(got, "name a user that the target has, or its number, in `run_as: USER` or `--run-as`; ") {
		t.Error(got)
	}
}
