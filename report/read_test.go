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

// readable returns a case as check could have written it: ids match the results,
// and fields that JSON does not have are zero.
func readable(r check.Report) check.Report {
	r.Spans = nil
	for i := range r.Results {
		x := &r.Results[i]
		x.Name = fmt.Sprintf("%s-%d", x.Name, i)
		x.ID = fmt.Sprintf("shop/%s@%s/%s", x.Name, x.Target, x.Protocol)
		x.Asked, x.From, x.NoSearchReason, x.TableErrno, x.Unlisted, x.LeasesUnknown, x.Env = 0, nil, "", "", false, false, ""
		*x = resultJSON(*x, false)
	}
	r.Problems, r.Targets, r.Results = listOf(r.Problems), targetsJSON(r.Targets), listOf(r.Results)
	r.Finish()
	return r
}

func read(t *testing.T, text string) (check.Report, error) {
	t.Helper()
	return new(Reader).Read(strings.NewReader(text))
}

// document returns a case in JSON after replacements: old, new, old, new.
func document(t *testing.T, name string, changes ...string) string {
	t.Helper()
	text := inAllFormats(t, readable(cases()[name]), Options{})["json"]
	for c := range slices.Chunk(changes, 2) {
		if !strings.Contains(text, c[0]) {
			t.Fatalf("%s: there is no %s in\n%s", name, c[0], text)
		}
		text = strings.Replace(text, c[0], c[1], 1)
	}
	return text
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	for name, r := range cases() {
		if r.Lint || len(r.Results)+len(r.Problems) == 0 {
			continue
		}
		want := readable(r)
		for i := range want.Results {
			want.Results[i].UID = nil // not in JSON
		}
		got, err := read(t, document(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-written +read):\n%s", name, diff)
		}
	}
}

func TestReadDerivesOK(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		ok      bool
		summary check.Summary
	}{
		"in use, declared ok":              {document(t, "in-use", `"ok": false,`+"\n  \"problems\"", `"ok": true,`+"\n  \"problems\"", `"ok": false`, `"ok": true`, `"errors": 1`, `"errors": 0`), false, check.Summary{Checked: 1, Errors: 1}},
		"a status of later versions":       {document(t, "free", `"status": "free"`, `"status": "quarantined"`), false, check.Summary{Checked: 1, Errors: 1}},
		"free, with a duplicate":           {document(t, "notice-duplicate"), false, check.Summary{Checked: 1, Errors: 1}},
		"free":                             {document(t, "free"), true, check.Summary{Checked: 1, OK: 1}},
		"free, the report declared not ok": {document(t, "free", `"ok": true`, `"ok": false`), true, check.Summary{Checked: 1, OK: 1}},
		"unknown fields":                   {document(t, "free", `"version": 1,`, `"version": 1, "later": {"a": [null, {"b": 1}]},`), true, check.Summary{Checked: 1, OK: 1}},
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
		{`{"version": 1`, "is not JSON, or is incomplete"},
		{document(t, "in-use", "}\n}\n", "}\n"), "is not JSON, or is incomplete"},
		{document(t, "free") + "{}", "is not JSON"},
		{"[]", "is a JSON array"},
		{"{}", "version is missing"},
		{"null", "version is missing"},
		{`{"version": 2}`, "has report version 2; this portcheck reads version 1"},
		{`{"version": 1}`, "want problems, targets and results"},
		{`{"version": 1, "ports": []}`, "want problems, targets and results"},
		{`{"version": 1, "problems": [], "targets": [], "results": []}`, "has no results"},
		{document(t, "free", port, `"port": 0`), "results[0].port: 0 to 0 is not a block"},
		{document(t, "free", port, `"port": 65536`), "results.port can't be a number 65536"},
		{document(t, "free", port, `"port": -1`), "results.port can't be a number -1"},
		{document(t, "free", port, `"port": 1e3`), "results.port can't be a number 1e3"},
		{document(t, "free", port, `"port": NaN`), "is not JSON"},
		{document(t, "free", port, `"port": "8080"`), "results.port can't be a string"},
		{`{"version": "2.1.0", "runs": []}`, "version can't be a string (before byte 19): want the output of `portcheck check -f json`"}, // SARIF
		{document(t, "free", port, port+`, "port_last": 8000`), "8080 to 8000 is not a block"},
		{document(t, "in-use", "20001", "0"), "alternatives: 0 is not a port"},
		{document(t, "in-use", `"pid": 812`, `"pid": -1`), "holders[0]: want pids from 1"},
		{document(t, "in-use", `"uid": 0`, `"uid": -1`), "and a uid from 0"},
		{document(t, "in-use", "2026-01-02T03:04:05Z", "yesterday"), "is not a report"},
		{document(t, "free", `"target": "local"`, `"target": "other"`), "results[0].id"},
		{document(t, "free", "shop/web-0@local/tcp", "shop/pay@local/tcp"), "results[0].id"},
		{document(t, "free", `"name": "web-0"`, `"name": ""`), "results[0].name is missing"},
		{document(t, "free", `"name": "local"`, `"name": "here"`), `target: "local" is not one of the targets`},
		{document(t, "free", `"protocol": "tcp"`, `"protocol": "sctp"`, "@local/tcp", "@local/sctp"), `protocol "sctp"`},
		{document(t, "free", `"severity": "error"`, `"severity": "fatal"`), `severity "fatal": want error or warning`},
		{document(t, "free", `"expect": "free"`, `"expect": "luck"`), `expect "luck"`},
		{document(t, "free", `"line": 6`, `"line": -6`), "source: want a line"},
		{document(t, "free", `"column": 11`, `"column": -1`), "source: want a line"},
		{document(t, "problems", `"line": 3`, `"line": -1`), "problems[0]: want a message, and a line"},
		{document(t, "problems", `"column": 1`, `"column": -1`), "problems[0]: want a message, and a line"},
		{document(t, "problems", `"no manifest found"`, `""`), "problems[3]: want a message"},
		{document(t, "free", `"32768-60999"`, `"60999-32768"`), `targets[0].ephemeral: "60999-32768" ends before it starts`},
		{document(t, "targets", `"name": "app1"`, `"name": ""`), "targets[1].name is missing"},
		{document(t, "several", "web-1@local/udp", "web-0@local/tcp", `"name": "web-1"`, `"name": "web-0"`, `"protocol": "udp"`, `"protocol": "tcp"`), `results[1].id: "shop/web-0@local/tcp" occurs twice`},
		{document(t, "free", port, port+`, "port_last": 8080`), "8080 to 8080 is not a block"},
		{`{"version": 1, "problems": [], "results": []}`, "want problems, targets and results"},
		{`{"version": 1, "targets": [], "results": []}`, "want problems, targets and results"},
		{`{"version": 1, "problems": [], "targets": []}`, "want problems, targets and results"},
		{document(t, "free", `"status": "free",`, ""), "not one of lint"},
		{document(t, "free", `"alternatives": []`, `"alternatives": [], "candidates": "20000-1"`), `candidates: "20000-1" ends before it starts`},
		{document(t, "free", `"alternatives": []`, `"alternatives": [], "candidates": "1-65535,1-65535"`), "more than once"},
		{document(t, "notice-degraded", `"code": "degraded",`, `"code": "degraded", "severity": "x",`), `notices[0].severity "x"`},
		{document(t, "targets", `"name": "app1"`, `"name": "local"`), `targets[1].name: "local" occurs twice`},
		{document(t, "free", `"version": 1,`, `"version": 1, "later": `+strings.Repeat("[", 20000)+","), "is not JSON"},
		{`{"results": [` + strings.Repeat("{},", maxObjects) + "{}]}", "has too many values"},
		{`{"results": [` + strings.Repeat("0,", maxValues) + "0]}", "has too many values"},
		{"\ufeff", "is empty: want the output"},
		{"\xff\xfe{\x00", "is UTF-16: save it as UTF-8"},
		{"\xfe\xff\x00{", "is UTF-16: save it as UTF-8"},
		{"\x00{", "is UTF-16: save it as UTF-8"},
		{`{"tool": "` + strings.Repeat("x", maxBytes) + `"}`, "is larger than 16 MiB"},
		{document(t, "free", port, `"port": "`+strings.Repeat(`\n`, 4096)+`"`), "results.port"},
		{document(t, "free", "shop/web-0@local/tcp", strings.Repeat(`x`, 4096)), "results[0].id"},
	} {
		_, err := read(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.300s: %v, want %s", c.text, err, c.want)
		}
	}
	if _, err := new(Reader).Read(iotest.ErrReader(fmt.Errorf("read /x: %w", iotest.ErrTimeout))); err == nil || err.Error() != "cannot be read: timeout" {
		t.Error(err)
	}
}

// Read accepts a report at a limit, and refuses one beyond it.
func TestReadLimits(t *testing.T) {
	base := document(t, "free")
	withLater := func(n int, item string) string {
		return strings.Replace(base, `"version": 1,`, `"version": 1, "later": [`+strings.Repeat(item+",", n-1)+item+`],`, 1)
	}
	values := func(s string) int { return strings.Count(s, ",") + strings.Count(s, "[") }
	objects := maxObjects - strings.Count(base, "{")
	zeros := maxValues - values(base) - values(`,[`) + 1
	problems := func(n int) string {
		return `{"version":1,"problems":[` + strings.Repeat(`{"message":"x"},`, n-1) + `{"message":"x"}],"targets":[],"results":[]}`
	}
	targets := func(n int) string {
		r := readable(cases()["free"])
		for i := len(r.Targets); i < n; i++ {
			r.Targets = append(r.Targets, check.TargetReport{Name: fmt.Sprint("host", i)})
		}
		var b bytes.Buffer
		if err := jsonReport(&b, r, Options{}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ most, over, want string }{
		"bytes":    {base + strings.Repeat(" ", maxBytes-len(base)), base + strings.Repeat(" ", maxBytes-len(base)+1), "is larger than 16 MiB"},
		"objects":  {withLater(objects, "{}"), withLater(objects+1, "{}"), "has too many values"},
		"nulls":    {withLater(objects, "null"), withLater(objects+1, "null"), "has too many values"},
		"values":   {withLater(zeros, "0"), withLater(zeros+1, "0"), "has too many values"},
		"problems": {problems(check.MostProblems), problems(check.MostProblems + 1), "has 4097 problems, and at most 4096 are read"},
		"targets":  {targets(4096), targets(4097), "has more than 4096 targets"},
	} {
		if _, err := read(t, c.most); err != nil {
			t.Errorf("%s: at the limit: %v", name, err)
		}
		if _, err := read(t, c.over); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: beyond the limit: %v, want %s", name, err, c.want)
		}
	}
	text := `"tool": "` + strings.Repeat(`\"{[,`, maxObjects+1) + `"`
	if _, err := read(t, document(t, "free", `"tool": "portcheck v0.1.0"`, text)); err != nil {
		t.Errorf("characters in a string count as values: %v", err)
	}
}

func TestReadAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"an id without an app":      document(t, "free", "shop/web-0@local/tcp", "web-0@local/tcp"),
		"a block":                   document(t, "free", `"port": 8080`, `"port": 8080, "port_last": 8081`),
		"every port as a candidate": document(t, "free", `"alternatives": []`, `"alternatives": [], "candidates": "1-65535"`),
		"no position":               document(t, "free", `"line": 6`, `"line": 0`, `"column": 11`, `"column": 0`),
		"a notice's severity":       document(t, "notice-degraded", `"code": "degraded",`, `"code": "degraded", "severity": "warning",`),
		"problems alone":            document(t, "problems"),
		"a byte order mark":         "\ufeff" + document(t, "free"),
		"no ephemeral range":        document(t, "free", `"32768-60999"`, `""`),
	} {
		if _, err := read(t, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, r := range cases() {
		f.Add([]byte(inAllFormats(f, readable(r), Options{})["json"]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := new(Reader).Read(bytes.NewReader(data))
		if err != nil {
			if len(err.Error()) > 700 {
				t.Errorf("an error of %d bytes: %s", len(err.Error()), err)
			}
			return
		}
		outputs := inAllFormats(t, r, Options{Root: "/repo"})
		for format, out := range outputs {
			checkInert(t, format, out)
		}
		again, err := new(Reader).Read(strings.NewReader(outputs["json"]))
		if err != nil {
			t.Fatalf("Read refuses the output of a format: %v\n%s", err, outputs["json"])
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("(-read +read again):\n%s", diff)
		}
	})
}

// The limits of a Reader hold for all of its reports together.
func TestReaderLimits(t *testing.T) {
	result := func(i int) string {
		return fmt.Sprintf(`{"id":"n%[1]d@t/tcp","name":"n%[1]d","target":"t","protocol":"tcp","port":1,"expect":"free","severity":"error","status":"free"}`, i)
	}
	results := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = result(i)
		}
		return `{"version":1,"problems":[],"targets":[{"name":"t"}],"results":[` + strings.Join(all, ",") + `]}`
	}
	long := strings.Replace(results(1), `"status"`, `"message":"`+strings.Repeat("x", 15<<20)+`","status"`, 1)
	holders := strings.Replace(results(1), `"status"`, `"holders":[`+strings.Repeat("{},", 200_000)+`{}],"status"`, 1)
	for name, c := range map[string]struct {
		texts []string
		want  string // of the last
	}{
		"as many results as allowed": {[]string{results(check.MostResults - 1), results(1)}, ""},
		"one result more":            {[]string{results(check.MostResults), results(1)}, "with this report there are more than 32768 results, the limit of a merge"},
		"empty results":              {[]string{`{"version":1,"problems":[],"targets":[],"results":[` + strings.Repeat("{},", 100_000) + `{}]}`}, "more than 32768 results"},
		"bytes":                      {[]string{long, long, long}, "with this report there are more than 32 MiB of reports, the limit of a merge"},
		"text that grows":            {[]string{strings.Replace(results(1), `"status"`, `"message":"`+strings.Repeat("\x7f", 7<<20)+`","status"`, 1)}, "too much text with markup or letters outside of ASCII"},
		"notices":                    {[]string{strings.Replace(results(1), `"status"`, `"notices":[`+strings.Repeat(`{"code":"x","message":"x"},`, maxNotices)+`{"code":"x","message":"x"}],"status"`, 1)}, "with this report there are more than 32768 notices"},
		"two long ones":              {[]string{long, long}, ""},
		"objects":                    {[]string{holders, holders}, "with this report there are too many values for a merge"},
	} {
		var reader Reader
		for i, text := range c.texts {
			_, err := reader.Read(strings.NewReader(text))
			if last := i == len(c.texts)-1; !last && err != nil || last && ((err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, report %d: %v, want %q", name, i, err, c.want)
			}
		}
	}
	// One of a wrong type is named with its place.
	text := strings.Replace(results(2), `"name":"n1"`, `"name":1`, 1)
	var reader Reader
	if _, err := reader.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("results.name can't be a number (before byte %d)", strings.Index(text, `"name":1`)+len(`"name":1`))) {
		t.Errorf("wrong type: %v", err)
	}
	text = `{"version":1,"problems":[],"targets":[],"results":[1]}`
	if _, err := reader.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "results can't be a number") {
		t.Errorf("no object: %v", err)
	}
}
