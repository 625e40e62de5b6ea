package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

const (
	maxAnnotations   = 10   // for each level; GitHub drops further ones without a word
	annotationLength = 4096 // characters of a message that GitHub shows
)

// annotation is one workflow command: a problem, or all findings of a need.
type annotation struct {
	at       config.Position
	severity config.Severity
	title    string
	lines    []string // safe
	unknown  bool     // no protocol of the need has a known status
}

// github writes annotations, one for each problem and each unmet need.
func github(w io.Writer, r check.Report, o Options) error {
	return writeAnnotations(w, annotations(r), o)
}

// Annotate writes annotations for GitHub about errors that no report has.
func Annotate(w io.Writer, errors []config.Problem, o Options) error {
	var all []annotation
	for _, e := range errors {
		all = append(all, annotation{at: e.Position, severity: config.SeverityError, title: "portcheck", lines: []string{sentence(e.Message)}})
	}
	return writeAnnotations(w, all, o)
}

func writeAnnotations(w io.Writer, all []annotation, o Options) error {
	// go-githubactions panics if a write fails. A write to a buffer does not.
	var b bytes.Buffer
	action := githubactions.New(githubactions.WithWriter(&b))
	for _, level := range []config.Severity{config.SeverityError, config.SeverityWarning} {
		for _, a := range ofLevel(all, level) {
			annotate := action.WithFieldsMap(a.fields(o)).Errorf
			if level == config.SeverityWarning {
				annotate = action.WithFieldsMap(a.fields(o)).Warningf
			}
			annotate("%s", joinLines(a.lines))
		}
	}
	// It ends lines with CR LF on Windows, and encodes every CR of a message.
	_, err := w.Write(bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n")))
	return err
}

// annotations returns one annotation for each problem and each unmet need. The
// protocols of a need share one.
func annotations(r check.Report) []annotation {
	var all []annotation
	for _, p := range r.Problems {
		f := problemFinding(p)
		all = append(all, annotation{at: p.Position, severity: f.severity, title: "portcheck", lines: annotationLines(f)})
	}
	type need struct {
		at           config.Position
		name, target string
	}
	index := map[need]int{}
	by := namesOf(r)
	for _, x := range r.Results {
		found := unmetFindings(x, by)
		if len(found) == 0 {
			continue
		}
		var lines []string
		for _, f := range found {
			lines = append(lines, annotationLines(f)...)
		}
		key := need{x.Source, x.Name, x.Target}
		if i, ok := index[key]; ok {
			all[i].lines = append(all[i].lines, lines...)
			all[i].unknown = all[i].unknown && x.Status == check.Unknown
			continue
		}
		index[key] = len(all)
		all = append(all, annotation{
			at: x.Source, severity: x.Severity, title: "portcheck: " + Safe(found[0].subject),
			lines: lines, unknown: x.Status == check.Unknown,
		})
	}
	return all
}

func annotationLines(f finding) []string {
	line := sentence(f.message)
	if f.code != "" {
		line += " [" + Safe(f.code) + "]"
	}
	lines := []string{line}
	for _, h := range f.hints {
		lines = append(lines, hintText(h))
	}
	return lines
}

// ofLevel returns the annotations of a level, unknown ones last. The last one
// stands for those beyond GitHub's limit.
func ofLevel(all []annotation, level config.Severity) []annotation {
	var known, unknown []annotation
	for _, a := range all {
		switch {
		case (a.severity == config.SeverityWarning) != (level == config.SeverityWarning):
		case a.unknown:
			unknown = append(unknown, a)
		default:
			known = append(known, a)
		}
	}
	list := slices.Concat(known, unknown)
	if len(list) <= maxAnnotations {
		return list
	}
	shown := maxAnnotations - 1
	more := annotation{title: "portcheck", lines: []string{fmt.Sprintf("%d more, see the step summary", len(list)-shown)}}
	return append(list[:shown:shown], more)
}

func (a annotation) fields(o Options) map[string]string {
	fields := map[string]string{"title": a.title}
	file := workspaceFile(a.at.File, o)
	if file == "" {
		return fields
	}
	fields["file"] = escape(file, unlimited)
	if a.at.Line > 0 {
		fields["line"] = strconv.Itoa(a.at.Line)
		fields["col"] = strconv.Itoa(a.at.Column)
	}
	return fields
}

// joinLines joins lines and cuts the result to GitHub's limit. The line ends are
// encoded by go-githubactions.
func joinLines(lines []string) string {
	joined := []rune(strings.Join(lines, "\n"))
	if len(joined) > annotationLength {
		return string(joined[:annotationLength-len(ellipsis)]) + ellipsis
	}
	return string(joined)
}
