package report

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/check"
)

// DiffFormats are the formats of what diff prints.
var DiffFormats = Table[check.Diff]{
	"text":       diffText,
	"json":       diffJSON,
	"junit":      diffJUnit,
	"markdown":   diffMarkdown,
	"prometheus": diffPrometheus,
}

// changeOrder is the order of kinds in texts, and their headings.
var changeOrder = []struct {
	kind    check.ChangeKind
	heading string
}{
	{check.Appeared, "Appeared"},
	{check.ChangedHands, "Changed hands"},
	{check.ExposedMore, "Exposed to more addresses"},
	{check.Moved, "Moved"},
	{check.Gone, "Gone"},
}

// diffJSON writes a comparison as schema/diff.schema.json describes it.
func diffJSON(w io.Writer, d check.Diff, _ Options) error {
	d.Version = jsonVersion
	targets := targetsJSON([]check.TargetReport{d.Base, d.Now})
	d.Base, d.Now = targets[0], targets[1]
	d.Warnings, d.Unknown = listOf(d.Warnings), listOf(d.Unknown)
	for i, text := range d.Warnings {
		d.Warnings[i] = noCode(text)
	}
	for i, x := range d.Unknown {
		d.Unknown[i] = changeJSON(x)
	}
	changes := d.Changes
	d.Changes = []check.Change{}
	return writeJSONList(w, d, "changes", len(changes), func(i int) check.Change { return changeJSON(changes[i]) })
}

// changeJSON returns x with empty lists instead of nil.
func changeJSON(x check.Change) check.Change {
	x.Holders, x.Before = orEmpty(x.Holders), orEmpty(x.Before)
	return x
}

// diffText writes a line for each change, anomalies first, and a summary.
func diffText(w io.Writer, d check.Diff, o Options) error {
	var b bytes.Buffer
	for _, text := range d.Warnings {
		b.WriteString("warning: " + sentence(text) + "\n")
	}
	write := func(x check.Change) {
		word := string(x.Kind)
		if x.Anomaly && o.Color {
			word = "\x1b[1;31m" + word + "\x1b[0m"
		}
		b.WriteString(word + ": " + changeEndpoint(x) + ": " + changeStory(x) + "\n")
	}
	for _, anomaly := range []bool{true, false} {
		for _, k := range changeOrder {
			for _, x := range d.Changes {
				if x.Kind == k.kind && x.Anomaly == anomaly {
					write(x)
				}
			}
		}
	}
	for i, x := range d.Unknown {
		if i == maxUnknown {
			fmt.Fprintf(&b, "unknown: %d more\n", len(d.Unknown)-i)
			break
		}
		write(x)
	}
	b.WriteString(diffSummary(d) + "\n")
	_, err := w.Write(b.Bytes())
	return err
}

// maxUnknown limits the listeners that are listed because nothing is known: without
// root that is most of them.
const maxUnknown = 10

// diffSummary returns the last line of a text.
func diffSummary(d check.Diff) string {
	s := d.Summary
	parts := []string{anomalies(s.Anomalies)}
	add := func(n int, text string) {
		if n > 0 {
			parts = append(parts, text)
		}
	}
	add(s.Explained, fmt.Sprintf("%d explained", s.Explained))
	add(s.Other, check.Counted(s.Other, "other change"))
	add(s.Unknown, fmt.Sprintf("%d unknown", s.Unknown))
	add(s.Same, fmt.Sprintf("%d unchanged", s.Same))
	text := strings.Join(parts, ", ")
	if s.Ignored > 0 {
		text += fmt.Sprintf(" (%s on ephemeral ports not compared)", check.Counted(s.Ignored, "UDP socket"))
	}
	return text
}

func anomalies(n int) string {
	switch n {
	case 0:
		return "no anomalies"
	case 1:
		return "1 anomaly"
	}
	return fmt.Sprintf("%d anomalies", n)
}

// changeEndpoint returns "tcp 127.0.0.1:8080".
func changeEndpoint(x check.Change) string {
	return Safe(string(x.Protocol)) + " " + Safe(net.JoinHostPort(x.Address, strconv.Itoa(int(x.Port))))
}

// changeStory returns who has the port, and what was there before.
func changeStory(x check.Change) string {
	var parts []string
	now, before := holdersText(x.Holders), holdersText(x.Before)
	if x.Kind == check.ChangedHands && len(x.Holders) == 1 && len(x.Before) == 1 {
		if is, was := x.Holders[0].Executable, x.Before[0].Executable; is != was && x.Holders[0].Process == x.Before[0].Process {
			now, before = now+" by "+orUnknown(is), before+" by "+orUnknown(was)
		}
	}
	switch x.Kind {
	case check.Gone:
		parts = append(parts, "was "+before)
	case check.ChangedHands:
		parts = append(parts, now, "before it was "+before)
	case check.ExposedMore:
		was := "before only on " + Safe(wasText(x))
		if slices.Contains(x.Was, x.Address) {
			was = "before only for IPv6"
		}
		parts = append(parts, now, was)
	case check.Moved:
		parts = append(parts, now, "before on "+Safe(wasText(x)))
	case check.HandsUnknown:
		parts = append(parts, now, "whether it is the same as before could not be determined: before it was "+before)
	default:
		parts = append(parts, now)
	}
	text := strings.Join(parts, "; ")
	if x.ExplainedBy != "" {
		text += "; explained by " + whole(x.ExplainedBy)
	}
	return text
}

// wasText returns where the port was served before.
func wasText(x check.Change) string {
	var all []string
	for _, address := range x.Was {
		all = append(all, bracketed(address))
	}
	return strings.Join(all, ", ")
}

// diffJUnit writes a test for each change, of which anomalies fail, and one for the
// comparison itself.
func diffJUnit(w io.Writer, d check.Diff, _ Options) error {
	name := cmp.Or(Safe(d.Now.Name), "portcheck")
	suite := &junitSuite{Name: name, Hostname: Safe(d.Now.Hostname)}
	if !d.Generated.IsZero() {
		suite.Timestamp = d.Generated.UTC().Format("2006-01-02T15:04:05")
	}
	doc := &junitDoc{junitSuites: junitSuites{Name: "portcheck diff", Suites: []*junitSuite{suite}}, names: map[[2]string]int{}}
	first := junitCase{Class: name, Name: "comparison with the baseline"}
	var about []string
	for _, text := range d.Warnings {
		about = append(about, "warning: "+sentence(text))
	}
	first.SystemOut = &junitText{escapeAttachments(strings.Join(append(about, diffSummary(d)), "\n"))}
	doc.add(suite, finding{}, first)
	for _, x := range slices.Concat(d.Changes, d.Unknown) {
		c := junitCase{Class: name, Name: string(x.Kind) + " " + changeEndpoint(x)}
		text := escapeAttachments(changeStory(x))
		reason := &junitReason{Type: string(x.Kind), Message: text, Text: text}
		switch {
		case x.Anomaly:
			c.Failure = reason
		case x.Kind == check.HandsUnknown && x.ExplainedBy == "":
			c.Error = reason
		default:
			c.SystemOut = &junitText{text}
		}
		doc.add(suite, finding{}, c)
	}
	text, err := xml.MarshalIndent(doc.junitSuites, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

// diffMarkdown writes a step summary.
func diffMarkdown(w io.Writer, d check.Diff, _ Options) error {
	p := &page{}
	p.always("## portcheck diff: " + cell(anomalies(d.Summary.Anomalies)) + "\n\n" + cellSentence(diffSummary(d)) + "\n")
	var warnings []string
	for _, text := range d.Warnings {
		warnings = append(warnings, "- "+cellSentence(text)+"\n")
	}
	p.list("Warnings", warnings, false)
	table := func(title string, rows []string, fold bool) {
		p.section(title, "| Listener | Now | Before |\n| --- | --- | --- |\n", rows, "| %d more | | |\n", fold)
	}
	for _, k := range changeOrder {
		var rows []string
		for _, x := range d.Changes {
			if x.Kind == k.kind && x.Anomaly {
				rows = append(rows, changeRow(x))
			}
		}
		table(k.heading, rows, false)
	}
	var rest, unknown []string
	for _, k := range changeOrder {
		for _, x := range d.Changes {
			if x.Kind == k.kind && !x.Anomaly {
				rest = append(rest, changeRow(x))
			}
		}
	}
	for _, x := range d.Unknown {
		unknown = append(unknown, changeRow(x))
	}
	table("No anomalies", rest, len(rest) > foldAbove)
	table("Unknown", unknown, len(unknown) > foldAbove)
	_, err := io.WriteString(w, p.String())
	return err
}

func changeRow(x check.Change) string {
	before := heldByCell(check.Result{Holders: x.Before})
	if len(x.Was) > 0 {
		before = "on " + cell(wasText(x))
	}
	listener := cell(changeEndpoint(x))
	if !x.Anomaly {
		listener += "<br>" + cell(string(x.Kind))
	}
	if x.ExplainedBy != "" {
		listener += ", explained by " + cell(x.ExplainedBy)
	}
	return fmt.Sprintf("| %s | %s | %s |\n", listener, heldByCell(check.Result{Holders: x.Holders}), before)
}

// diffPrometheus writes gauges for the textfile collector of node_exporter.
func diffPrometheus(w io.Writer, d check.Diff, _ Options) error {
	target := label{"target", d.Now.Name}
	ok := gauge{name: "portcheck_diff_ok", help: "Whether no listener is an anomaly (1) or one is (0)."}
	ok.addMin([]label{target}, oneIf(d.OK))
	all := gauge{name: "portcheck_anomalies", help: "Listeners that differ from the baseline and are not explained, by kind."}
	count := map[check.ChangeKind]int{}
	one := gauge{name: "portcheck_anomaly", help: "1 for each listener that differs from the baseline and is not explained."}
	for _, x := range d.Changes {
		if x.Anomaly {
			count[x.Kind]++
			one.addMin([]label{target, {"kind", string(x.Kind)}, {"protocol", string(x.Protocol)}, {"address", x.Address}, {"port", strconv.Itoa(int(x.Port))}}, 1)
		}
	}
	for _, k := range changeOrder {
		if k.kind.Anomaly() {
			all.addMin([]label{target, {"kind", string(k.kind)}}, count[k.kind])
		}
	}
	unknown := gauge{name: "portcheck_diff_unknown", help: "Listeners of which it is not known whether they have changed hands."}
	unknown.addMin([]label{target}, d.Summary.Unknown)
	var b bytes.Buffer
	for _, g := range []gauge{ok, all, one, unknown} {
		g.write(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}
