package cli

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/report"
)

func TestBarFitsTheLine(t *testing.T) {
	now := time.Now()
	bar := func(slowest string) *progress {
		p := &progress{targets: 200, done: 81, failing: 3}
		for _, v := range []runningTarget{{"gone", now.Add(-time.Hour), true}, {slowest, now.Add(-12 * time.Second), false}, {"app18", now, true}} {
			p.running = append(p.running, &v)
		}
		return p
	}
	for columns, want := range map[int]string{
		119: "[========------------] 81/200 done, 3 failing, 2 waiting, slowest app17 12s",
		79:  "[====------] 81/200 done, 3 failing, 2 waiting, slowest app17 12s",
		100: "[========------------] 81/200 done, 3 failing, 2 waiting, slowest app17 12s",
		99:  "[====------] 81/200 done, 3 failing, 2 waiting, slowest app17 12s",
		68:  "[====------] 81/200 done, 3 failing, 2 waiting, slowest app17 12s",
		67:  "[====------] 81/200 done, 3 failing, 2 waiting",
		50:  "[====------] 81/200 done, 3 failing, 2 waiting",
		49:  "81/200 done, 3 failing, 2 waiting",
		20:  "81/200 done, 3 fa...",
		2:   "..",
		0:   "",
	} {
		if got := bar("app17").line(now, columns); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
	for _, name := range []string{strings.Repeat("long-name-", 30), strings.Repeat("日本語", 30), "\x1b[2J\r\nx", "a\u0301\u202e"} {
		for columns := range 150 {
			line := bar(name).line(now, columns)
			if report.Fit(line, columns) != line || report.Safe(line) != line {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
	}
}

func TestBarNamesAWaitingTargetOnlyIfAllWait(t *testing.T) {
	now := time.Now()
	p := &progress{targets: 3, done: 1, running: []*runningTarget{{"app1", now.Add(-90 * time.Second), true}, {"app2", now, true}}}
	if got, want := p.line(now, 79), "[===-------] 1/3 done, 2 waiting, slowest app1 90s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p = &progress{targets: 3, done: 3}
	if got, want := p.line(now, 79), "[==========] 3/3 done"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLogLines(t *testing.T) {
	var stderr bytes.Buffer
	p := (&app{stderr: &stderr}).startProgress(4)
	defer p.close()
	for _, target := range []string{"app1", "app2", "app3", "a\n::error::x"} {
		p.Started(target)
	}
	p.Done("app1", check.Summary{Checked: 7, OK: 3, Errors: 1, Warnings: 2, Unknown: 1}, nil)
	p.Done("app2", check.Summary{Checked: 2, Unknown: 2}, errors.New("connect: connection refused"))
	p.Done("app3", check.Summary{Checked: 2, OK: 1, Unknown: 1}, errors.New("the probe ended")) // while one need waited
	p.Waiting(check.Result{Name: "web\r", Target: "a\n::error::x", Message: "in use by \x1b[2J"}, time.Minute)
	p.Done("a\n::error::x", check.Summary{Checked: 1, Unknown: 1}, errors.New("said \n##[add-mask]80"+strings.Repeat("x", 5000)))
	want := []string{
		`portcheck: app1: 3 ok, 1 conflict, 2 warnings, 1 unknown (0.0s)`,
		`portcheck: app2: can't be reached: connect: connection refused (0.0s)`,
		`portcheck: app3: 1 ok, 1 unknown (0.0s)`,
		`portcheck: waiting up to 1m0s for web\r@a\n::error::x: in use by \x1b[2J`,
		`portcheck: a\n::error::x: can't be reached: said \n#\x23[add-mask]80xxx... (0.0s)`,
	}
	got := regexp.MustCompile(`x{100,}`).ReplaceAllString(stderr.String(), "xxx")
	if got != strings.Join(want, "\n")+"\n" {
		t.Errorf("got\n%swant\n%s", got, strings.Join(want, "\n"))
	}
}
