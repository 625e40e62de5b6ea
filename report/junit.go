package report

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/org/portcheck/check"
)

// JUnit's XML as GitLab and Jenkins read it. GitLab links a test to its file.
// Both ignore the line, which other readers show.
// https://docs.gitlab.com/ci/testing/unit_test_reports/#junit-xml-format-specification
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		junitCounts
		Suites []*junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name string `xml:"name,attr"`
		junitCounts
		Timestamp string      `xml:"timestamp,attr,omitempty"` // UTC, without a zone, as in Ant's schema
		Hostname  string      `xml:"hostname,attr,omitempty"`
		Cases     []junitCase `xml:"testcase"`
		SystemOut *junitText  `xml:"system-out"`
	}
	junitCounts struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	junitCase struct {
		Class     string        `xml:"classname,attr"`
		Name      string        `xml:"name,attr"`
		File      string        `xml:"file,attr,omitempty"`
		Line      int           `xml:"line,attr,omitempty"`
		Skipped   *junitSkipped `xml:"skipped"`
		Failure   *junitReason  `xml:"failure"`
		Error     *junitReason  `xml:"error"`
		SystemOut *junitText    `xml:"system-out"`
	}
	junitReason struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",cdata"` // readable without a parser
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",cdata"`
	}
	junitText struct {
		Text string `xml:",cdata"`
	}
)

// junit writes a test report: a suite for each target with a test for each
// result. GitLab and Jenkins have no tests that only warn: an unmet need that does
// not fail the run is a skipped test, the one kind beside failures that both show
// with its text. So a report has failures or errors if the run fails.
func junit(w io.Writer, r check.Report, o Options) error {
	doc := &junitDoc{junitSuites: junitSuites{Name: "portcheck"}, suites: map[string]*junitSuite{}, names: map[[2]string]int{}, options: o}
	for _, p := range r.Problems {
		doc.problem(p.Position.String(), problemFinding(p))
	}
	by := namesOf(r)
	for _, x := range r.Results {
		doc.result(x, by)
	}
	if !r.Generated.IsZero() {
		for _, s := range doc.Suites {
			s.Timestamp = r.Generated.UTC().Format("2006-01-02T15:04:05")
		}
	}
	for _, t := range r.Targets {
		if s := doc.suites[t.Name]; s != nil {
			s.Hostname = Safe(t.Hostname)
		}
		doc.notices(t)
	}
	text, err := xml.MarshalIndent(doc.junitSuites, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

type junitDoc struct {
	junitSuites
	suites  map[string]*junitSuite // by target
	names   map[[2]string]int      // number of tests by class and name
	options Options
}

func (d *junitDoc) problem(at string, f finding) {
	const suite = "manifest"
	name := cmp.Or(sentence(f.message), suite)
	if at != "" {
		name = whole(at) + ": " + name
	}
	d.add(d.suite(suite), f, junitCase{Class: suite, Name: name, Error: d.reason(f)})
}

func (d *junitDoc) result(x check.Result, by naming) {
	c := junitCase{
		Class: cmp.Or(Safe(x.Target), "portcheck"),
		Name:  fmt.Sprintf("%s %s/%s", Safe(x.Name), Safe(string(x.Protocol)), stablePorts(x)),
	}
	if app := appOf(x); app != "" {
		c.Class = Safe(app) + "/" + c.Class
	}
	var notes bytes.Buffer
	if f, ok := chosenFinding(x, by); ok {
		writeFinding(&notes, f, Options{})
	}
	for _, f := range noteFindings(x, by) {
		writeFinding(&notes, f, Options{})
	}
	unmet := unmetFindings(x, by)
	if len(unmet) == 0 {
		if notes.Len() > 0 {
			c.SystemOut = &junitText{escapeAttachments(notes.String())}
		}
		d.add(d.suite(x.Target), finding{at: x.Source}, c)
		return
	}
	reason := d.reason(unmet[0], unmet[1:]...)
	for _, line := range holderLines(x.Holders) {
		reason.Text += "held by: " + escapeAttachments(line) + "\n"
	}
	reason.Text += escapeAttachments(notes.String())
	switch {
	case !d.options.Failing.Result(x):
		c.Skipped = &junitSkipped{reason.Message, reason.Text}
	case x.Status == check.Unknown:
		c.Error = reason
	default:
		c.Failure = reason
	}
	d.add(d.suite(x.Target), unmet[0], c)
}

// notices adds the notices of a target as text, and those that fail the run as tests.
func (d *junitDoc) notices(t check.TargetReport) {
	if len(t.Notices) == 0 {
		return
	}
	var text bytes.Buffer
	writeTargetNotices(&text, []check.TargetReport{t})
	s := d.suite(t.Name)
	s.SystemOut = &junitText{escapeAttachments(text.String())}
	for _, n := range t.Notices {
		if d.options.Failing.Notice(n) {
			f := finding{severity: noticeSeverity(n), subject: "target " + t.Name, message: n.Message, code: string(n.Code)}
			d.add(s, f, junitCase{Class: cmp.Or(Safe(t.Name), "portcheck"), Name: "target " + Safe(string(n.Code)), Failure: d.reason(f)})
		}
	}
}

// reason describes a failure by the first finding. The text has the others as
// well: GitLab shows only the text.
func (d *junitDoc) reason(f finding, more ...finding) *junitReason {
	var b bytes.Buffer
	for _, f := range append([]finding{f}, more...) {
		writeFinding(&b, f, Options{})
	}
	return &junitReason{Type: Safe(f.code), Message: escapeAttachments(sentence(f.message)), Text: escapeAttachments(b.String())}
}

// suite returns the suite of a target, which it adds if it is new.
func (d *junitDoc) suite(target string) *junitSuite {
	s := d.suites[target]
	if s == nil {
		s = &junitSuite{Name: cmp.Or(Safe(target), "portcheck")}
		d.suites[target] = s
		d.Suites = append(d.Suites, s)
	}
	return s
}

// add adds a test to a suite and counts it.
func (d *junitDoc) add(s *junitSuite, f finding, c junitCase) {
	c.File = escape(workspaceFile(f.at.File, d.options), unlimited)
	if c.File != "" {
		c.Line = f.at.Line
	}
	// GitLab ignores a second test of the same class and name.
	key := [2]string{c.Class, c.Name}
	d.names[key]++
	if n := d.names[key]; n > 1 {
		c.Name += fmt.Sprintf(" (%d)", n)
	}
	for _, counts := range []*junitCounts{&d.junitCounts, &s.junitCounts} {
		counts.Tests++
		if c.Skipped != nil {
			counts.Skipped++
		}
		if c.Failure != nil {
			counts.Failures++
		}
		if c.Error != nil {
			counts.Errors++
		}
	}
	s.Cases = append(s.Cases, c)
}

// escapeAttachments breaks the tags by which GitLab and Jenkins attach a file of
// the job to a test.
func escapeAttachments(s string) string { return strings.ReplaceAll(s, "[[", `[\x5b`) }
