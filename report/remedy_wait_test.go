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
		r.Source.File = "--port"
		if got, want := hints(r)[0].Text, "leave this `-p` out if another need is for the same app; else "+want; got != want {
			t.Errorf("%d of flags: %s, want %s", rivals, got, want)
		}
	}
}

func TestAdviceForAnUnknownUser(t *testing.T) {
	root, user := 0, 1000
	flag, file := config.Position{File: "--port"}, config.Position{File: "a.yml", Line: 1}
	for _, c := range []struct {
		op, os  string
		uid     *int
		at      config.Position
		compose bool
		want    string
	}{
		{"look up user", "linux", &root, flag, false, "name a user that the target has, or its number, in `--run-as`; "},
		{"look up user", "linux", &root, file, false, "name a user that the target has, or its number, in `run_as: USER` or `--run-as`; "},
		{"look up user", "linux", &root, file, true, "name a user that the target has, or its number, in `x-portcheck: {run_as: USER}` or `--run-as`; "},
		{"setresuid", "linux", &user, flag, false, "run portcheck as root, which can try a port as another user, or leave `--run-as` out; "},
		{"setresuid", "linux", &root, file, false, "give portcheck CAP_SETUID and CAP_SETGID, or leave `run_as: USER` or `--run-as` out; "},
		{"setresuid: EINVAL", "linux", &root, flag, false, "run portcheck outside of its user namespace (a rootless container or `unshare -U`), name a user that it has, or leave `--run-as` out; "},
		{"setresuid", "darwin", &user, flag, false, "run portcheck as that user: only on Linux it can try a port as another one, or leave `--run-as` out; "},
	} {
		op, errno, _ := strings.Cut(c.op, ": ")
		r := check.Result{Status: check.Unknown, Method: check.Bind, Endpoints: []check.Endpoint{{Op: op, Errno: errno}}, Source: c.at, Compose: c.compose, OS: c.os, UID: c.uid}
		if got := hints(r)[0].Text; !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
