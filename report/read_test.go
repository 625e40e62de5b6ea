package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/check"
)

// readable is a case as a check could have made it: ids are those of its
// results, and JSON has no field for what is left out.
func readable(r check.Report) check.Report {
	r.Spans = nil
	for i := range r.Results {
		x := &r.Results[i]
		x.Name = fmt.Sprintf("%s-%d", x.Name, i)
		x.ID = fmt.Sprintf("shop/%s@%s/%s", x.Name, x.Target, x.Protocol)
		x.Asked, x.From, x.NoSearchReason = 0, nil, ""
		*x = resultJSON(*x, false)
	}
	r.Problems, r.Targets, r.Results = listOf(r.Problems), targetsJSON(r.Targets), listOf(r.Results)
	r.Finish()
	return r
}

func read(t *testing.T, text string) (check.Report, error) {
	t.Helper()
	return Read(strings.NewReader(text))
}

// document is a case in JSON, with parts of its text replaced, old and new in
// turns.
func document(t *testing.T, name string, changes ...string) string {
	t.Helper()
	text := inEveryFormat(t, readable(cases()[name]), Options{})["json"]
	for c := range slices.Chunk(changes, 2) {
		if !strings.Contains(text, c[0]) {
			t.Fatalf("%s: there is no %s in\n%s", name, c[0], text)
		}
		text = strings.Replace(text, c[0], c[1], 1)
	}
	return text
}

func TestReadGivesWhatWasWritten(t *testing.T) {
	for name, r := range cases() {
		if r.Lint || len(r.Results)+len(r.Problems) == 0 {
			continue
		}
		want := readable(r)
		got, err := read(t, document(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-written +read):\n%s", name, diff)
		}
	}
}

func TestReadBelievesNoOK(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		ok      bool
		summary check.Summary
	}{
		"in use, said to be ok":         {document(t, "in-use", `"ok": false,`+"\n  \"problems\"", `"ok": true,`+"\n  \"problems\"", `"ok": false`, `"ok": true`, `"errors": 1`, `"errors": 0`), false, check.Summary{Checked: 1, Errors: 1}},
		"a status of later versions":    {document(t, "free", `"status": "free"`, `"status": "quarantined"`), false, check.Summary{Checked: 1, Errors: 1}},
		"free, but not both at a time":  {document(t, "notice-duplicate"), false, check.Summary{Checked: 1, Errors: 1}},
		"free, and said to be":          {document(t, "free"), true, check.Summary{Checked: 1, OK: 1}},
		"free, and the report is not":   {document(t, "free", `"ok": true`, `"ok": false`), true, check.Summary{Checked: 1, OK: 1}},
		"unknown fields, whatever they": {document(t, "free", `"version": 1,`, `"version": 1, "later": {"a": [null, {"b": 1}]},`), true, check.Summary{Checked: 1, OK: 1}},
	} {
		r, err := read(t, c.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if r.OK != c.ok || r.Summary != c.summary || r.Results[0].OK != c.ok {
			t.Errorf("%s: ok %t, %+v", name, r.OK, r.Summary)
		}
	}
	r, err := read(t, document(t, "free", `"status": "free"`, `"status": "quarantined"`))
	if err != nil || r.Results[0].Status != "quarantined" {
		t.Errorf("a status of later versions is kept: %v, %v", r.Results, err)
	}
}

func TestReadRefuses(t *testing.T) {
	port := `"port": 8080`
	for _, c := range []struct{ text, want string }{
		{"", "is empty"},
		{"nothing", "is not JSON"},
		{`{"version": 1`, "is not JSON, or not all of it"},
		{document(t, "in-use", "}\n}\n", "}\n"), "is not JSON, or not all of it"},
		{document(t, "free") + "{}", "is not JSON"},
		{"[]", "is a JSON array"},
		{"{}", "version is missing"},
		{"null", "version is missing"},
		{`{"version": 2}`, "is of version 2 of the report; this portcheck reads version 1"},
		{`{"version": 1}`, "needs problems, targets and results"},
		{`{"version": 1, "ports": []}`, "needs problems, targets and results"},
		{`{"version": 1, "problems": [], "targets": [], "results": []}`, "is a report of nothing"},
		{document(t, "free", port, `"port": 0`), "results[0].port: 0 to 0 is no block"},
		{document(t, "free", port, `"port": 65536`), "results.port does not take a number 65536"},
		{document(t, "free", port, `"port": -1`), "results.port does not take a number -1"},
		{document(t, "free", port, `"port": 1e3`), "results.port does not take a number 1e3"},
		{document(t, "free", port, `"port": NaN`), "is not JSON"},
		{document(t, "free", port, `"port": "8080"`), "results.port does not take a string"},
		{document(t, "free", port, port+`, "port_last": 8000`), "8080 to 8000 is no block"},
		{document(t, "in-use", "20001", "0"), "alternatives: 0 is not a port"},
		{document(t, "in-use", `"pid": 812`, `"pid": -1`), "holders[0]: want a pid from 1"},
		{document(t, "in-use", `"uid": 0`, `"uid": -1`), "and a uid from 0"},
		{document(t, "in-use", "2026-01-02T03:04:05Z", "yesterday"), "is no report"},
		{document(t, "free", `"target": "local"`, `"target": "other"`), "results[0].id"},
		{document(t, "free", "shop/web-0@local/tcp", "shop/pay@local/tcp"), "results[0].id"},
		{document(t, "free", `"name": "web-0"`, `"name": ""`), "results[0].name is missing"},
		{document(t, "free", `"name": "local"`, `"name": "here"`), `there is no "local" among the targets`},
		{document(t, "free", `"protocol": "tcp"`, `"protocol": "sctp"`, "@local/tcp", "@local/sctp"), `protocol "sctp"`},
		{document(t, "free", `"severity": "error"`, `"severity": "fatal"`), `severity "fatal": want error or warning`},
		{document(t, "free", `"expect": "free"`, `"expect": "luck"`), `expect "luck"`},
		{document(t, "free", `"line": 6`, `"line": -6`), "source: want a line"},
		{document(t, "free", `"status": "free",`, ""), "not one of lint"},
		{document(t, "free", `"alternatives": []`, `"alternatives": [], "candidates": "20000-1"`), "candidates: range 20000-1 ends before it starts"},
		{document(t, "free", `"alternatives": []`, `"alternatives": [], "candidates": "1-65535,1-65535"`), "more than once"},
		{document(t, "notice-degraded", `"code": "degraded",`, `"code": "degraded", "severity": "x",`), `notices[0].severity "x"`},
		{document(t, "targets", `"name": "app1"`, `"name": "local"`), "targets[1].name: there are two"},
		{document(t, "free", `"version": 1,`, `"version": 1, "later": `+strings.Repeat("[", 20000)+","), "is not JSON"},
		{`{"results": [` + strings.Repeat("{},", mostObjects) + "{}]}", "has too many values"},
		{`{"results": [` + strings.Repeat("0,", mostValues) + "0]}", "has too many values"},
		{`{"tool": "` + strings.Repeat("x", mostBytes) + `"}`, "is larger than 16 MiB"},
		{document(t, "free", port, `"port": "`+strings.Repeat(`\n`, 4096)+`"`), "results.port"},
		{document(t, "free", "shop/web-0@local/tcp", strings.Repeat(`x`, 4096)), "results[0].id"},
	} {
		_, err := read(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.300s: %v, want %s", c.text, err, c.want)
		}
	}
	if _, err := Read(iotest.ErrReader(fmt.Errorf("read /x: %w", iotest.ErrTimeout))); err == nil || err.Error() != "cannot be read: timeout" {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	for _, r := range cases() {
		f.Add([]byte(inEveryFormat(f, readable(r), Options{})["json"]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Read(bytes.NewReader(data))
		if err != nil {
			if len(err.Error()) > 700 {
				t.Errorf("an error of %d bytes: %s", len(err.Error()), err)
			}
			return
		}
		told := inEveryFormat(t, r, Options{Root: "/repo"})
		for format, out := range told {
			checkInert(t, format, out)
		}
		again, err := Read(strings.NewReader(told["json"]))
		if err != nil {
			t.Fatalf("what we write we can't read: %v\n%s", err, told["json"])
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("(-read +read again):\n%s", diff)
		}
	})
}
