package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// TestTheCauseOfATargetIsSaidOnce checks that the text says once why a target failed,
// with the needs that could not be checked for it.
func TestTheCauseOfATargetIsSaidOnce(t *testing.T) {
	const reason = "connect: 192.0.2.1:22: connection\x1b refused"
	r := check.Report{Targets: []check.TargetReport{
		{Name: "app1", Notices: []check.Notice{{Code: "degraded", Message: reason}}},
		{Name: "app2", Notices: []check.Notice{{Code: "degraded", Message: reason}}},
	}}
	for i := range 15 {
		for _, target := range []string{"app1", "app2"} {
			x := check.Result{
				Name: fmt.Sprintf("n%d", i), Target: target, Protocol: "tcp", Status: check.Unknown, Severity: config.SeverityError,
				Message: "tcp 80 could not be checked: " + reason,
			}
			x.ID = x.Name + "@" + x.Target + "/tcp"
			switch i {
			case 1:
				x.Message = "tcp 80 could not be checked: of its own"
			case 2:
				x.Severity = config.SeverityWarning
			}
			r.Results = append(r.Results, x)
		}
	}
	for _, width := range []int{0, 100} {
		got := inAllFormats(t, r, Options{Width: width})["text"]
		got = strings.Join(strings.Fields(got), " ")
		for want, count := range map[string]int{
			`error: n0@app1: tcp 80 could not be checked: connect: 192.0.2.1:22: connection\x1b refused [unknown]`:                                  1,
			`error: n0@app2: tcp 80 could not be checked: connect: 192.0.2.1:22: connection\x1b refused [unknown]`:                                  1,
			"n1@app1: tcp 80 could not be checked: of its own":                                                                                      1,
			"for the same reason not checked on app1: n3/tcp, n4/tcp, n5/tcp, n6/tcp, n7/tcp, n8/tcp, n9/tcp, n10/tcp, n11/tcp, n12/tcp and 2 more": 1,
			"warning: n2@app2: ": 1,
			"refused":            4, // error and warning of each
		} {
			if strings.Count(got, want) != count {
				t.Errorf("width %d: want %d times %q:\n%s", width, count, want, got)
			}
		}
	}
}

// TestConflictsAreShort checks that a conflict has at most three lines, whatever holds
// the port, and that what several results have in common is there once.
func TestConflictsAreShort(t *testing.T) {
	for name, r := range cases() {
		if name == "command" || len(r.Results) != 1 {
			continue // with --show-command there are more
		}
		out := inAllFormats(t, r, Options{})["text"]
		lines := 0
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, indent) {
				lines++
			} else {
				lines = 1
			}
			if lines > 3 {
				t.Errorf("%s: a conflict of more than three lines:\n%s", name, out)
			}
		}
	}
}

func TestHolderOfSeveralNeedsIsSaidOnce(t *testing.T) {
	r := check.Report{Results: []check.Result{results()["in-use"], results()["in-use"], results()["in-use"]}}
	for i, name := range []string{"web", "api", "admin"} {
		x := &r.Results[i]
		x.Name, x.ID = name, "shop/"+name+"@local/tcp"
		x.Alternatives = []uint16{20000, 20001, 20002}
		x.Notices = []check.Notice{{Code: config.NoIPv6, Message: "this host has no IPv6"}}
	}
	r.Finish()
	out := inAllFormats(t, r, Options{})["text"]
	for text, want := range map[string]int{
		"systemctl stop nginx.service": 1, "see web\n": 2, "this host has no IPv6": 1, "the same for api, admin\n": 1,
		"free ports for all that can move: --set web=20000 --set api=20001 --set admin=20002\n3 ports checked": 1,
	} {
		if got := strings.Count(out, text); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, want, out)
		}
	}
	r.Results[1].ID, r.Results[1].Name = "blog/web@local/tcp", "web"
	r.Results[1].Source.File = "blog.yml"
	if out := inAllFormats(t, r, Options{})["text"]; !strings.Contains(out, "--set shop/web=20000 --set blog/web=20001 --set admin=20002\n") ||
		strings.Count(out, "see portcheck.yml:6:11\n") != 1 || strings.Count(out, "see shop/web\n") != 1 {
		t.Errorf("needs of one name:\n%s", out)
	}
}

// TestStrangerOfAConflictIsSaidOnce checks that a wrong owner and a conflict on its port
// say once how to stop it.
func TestStrangerOfAConflictIsSaidOnce(t *testing.T) {
	r := check.Report{Results: []check.Result{results()["wrong-owner"], results()["in-use"]}}
	for i, name := range []string{"web", "api"} {
		x := &r.Results[i]
		x.Name, x.ID, x.Holders = name, "shop/"+name+"@local/tcp", []check.Holder{nginx()}
	}
	r.Finish()
	out := inAllFormats(t, r, Options{})["text"]
	for text, want := range map[string]int{
		"`systemctl stop nginx.service`; if it is the right process, set": 1, "systemctl stop": 1,
		"\n    see web; if it is this app's own old instance, allow it with `owner: {unit: nginx.service}`\n": 1,
	} {
		if got := strings.Count(out, text); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, want, out)
		}
	}
}

// TestHolderOfRivalsIsSaidOnce checks that what rivals have to do besides does not repeat
// how to stop the holder.
func TestHolderOfRivalsIsSaidOnce(t *testing.T) {
	r := check.Report{Results: []check.Result{results()["in-use"], results()["in-use"]}}
	for i, name := range []string{"web", "api"} {
		x := &r.Results[i]
		x.Name, x.ID, x.Rivals = name, "shop/"+name+"@local/tcp", i+1
		x.Notices = []check.Notice{{Code: config.Duplicate, Message: "admin wants it, too"}}
	}
	r.Finish()
	out := inAllFormats(t, r, Options{})["text"]
	for text, want := range map[string]int{"systemctl stop": 1, "\n    see web; give all but one of the 3 needs another port": 1} {
		if got := strings.Count(out, text); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, want, out)
		}
	}
}

// TestNoteOfSeveralFilesIsSaidOnce checks that needs of other files that have the same
// note are named by their places.
func TestNoteOfSeveralFilesIsSaidOnce(t *testing.T) {
	r := check.Report{Results: []check.Result{results()["free"], results()["free"], results()["free"]}}
	for i, file := range []string{"a.yml", "a.yml", "b.yml"} {
		x := &r.Results[i]
		x.Name = []string{"web", "api", "web"}[i]
		x.ID, x.Source = fmt.Sprintf("%s/%s@local/tcp", file, x.Name), config.Position{File: file, Line: 4 + i, Column: 3}
		x.Notices = []check.Notice{{Code: config.Degraded, Message: "its holder can't be seen"}}
	}
	r.Finish()
	out := inAllFormats(t, r, Options{})["text"]
	for text, want := range map[string]int{"its holder can't be seen": 1, "\n    the same for api, b.yml:6:3\n": 1} {
		if got := strings.Count(out, text); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, want, out)
		}
	}
}

func TestBlocksListTheirPorts(t *testing.T) {
	r := check.Report{Results: []check.Result{results()["block"], results()["free"]}}
	x := &r.Results[0]
	x.Holders = []check.Holder{python(), nginx(), nginx()}
	x.Holders[0].Port, x.Holders[1].Port, x.Holders[2].Port = 8000, 8001, 8003
	r.Finish()
	out := inAllFormats(t, r, Options{})["text"]
	for _, want := range []string{"    port 8000: python3 (pid 4711", "; port 8001: nginx (pid 812", "; port 8003: nginx", "5 ports of 2 needs checked: 1 ok, 1 conflict\n", "--set web=20000-20003\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q:\n%s", want, out)
		}
	}
}

// TestConflictsAreNeeds checks that a need is one conflict in every format for people,
// whatever its ports and protocols, and as bad as the worst of its results.
func TestConflictsAreNeeds(t *testing.T) {
	r := check.Report{}
	for i, need := range [][]check.Result{
		{need(check.InUse, "x"), need(check.InUse, "x")},
		{need(check.Free, "x"), need(check.Unknown, "x")},
		{need(check.Unknown, "x"), need(check.InUse, "x")},
		{need(check.Free, "x"), need(check.Free, "x")},
		{need(check.Free, "x")},
	} {
		for k, x := range need {
			x.Protocol = port.Protocols[k]
			x.Name = fmt.Sprint("need", i)
			x.ID = fmt.Sprintf("shop/%s@local/%s", x.Name, x.Protocol)
			x.OK = x.Status.OK()
			r.Results = append(r.Results, x)
		}
	}
	r.Results[0].PortLast, r.Results[1].PortLast = r.Results[0].Port+3, r.Results[1].Port+3
	r.Finish()
	const done, outcome = "8 ports of 5 needs checked", "2 ok, 2 conflicts, 1 unknown"
	for _, format := range []string{"text", "markdown", "html"} {
		out := inAllFormats(t, r, Options{})[format]
		if !strings.Contains(out, done) || !strings.Contains(out, outcome) {
			t.Errorf("%s: no %q or %q:\n%s", format, done, outcome, out)
		}
	}
	if want := (check.Summary{Checked: 9, OK: 4, Errors: 3, Unknown: 2}); r.Summary != want {
		t.Errorf("JSON counts results: %+v, want %+v", r.Summary, want)
	}
}

func TestSummaryHasNoBackticks(t *testing.T) {
	for name, r := range cases() {
		out := inAllFormats(t, r, Options{})["markdown"]
		if strings.Contains(out, "\\`") && name != "hostile" {
			t.Errorf("%s: a backtick that is shown as such:\n%s", name, out)
		}
	}
}
