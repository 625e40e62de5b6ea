package report

import (
	"bytes"
	"encoding/json"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/testbed"
)

var hostile = []string{
	"",
	":",
	"::",
	"#", "##", "##[", "###[", "[",
	"x\n::error::pwned",
	"x\r::error::pwned",
	" \t::stop-commands::x",
	"\u00a0::error::pwned",
	"##[add-mask]80",
	"x\n##[group]y",
	"##\u200b[add-mask]80",
	"\x1b[2J\x1b]0;title\x07",
	"a\u202eb\u2066c\u2028d\u2029e\u0085f",
	"\xff\xfe\xc3(",
	"\U000e0041\U0001f600é",
	"| a | b |\n|---|",
	"<img src=x onerror=alert(1)><!-- </details>",
	"[link](https://example.com) www.example.com `code` **b** __i__ ~~s~~ @octocat #1 $x$ &lt;",
	"`\\|`\\",
	"%0A::error::pwned,line=1%25",
	"$(reboot); rm -rf / | `id`",
	"-H root@evil",
	strings.Repeat("A", 4096),
	strings.Repeat("\n::", 1400),
	"ghadelimiter_x<<EOF",
	"##vso[task.setvariable variable=x]y",
	"x ##teamcity[buildStop comment='x']",
	"#\ufe0f#vso[task.complete]",
	"@@continua[setVariable name='x' value='y']",
	"[[ATTACHMENT|/etc/passwd]]",
	"\x1b[8mha:AAAA\x1b[0m",
	"nginx\u3164\u034f\u115f",
}

// filled returns a report with s in every string and one item in every list.
func filled(s string) check.Report {
	var r check.Report
	fill(reflect.ValueOf(&r).Elem(), s)
	r.Version, r.Lint = jsonVersion, false
	r.Results[0].OK = false
	passed := r.Results[0]
	passed.OK = true
	r.Results = append(r.Results, passed)
	return r
}

func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Int:
		v.SetInt(812)
	case reflect.Uint16, reflect.Uint64:
		v.SetUint(8080)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]check.HeldSocket]() { // nil in a report
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), s)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), s)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), s)
		}
	}
}

// hostileReports returns reports with s in every string, and with s in all others
// where statuses and severities are valid, since these choose what is written.
func hostileReports(s string) []check.Report {
	valid := filled(s)
	valid.Results = nil
	for _, status := range check.Statuses {
		for _, x := range filled(s).Results {
			x.Status, x.Severity = status, config.SeverityError
			valid.Results = append(valid.Results, x)
		}
	}
	all := []check.Report{filled(s), valid}
	noLine := filled(s)
	for i := range noLine.Results {
		noLine.Results[i].Source.Line = 0
	}
	noLine.Problems[0].Line = 0
	return append(all, noLine)
}

func TestHostileTextIsNoCommand(t *testing.T) {
	t.Parallel()
	for _, s := range hostile {
		for _, r := range hostileReports(s) {
			for format, out := range inAllFormats(t, r, Options{Root: "/repo"}) {
				checkInert(t, format, out)
			}
			var b bytes.Buffer
			for format := range ListFormats {
				l := check.Listing{Targets: r.Targets, Sockets: r.Results[0].Holders}
				if err := List(&b, l, format, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := TargetNotices(&b, r.Targets); err != nil {
				t.Fatal(err)
			}
			checkInert(t, "list", b.String())
			checkLeaseDocuments(t, s)
		}
	}
}

// checkLeaseDocuments checks what assign and leases print.
func checkLeaseDocuments(t *testing.T, s string) {
	t.Helper()
	var a check.Assignment
	fill(reflect.ValueOf(&a).Elem(), s)
	var l check.Leases
	fill(reflect.ValueOf(&l).Elem(), s)
	var b bytes.Buffer
	for format, write := range AssignmentFormats {
		refused := slices.Contains([]string{"env", "dotenv", "shell"}, format) && !isVariable(s)
		if err := write(&b, a, Options{}); (err != nil) != refused {
			t.Errorf("%s: %v", format, err)
		}
	}
	for format, write := range LeasesFormats {
		if err := write(&b, l, Options{}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
	checkInert(t, "leases", b.String())
}

// checkInert fails the test if a terminal or a runner would interpret a part of out,
// except for annotations in the github format.
func checkInert(t *testing.T, format, out string) {
	t.Helper()
	if !utf8.ValidString(out) {
		t.Errorf("%s: not UTF-8: %q", format, out)
	}
	if i := strings.IndexFunc(out, func(r rune) bool {
		return r != '\n' && (!unicode.IsPrint(r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r))
	}); i >= 0 {
		t.Errorf("%s: unprintable: %q", format, out[i:min(len(out), i+20)])
	}
	checkCommands(t, format, out)
}

func TestHostileTextInMarkdown(t *testing.T) {
	for _, s := range hostile {
		checkMarkdown(t, s, inAllFormats(t, filled(s), Options{})["markdown"], 5)
		var a check.Assignment
		fill(reflect.ValueOf(&a).Elem(), s)
		var b bytes.Buffer
		if err := AssignmentFormats["markdown"](&b, a, Options{}); err != nil {
			t.Error(err)
		}
		checkMarkdown(t, s, b.String(), 4)
	}
}

// checkMarkdown fails the test if s breaks out of the cells of a document.
func checkMarkdown(t *testing.T, s, document string, cells int) {
	t.Helper()
	for line := range strings.SplitSeq(document, "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != cells+1 {
			t.Errorf("%q: a row without %d cells: %s", s, cells, line)
		}
		rest := strings.ReplaceAll(line, "<br>", "")
		if strings.ContainsAny(rest, "<>") && !strings.HasPrefix(rest, "<details>") && rest != "</details>" {
			t.Errorf("%q: HTML in %s", s, line)
		}
		if strings.Count(rest, "@") != strings.Count(rest, "@&#8203;") {
			t.Errorf("%q: a mention in %s", s, line)
		}
	}
}

// A name from outside is no command in what a report says, in any format and outside of a
// hint, either.
func TestHostileNamesInMessages(t *testing.T) {
	const name = "`curl evil|sh`"
	for _, r := range hostileReports(name) {
		for i := range r.Results { // these are data, and stay as they are
			r.Results[i].ID, r.Results[i].Source.File = "shop/web@local/tcp", "portcheck.yml"
		}
		r.Problems[0].File = "portcheck.yml"
		outputs := inAllFormats(t, r, Options{Root: "/repo"})
		var terminal bytes.Buffer
		if err := text(&terminal, r, Options{Width: 100}); err != nil {
			t.Fatal(err)
		}
		outputs["terminal"] = terminal.String()
		outputs["json"] = messagesIn(t, outputs["json"])
		delete(outputs, "prometheus") // its labels are data
		d := check.Diff{Warnings: []string{name}, Changes: []check.Change{{Kind: check.Appeared, Holders: r.Results[0].Holders, ExplainedBy: name, Anomaly: true}}}
		for format, write := range DiffFormats {
			var b bytes.Buffer
			if err := write(&b, d, Options{}); err != nil {
				t.Fatal(err)
			}
			outputs["diff "+format] = b.String()
		}
		outputs["diff json"] = messagesIn(t, outputs["diff json"])
		delete(outputs, "diff prometheus")
		for format, out := range outputs {
			if !strings.Contains(out, "evil") {
				t.Errorf("%s: the name is not there:\n%s", format, out)
			}
			if i := strings.Index(out, "`curl"); i >= 0 {
				t.Errorf("%s: a name looks like a command: %s", format, out[max(0, i-60):min(len(out), i+40)])
			}
			if strings.Contains(out, "<code>curl evil|sh") || strings.Contains(out, `"command">curl`) {
				t.Errorf("%s: a name is a command", format)
			}
		}
	}
}

// messagesIn returns the texts of a JSON document that are said, not data.
func messagesIn(t *testing.T, document string) string {
	t.Helper()
	var all []string
	var read func(key string, v any)
	read = func(key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, v := range v {
				read(key, v)
			}
		case []any:
			for _, v := range v {
				read(key, v)
			}
		case string:
			if slices.Contains([]string{"message", "reason", "warnings"}, key) {
				all = append(all, v)
			}
		}
	}
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatal(err)
	}
	read("", v)
	return strings.Join(all, "\n")
}

// A name from outside is no command of a hint, whatever the hint is.
func TestHostileNamesInHints(t *testing.T) {
	const name = "`curl evil|sh`"
	seen := 0
	try := func(r check.Result) {
		t.Helper()
		for _, h := range hints(r) {
			if strings.Contains(h.Text, "evil") {
				seen++
			}
			if strings.Contains(h.Text, "`curl") || strings.Contains(h.Text, "sh`") {
				t.Errorf("%s: %s", r.Status, h.Text)
			}
			if strings.Contains(hintHTML(h), ">curl") || strings.Contains(cellHint(h), ">curl") {
				t.Errorf("%s: %s is a command", r.Status, h.Text)
			}
		}
	}
	for status := range remedies {
		for _, change := range []func(*check.Holder){
			func(*check.Holder) {},
			func(h *check.Holder) { h.Container = nil },
			func(h *check.Holder) { h.Container, h.Unit, h.Forwarder, h.Kernel = nil, "", nil, false },
			func(h *check.Holder) {
				h.Container, h.Unit, h.Forwarder, h.Kernel = nil, "", nil, false
				h.Origin = &check.Origin{Supervisor: name, SupervisorPID: 5}
			},
			func(h *check.Holder) {
				h.Container, h.Unit, h.Forwarder, h.Kernel = nil, "", nil, false
				h.Origin = &check.Origin{Shell: name, ShellPID: 5}
			},
			func(h *check.Holder) { h.Origin = &check.Origin{Job: &check.HolderJob{Text: name}} },
		} {
			r := filled(name).Results[0]
			r.Status = status
			change(&r.Holders[0])
			try(r)
			r.Holders = append(r.Holders, r.Holders[0])
			r.Holders[1].PID, r.Holders[1].Port, r.PortLast = 813, 8081, 8090
			try(r)
		}
	}
	if seen < 50 {
		t.Errorf("only %d hints have the name", seen)
	}
}

func TestHostileTextInAnnotations(t *testing.T) {
	for _, s := range hostile {
		out := inAllFormats(t, filled(s), Options{})["github"]
		if got := strings.Count(out, "\n"); got != 2 {
			t.Errorf("%q: %d lines, want one for the problem and one for the need:\n%s", s, got, out)
		}
	}
}

func TestHostileGolden(t *testing.T) {
	if runtime.GOOS == "windows" {
		testbed.Missing(t, "needs a system on which a file can have such a name")
	}
	outputs := inAllFormats(t, filled("x\n::error::##[add-mask]80 \x1b[1m\u202e|<b>`@octocat"), Options{Root: "/repo"})
	compareGolden(t, "hostile", "-- text --\n"+outputs["text"]+"-- github --\n"+outputs["github"]+"-- markdown --\n"+outputs["markdown"]+"-- json --\n"+outputs["json"])
}

func checkRoundTrip(t *testing.T, s string) {
	t.Helper()
	out := inAllFormats(t, filled(s), Options{})["json"]
	checkInert(t, "json", out)
	var got check.Report
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%q: %v\n%s", s, err, out)
	}
	want := filled(string([]rune(s))) // JSON has no invalid bytes
	want.Spans = nil
	want.Problems[0].Message = noCode(want.Problems[0].Message)
	want.Targets[0].Notices[0].Message = noCode(want.Targets[0].Notices[0].Message)
	want.Targets[0].Namespace.Reason = noCode(want.Targets[0].Namespace.Reason)
	for i := range want.Results {
		want.Results[i].Message = noCode(want.Results[i].Message)
		want.Results[i].Notices[0].Message = noCode(want.Results[i].Notices[0].Message)
	}
	for i := range want.Results {
		want.Results[i].OS, want.Results[i].UID, want.Results[i].UnprivilegedFrom = "", nil, nil
		for j := range want.Results[i].Holders {
			want.Results[i].Holders[j].Minutes, want.Results[i].Holders[j].Container.MonitorUnit = 0, ""
		}
		want.Results[i].Hints, got.Results[i].Hints = nil, nil // made from the rest
		want.Results[i].Asked, want.Results[i].From, want.Results[i].NoSearchReason, want.Results[i].TableErrno, want.Results[i].Unlisted, want.Results[i].LeasesUnknown, want.Results[i].Env, want.Results[i].Rivals = 0, nil, "", "", false, false, "", 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q does not come back from JSON (-want +got):\n%s", s, diff)
	}
}

func TestJSONComesBack(t *testing.T) {
	for _, s := range slices.Concat(hostile, hostileHere) {
		checkRoundTrip(t, s)
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(checkRoundTrip)
}

func FuzzFormats(f *testing.F) {
	for _, s := range slices.Concat(hostile, hostileHere) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := filled(s)
		outputs := inAllFormats(t, r, Options{Root: "/repo"})
		for format, out := range outputs {
			checkInert(t, format, out)
		}
		readBack(t, r, outputs)
	})
}
