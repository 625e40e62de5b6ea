package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// readers parse a format as its consumers do. They fail where a consumer would
// refuse the output or miss a result.
var readers = map[string]func(t *testing.T, r check.Report, out string){
	"junit":       readJUnit,
	"sarif":       readSARIF,
	"codequality": readQuality,
	"tap":         readTAP,
	"prometheus":  readGauges,
	"html":        readPage,
}

func readBack(t *testing.T, r check.Report, outputs map[string]string) {
	t.Helper()
	for format, read := range readers {
		read(t, r, outputs[format])
	}
}

// outcomes counts the results of a report.
func outcomes(r check.Report) (met, unmet, unknown int) {
	for _, x := range r.Results {
		switch {
		case x.OK:
			met++
		case x.Status == check.Unknown:
			unknown++
		default:
			unmet++
		}
	}
	return met, unmet, unknown
}

// failing counts the results that are not met: those that fail a run by default, and
// those that do not.
func failing(r check.Report) (unmet, unknown, tolerated int) {
	for _, x := range r.Results {
		switch {
		case x.OK:
		case x.Severity != config.SeverityError:
			tolerated++
		case x.Status == check.Unknown:
			unknown++
		default:
			unmet++
		}
	}
	return unmet, unknown, tolerated
}

// expected counts the findings of a report, all and without the notices.
func expected(r check.Report) (all, unmet int) {
	for _, x := range r.Results {
		if !x.OK {
			unmet++
		}
	}
	return len(findings(r)), unmet + len(r.Problems)
}

func readJUnit(t *testing.T, r check.Report, out string) {
	t.Helper()
	var doc struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Suites   []struct {
			Tests int    `xml:"tests,attr"`
			Out   string `xml:"system-out"`
			Cases []struct {
				Class   string  `xml:"classname,attr"`
				Name    string  `xml:"name,attr"`
				Failure *string `xml:"failure"`
				Error   *string `xml:"error"`
				Out     string  `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	d := xml.NewDecoder(strings.NewReader(out))
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("junit: %v\n%s", err, out)
	}
	if _, err := d.Token(); err != nil && err != io.EOF { // the end of the last line
		t.Errorf("junit: after the document: %v", err)
	}
	tests, failures, errs := 0, 0, 0
	seen := map[string]bool{}
	for _, s := range doc.Suites {
		if s.Tests != len(s.Cases) {
			t.Errorf("junit: a suite of %d tests has tests=%d", len(s.Cases), s.Tests)
		}
		attached := s.Out
		for _, c := range s.Cases {
			tests++
			attached += c.Out
			if c.Failure != nil {
				failures++
				attached += *c.Failure
			}
			if c.Error != nil {
				errs++
				attached += *c.Error
			}
			key := c.Class + "\x00" + c.Name
			if c.Class == "" || c.Name == "" || seen[key] {
				t.Errorf("junit: GitLab ignores the test %q", key)
			}
			seen[key] = true
		}
		if strings.Contains(attached, "[[ATTACHMENT|") {
			t.Errorf("junit: attaches a file: %s", attached)
		}
	}
	unmet, unknown, _ := failing(r)
	got := []int{tests, failures, errs}
	want := []int{len(r.Problems) + len(r.Results), unmet, unknown + len(r.Problems)}
	if !slices.Equal(got, want) || !slices.Equal([]int{doc.Tests, doc.Failures, doc.Errors}, want) {
		t.Errorf("junit: tests, failures and errors are %v, in the attributes %d %d %d, want %v", got, doc.Tests, doc.Failures, doc.Errors, want)
	}
}

func readSARIF(t *testing.T, r check.Report, out string) {
	t.Helper()
	var doc sarifLog
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("sarif: %v\n%s", err, out)
	}
	checkNoEmptyString(t, out)
	run := doc.Runs[0]
	all, unmet := expected(r)
	if got := len(run.Results); got != min(all, 25_000) {
		t.Errorf("sarif: %d results of %d findings", got, all)
	}
	seen := map[string]bool{}
	for _, x := range run.Results {
		if run.Tool.Driver.Rules[x.RuleIndex].ID != x.RuleID {
			t.Errorf("sarif: rule %d is not %s", x.RuleIndex, x.RuleID)
		}
		if !slices.Contains([]string{"error", "warning", "note"}, x.Level) {
			t.Errorf("sarif: level %q", x.Level)
		}
		if x.Level != "note" {
			unmet--
		}
		checkInert(t, "sarif's message", x.Message.Text)
		if strings.Contains(x.Message.Text, "](") {
			t.Errorf("sarif: a link in %q", x.Message.Text)
		}
		at := x.Locations[0].PhysicalLocation
		u, err := url.Parse(at.ArtifactLocation.URI)
		if err != nil || u.IsAbs() || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || u.Path == "" {
			t.Errorf("sarif: %q is not a path: %v", at.ArtifactLocation.URI, err)
		}
		if g := at.Region; g.StartLine < 1 || g.StartColumn < 1 || g.EndLine != g.StartLine || g.EndColumn <= g.StartColumn {
			t.Errorf("sarif: region %v", g)
		}
		print := x.PartialFingerprints["portcheck/v1"]
		if seen[print] {
			t.Errorf("sarif: fingerprint %s twice", print)
		}
		seen[print] = true
	}
	for _, n := range run.Invocations[0].Notifications {
		checkInert(t, "sarif's notification", n.Message.Text)
		if strings.Contains(n.Message.Text, "](") {
			t.Errorf("sarif: a link in %q", n.Message.Text)
		}
	}
	if unmet > 0 {
		t.Errorf("sarif: %d problems and unmet needs have no result", unmet)
	}
}

// checkNoEmptyString fails the test for any empty string. GitHub refuses some.
func checkNoEmptyString(t *testing.T, doc string) {
	t.Helper()
	if strings.Contains(doc, `: ""`) {
		t.Errorf("sarif: an empty string in %s", doc)
	}
}

func readQuality(t *testing.T, r check.Report, out string) {
	t.Helper()
	var issues []qualityIssue
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&issues); err != nil {
		t.Fatalf("codequality: %v\n%s", err, out)
	}
	all, unmet := expected(r)
	all += len(warningFindings(r))
	if issues == nil || len(issues) != all {
		t.Errorf("codequality: %d issues of %d findings", len(issues), all)
	}
	seen := map[string]bool{}
	for _, i := range issues {
		if !slices.Contains([]string{"info", "minor", "major", "critical", "blocker"}, i.Severity) {
			t.Errorf("codequality: severity %q", i.Severity)
		}
		checkInert(t, "codequality's description", i.Description)
		if i.Severity != "info" {
			unmet--
		}
		if len(i.Fingerprint) != 64 || seen[i.Fingerprint] {
			t.Errorf("codequality: fingerprint %q is not a hash, or occurs twice", i.Fingerprint)
		}
		seen[i.Fingerprint] = true
		if i.Location.Path == "" || filepath.IsAbs(i.Location.Path) || i.Location.Lines.Begin < 1 {
			t.Errorf("codequality: location %v", i.Location)
		}
	}
	if unmet > 0 {
		t.Errorf("codequality: %d problems and unmet needs have no issue", unmet)
	}
}

var (
	tapPlan  = regexp.MustCompile(`^1\.\.([0-9]+)( # SKIP [a-z ]+)?$`)
	tapPoint = regexp.MustCompile(`^(not )?ok ([0-9]+) - ((?:[^#\\]|\\[#\\])*)( # TODO severity warning)?$`)
)

// readTAP accepts only lines that have a meaning in TAP 13 and 14.
func readTAP(t *testing.T, r check.Report, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	plan := tapPlan.FindStringSubmatch(lines[1])
	if lines[0] != "TAP version 13" || plan == nil {
		t.Fatalf("tap: no version or plan: %q", lines[:2])
	}
	count, passed, failed, todo, diagnosed := 0, 0, 0, 0, 0
	for i := 2; i < len(lines); i++ {
		line := lines[i]
		point := tapPoint.FindStringSubmatch(line)
		switch {
		case point != nil:
			count++
			if point[2] != strconv.Itoa(count) || strings.TrimSpace(point[3]) == "" {
				t.Errorf("tap: test %d is %q", count, line)
			}
			switch {
			case point[1] == "":
				passed++
			case point[4] == "":
				failed++
			default:
				todo++
			}
		case line == "  ---":
			end := slices.Index(lines[i:], "  ...")
			if end < 0 {
				t.Fatalf("tap: a block without an end: %q", lines[i:])
			}
			var d struct {
				Message, Severity, Code, ID, File string
				Line, Column                      int
				Also, Holders, Hints              []string
				Alternatives                      []uint16
			}
			block := yaml.NewDecoder(strings.NewReader(strings.Join(lines[i+1:i+end], "\n")))
			block.KnownFields(true)
			if err := block.Decode(&d); err != nil {
				t.Errorf("tap: %v in %q", err, lines[i:i+end])
			}
			checkInert(t, "tap's message", strings.Join(append([]string{d.Message, d.Severity, d.Code, d.ID, d.File}, slices.Concat(d.Also, d.Holders, d.Hints)...), "\n"))
			diagnosed++
			i += end
		case !strings.HasPrefix(line, "# note: ") && !strings.HasPrefix(line, "# warning: target "):
			t.Errorf("tap: %q has no meaning", line)
		}
	}
	met, unmet, unknown := outcomes(r)
	if plan[1] != strconv.Itoa(count) || count != len(r.Problems)+len(r.Results) {
		t.Errorf("tap: %d tests of %s, for %d problems and %d results", count, plan[1], len(r.Problems), len(r.Results))
	}
	warnings := 0
	for _, x := range r.Results {
		if !x.OK && x.Severity == config.SeverityWarning {
			warnings++
		}
	}
	unmet += unknown + len(r.Problems)
	if passed != met || todo != warnings || failed != unmet-warnings || diagnosed != unmet {
		t.Errorf("tap: %d passed, %d to do, %d failed, %d diagnosed; want %d, %d, %d and %d", passed, todo, failed, diagnosed, met, warnings, unmet-warnings, unmet)
	}
}

func readGauges(t *testing.T, r check.Report, out string) {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(out))
	if err != nil {
		t.Fatalf("prometheus: %v\n%s", err, out)
	}
	seen := map[string]bool{}
	for name, f := range families {
		if f.GetHelp() == "" || f.GetType().String() != "GAUGE" {
			t.Errorf("prometheus: %s has help %q and type %s", name, f.GetHelp(), f.GetType())
		}
		for _, m := range f.GetMetric() {
			key := fmt.Sprint(name, m.GetLabel())
			if seen[key] {
				t.Errorf("prometheus: %s twice", key)
			}
			seen[key] = true
			for _, l := range m.GetLabel() {
				checkInert(t, "prometheus's label", l.GetValue())
			}
		}
	}
	// samples maps the values of one label to those of a metric.
	samples := func(metric, label string) map[string][]float64 {
		found := map[string][]float64{}
		for _, m := range families[metric].GetMetric() {
			key := ""
			for _, l := range m.GetLabel() {
				if l.GetName() == label {
					key = l.GetValue()
				}
			}
			found[key] = append(found[key], m.GetGauge().GetValue())
		}
		return found
	}
	boolean := map[bool]float64{true: 1}
	want := map[string]map[string][]float64{
		"portcheck_manifest_problems": {"": {float64(len(r.Problems))}},
		"portcheck_ok":                {"": {boolean[r.OK && len(r.Problems) == 0]}},
		"portcheck_needs": {
			"ok": {float64(r.Summary.OK)}, "error": {float64(r.Summary.Errors)},
			"warning": {float64(r.Summary.Warnings)}, "unknown": {float64(r.Summary.Unknown)},
		},
	}
	for metric, values := range want {
		if diff := cmp.Diff(values, samples(metric, "outcome")); diff != "" {
			t.Errorf("prometheus: %s (-want +got):\n%s", metric, diff)
		}
	}
	// Results that are the same need share a sample, which has the lower value.
	type need struct {
		id, name, app, expect, severity string
		ports                           port.Range
	}
	oks, unmet, statuses := map[need]bool{}, map[need]bool{}, map[string]map[need]bool{}
	for _, x := range r.Results {
		n := need{escape(x.ID, unlimited), escape(x.Name, unlimited), escape(appOf(x), unlimited), escape(string(x.Expect), unlimited), escape(string(x.Severity), unlimited), x.Ports()}
		oks[n] = true
		if !x.OK {
			unmet[n] = true
		}
		if status := escape(string(x.Status), unlimited); status != "" {
			if statuses[status] == nil {
				statuses[status] = map[need]bool{}
			}
			statuses[status][n] = true
		}
	}
	got, zero := 0, 0
	for _, values := range samples("portcheck_need_ok", "id") {
		for _, v := range values {
			if got++; v == 0 {
				zero++
			} else if v != 1 {
				t.Errorf("prometheus: a need is ok by %v", v)
			}
		}
	}
	if got != len(oks) || zero != len(unmet) {
		t.Errorf("prometheus: %d samples, %d of them unmet, want %d and %d", got, zero, len(oks), len(unmet))
	}
	for status, values := range samples("portcheck_need_status", "status") {
		if len(values) != len(statuses[status]) || slices.ContainsFunc(values, func(v float64) bool { return v != 1 }) {
			t.Errorf("prometheus: status %q has the samples %v, want %d of value 1", status, values, len(statuses[status]))
		}
		delete(statuses, status)
	}
	if len(statuses) > 0 {
		t.Errorf("prometheus: no samples of the statuses %v", slices.Collect(maps.Keys(statuses)))
	}
	for name := range families {
		if !slices.Contains([]string{"portcheck_ok", "portcheck_manifest_problems", "portcheck_needs", "portcheck_target_warnings", "portcheck_need_ok", "portcheck_need_status"}, name) {
			t.Errorf("prometheus: there is a metric %s", name)
		}
	}
}

func TestFormatsAreReadBack(t *testing.T) {
	t.Parallel()
	reports := cases()
	reports["sample"] = sample()
	reports["zero"] = check.Report{}
	reports["zero result"] = check.Report{Results: make([]check.Result, 1), Targets: make([]check.TargetReport, 1), Problems: make([]config.Problem, 2)}
	reports["crowd"] = crowd(512)
	for name, r := range reports {
		t.Run(name, func(t *testing.T) { readBack(t, r, inAllFormats(t, r, Options{Root: "/repo"})) })
	}
	for _, s := range slices.Concat(hostile, hostileHere) {
		for _, r := range hostileReports(s) {
			readBack(t, r, inAllFormats(t, r, Options{Root: "/repo"}))
		}
	}
}

// hostileHere are texts with a meaning in one of these formats.
var hostileHere = []string{
	"]]>", "]]]]><![CDATA[>", "<!-- --><?x?>&amp;&#0;", "\ufffe\uffff\x0b",
	"[[ATTACHMENT|/etc/passwd]]", "[x](https://example.com)", "{0} {}",
	"# TODO later", "x # SKIP y", `\# TODO \`, `\\`, "1..0", "ok 7", "Bail out!", "pragma +strict", "---", "...", "  ...", "a: b", "- a: b", "~", "{}",
	`a"b\c` + "\nd", `"} 1`, "a\x00b", "C:\\x y\\%41?#", "//host/x", "https://example.com/x", "a:b", "..", ".", "/",
}

// sample returns a report with a result of each kind.
func sample() check.Report {
	all := results()
	free, taken, unknown, warning := all["free"], all["in-use-container"], all["unknown"], all["warning"]
	for i, x := range []*check.Result{&free, &taken, &unknown, &warning} {
		x.Name = []string{"web", "db", "cache", "metrics"}[i]
		x.ID = "shop/" + x.Name + "@local/tcp"
		x.Source.File, x.Source.Line = "deploy/portcheck.yml", 6+i
	}
	free.Notices = append(free.Notices, notices[config.UnsafePort])
	r := reportOf(free, taken, unknown, warning)
	r.OK = false
	r.Problems = problems().Problems[:1]
	r.Targets[0].Notices = []check.Notice{notices[config.Degraded]}
	return r
}

// crowd returns a report of n needs, half of them unmet.
func crowd(n int) check.Report {
	taken, free := results()["in-use"], results()["free"]
	all := make([]check.Result, n)
	for i := range all {
		all[i] = free
		if i%2 == 0 {
			all[i] = taken
		}
		all[i].Name, all[i].Source.Line, all[i].Port = fmt.Sprintf("n%d", i), 6+i, uint16(1024+i)
		all[i].ID = fmt.Sprintf("shop/n%d@local/tcp", i)
	}
	return reportOf(all...)
}

// TestFormatGolden has an example of each format.
func TestFormatGolden(t *testing.T) {
	outputs := inAllFormats(t, sample(), Options{Root: "/repo"})
	outputs["html"] = strings.NewReplacer(pageStyle, "(html.css)", hashOf(pageStyle), "(its hash)", pageScript, "(html.js)", hashOf(pageScript), "(its hash)").Replace(outputs["html"])
	for format := range readers {
		compareGolden(t, filepath.Join("formats", format), outputs[format])
	}
}

func TestEveryCodeIsExplained(t *testing.T) {
	want := []string{manifestCode}
	for _, s := range check.Statuses {
		if !s.OK() || s == check.Reachable { // not ok with expect: unreachable
			want = append(want, string(s))
		}
	}
	for _, n := range config.NoticeCodes {
		want = append(want, string(n))
	}
	var got []string
	for _, c := range codes {
		got = append(got, c.id)
		if v := reflect.ValueOf(c); v.IsZero() || c.name == c.id || c.title == "" || c.means == "" || c.cause == "" || c.help == "" {
			t.Errorf("%s is not explained: %+v", c.id, c)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("codes %v are explained, want %v", got, want)
	}
}

// A finding keeps its fingerprint when lines, processes and messages change. No
// other finding has the same one.
func TestFingerprintsAreStable(t *testing.T) {
	prints := func(results ...check.Result) []string {
		var all []string
		seen := fingerprints{}
		for _, f := range findings(reportOf(results...)) {
			all = append(all, seen.of(f))
		}
		return all
	}
	before := results()["in-use"]
	after := before
	after.Source.Line, after.Source.Column = 40, 3
	after.Message = "tcp 8080 is in use by nginx (pid 900, nginx.service)"
	if a, b := prints(before), prints(after); !slices.Equal(a, b) {
		t.Errorf("the line or the pid changes the fingerprint: %v, %v", a, b)
	}
	udp := before
	udp.ID = "shop/web@local/udp"
	denied := before
	denied.Status = check.Denied
	if a := prints(before, udp, denied); a[0] == a[1] || a[0] == a[2] {
		t.Errorf("another need or status has the same fingerprint: %v", a)
	}
}

func TestLocation(t *testing.T) {
	for name, c := range map[string]struct {
		at   config.Position
		o    Options
		want config.Position
	}{
		"in the workspace": {config.Position{File: "portcheck.yml", Line: 6, Column: 11}, Options{Root: "/repo", Dir: "/repo/sub"}, config.Position{File: "sub/portcheck.yml", Line: 6, Column: 11}},
		"no line":          {config.Position{File: "portcheck.yml"}, Options{Root: "/repo"}, config.Position{File: "portcheck.yml", Line: 1, Column: 1}},
		"a flag":           {config.Position{File: "--port"}, Options{Root: "/repo", Dir: "/repo"}, config.Position{File: "--port", Line: 1, Column: 1}},
		"no manifest":      {config.Position{}, Options{Root: "/repo"}, config.Position{File: "portcheck.yml", Line: 1, Column: 1}},
		"elsewhere":        {config.Position{File: "/etc/portcheck.yml", Line: 3, Column: 2}, Options{Root: "/repo"}, config.Position{File: "outside-the-workspace/etc/portcheck.yml", Line: 3, Column: 2}},
		"above":            {config.Position{File: "../portcheck.yml", Line: 3, Column: 2}, Options{Root: "/repo", Dir: "/repo"}, config.Position{File: "outside-the-workspace/portcheck.yml", Line: 3, Column: 2}},
	} {
		c.at.File, c.o.Root, c.o.Dir = absolute(c.at.File), absolute(c.o.Root), absolute(c.o.Dir)
		if got := location(c.at, c.o); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSARIFVersion(t *testing.T) {
	for tool, want := range map[string]string{
		"portcheck v0.1.0":          "0.1.0",
		"portcheck v1.2.3-rc.1+x-y": "1.2.3-rc.1+x-y",
		"portcheck devel":           "0.0.0-devel",
		"portcheck v1.2":            "0.0.0-devel",
		"portcheck v1.2.3-":         "0.0.0-devel",
		"portcheck v1.2.x":          "0.0.0-devel",
		"portcheck v1.2.3-\u0661":   "0.0.0-devel",
		"":                          "0.0.0-devel",
	} {
		if d := sarifDriverOf(tool); d.Version != want || d.SemanticVersion != want {
			t.Errorf("%q: version %q, semantic %q, want %q", tool, d.Version, d.SemanticVersion, want)
		}
	}
}

func TestURIOfAFile(t *testing.T) {
	kept := regexp.MustCompile(`^[A-Za-z0-9/._~-]$`)
	for c := range 256 {
		path := string([]byte{byte(c)})
		got := relativeURI(path)
		back, err := url.PathUnescape(got)
		if err != nil || back != path || (got == path) != kept.MatchString(path) {
			t.Errorf("%q is %q, and back %q, %v", path, got, back, err)
		}
	}
}

// GitHub refuses a file with more results, so the least severe ones are left out.
func TestSARIFLeavesOutTheLeast(t *testing.T) {
	t.Parallel()
	r := crowd(sarifResults)
	write := func() (doc sarifLog) {
		var out bytes.Buffer
		if err := Formats["sarif"](&out, r, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	for i := range r.Results {
		if r.Results[i].OK {
			r.Results[i].Notices = []check.Notice{notices[config.Ephemeral]}
		}
	}
	if doc := write(); len(doc.Runs[0].Results) != 25_000 || len(doc.Runs[0].Invocations[0].Notifications) != 0 {
		t.Errorf("of 25,000 results %d are left: %v", len(doc.Runs[0].Results), doc.Runs[0].Invocations)
	}
	for i := range r.Results {
		r.Results[i].Notices = []check.Notice{notices[config.Ephemeral]}
	}
	doc := write()
	errs := 0
	for _, x := range doc.Runs[0].Results {
		if x.Level == "error" {
			errs++
		}
	}
	if n := len(doc.Runs[0].Results); n != 25_000 || errs != 12_500 {
		t.Errorf("%d results, %d errors", n, errs)
	}
	if n := doc.Runs[0].Invocations[0].Notifications; len(n) != 1 || !strings.HasPrefix(n[0].Message.Text, "12500 results left out") {
		t.Errorf("no notification of results left out: %v", n)
	}
}

func TestCodeQualityOfNothing(t *testing.T) {
	if out := inAllFormats(t, cases()["free"], Options{})["codequality"]; out != "[]\n" {
		t.Errorf("a report without findings is %q", out)
	}
}

// Two results with one id are a bug, which must not hide a conflict.
func TestPrometheusKeepsTheWorse(t *testing.T) {
	free, taken := results()["free"], results()["in-use"]
	for _, r := range []check.Report{reportOf(free, taken), reportOf(taken, free)} {
		out := inAllFormats(t, r, Options{})["prometheus"]
		if strings.Count(out, "\nportcheck_need_ok{") != 1 || !strings.Contains(out, `severity="error"} 0`) {
			t.Errorf("want one sample, of the unmet:\n%s", out)
		}
	}
}
