package report

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// note is the severity of a finding that does not fail the run.
const note config.Severity = "note"

const indent = "    " // of hints

// finding is a problem, an unmet need or a notice, at a position in a manifest.
// Its strings are raw; a format makes them safe.
type finding struct {
	at       config.Position
	id       string // the result's; empty for a problem
	severity config.Severity
	subject  string // the need; may be empty
	message  string
	code     string
	hints    []check.Hint
}

// noticeSeverity returns the severity of a target's notice.
func noticeSeverity(n check.Notice) config.Severity { return cmp.Or(n.Severity, note) }

func problemFinding(p config.Problem) finding {
	return finding{at: p.Position, severity: config.SeverityError, message: p.Message, code: manifestCode}
}

// unmetFindings returns the reasons why a result is not met, the first with hints.
// If the result is met, it returns none.
func unmetFindings(r check.Result, by naming) []finding {
	if r.OK {
		return nil
	}
	found := []finding{newFinding(r, by, r.Severity, r.Message, string(r.Status))}
	for _, n := range r.Notices {
		if n.Code.Excludes() {
			found = append(found, newFinding(r, by, r.Severity, n.Message, string(n.Code)))
		}
	}
	// The port itself is free, or was not probed: the other need is the reason.
	if len(found) > 1 && (r.Met() || r.Status == "") {
		found = found[1:]
	}
	found[0].hints = hints(r)
	return found
}

// noteFindings returns the result's notices that are not in unmetFindings.
func noteFindings(r check.Result, by naming) []finding {
	var found []finding
	for _, n := range r.Notices {
		if r.OK || !n.Code.Excludes() {
			found = append(found, newFinding(r, by, note, n.Message, string(n.Code)))
		}
	}
	return found
}

// findings returns all findings of a report. Notices of targets have no
// position in a manifest and are not among them.
func findings(r check.Report) []finding {
	var all []finding
	for _, p := range r.Problems {
		all = append(all, problemFinding(p))
	}
	by := namesOf(r)
	for _, x := range r.Results {
		all = append(all, unmetFindings(x, by)...)
		all = append(all, noteFindings(x, by)...)
	}
	return all
}

// warningFindings returns the warnings about targets, each at the first need there, for
// formats that have nothing without a position.
func warningFindings(r check.Report) []finding {
	var all []finding
	for _, t := range r.Targets {
		var at config.Position
		if i := slices.IndexFunc(r.Results, func(x check.Result) bool { return x.Target == t.Name }); i >= 0 {
			at = r.Results[i].Source
		}
		for _, n := range t.Notices {
			if n.Severity == config.SeverityWarning {
				all = append(all, finding{at: at, severity: n.Severity, subject: "target " + t.Name, message: n.Message, code: string(n.Code)})
			}
		}
	}
	return all
}

// worstFirst sorts results by weight.
func worstFirst(results []check.Result) []check.Result {
	results = slices.Clone(results)
	slices.SortStableFunc(results, func(a, b check.Result) int { return weight(a) - weight(b) })
	return results
}

// weight is smaller the worse a result is: errors come before warnings, unknown ones last
// within each, and met ones at the end.
func weight(r check.Result) int {
	switch {
	case r.OK:
		return 4
	case r.Severity == config.SeverityWarning && r.Status == check.Unknown:
		return 3
	case r.Severity == config.SeverityWarning:
		return 2
	case r.Status == check.Unknown:
		return 1
	}
	return 0
}

func newFinding(r check.Result, by naming, s config.Severity, message, code string) finding {
	return finding{at: r.Source, id: r.ID, severity: s, subject: subject(r, by), message: message, code: code}
}

func subject(r check.Result, by naming) string {
	name := r.Name
	if app := appOf(r); app != "" && by.apps[name] {
		name = app + "/" + name
	}
	if by.targets && r.Target != "" {
		name += "@" + r.Target
	}
	return name
}

// appOf returns the app of a result. Old reports have it in the id alone, which is
// app/name@target/protocol.
func appOf(r check.Result) string {
	if r.App != "" {
		return r.App
	}
	app, ok := strings.CutSuffix(r.ID, "/"+r.Name+"@"+r.Target+"/"+string(r.Protocol))
	if !ok {
		return ""
	}
	return app
}

// naming is what tells the results of a report apart.
type naming struct {
	targets bool            // they are on several targets
	apps    map[string]bool // names of needs that several apps have
}

func namesOf(r check.Report) naming {
	by := naming{len(r.Targets) > 1, map[string]bool{}}
	several := false
	for i := range r.Results {
		x, first := &r.Results[i], &r.Results[0]
		by.targets = by.targets || x.Target != first.Target
		several = several || appOf(*x) != appOf(*first)
	}
	if !several {
		return by
	}
	apps := map[string]string{} // the first one that has the name
	for _, x := range r.Results {
		switch app := appOf(x); {
		case app == "" || app == x.Source.File: // the place says it
		case apps[x.Name] == "":
			apps[x.Name] = app
		case apps[x.Name] != app:
			by.apps[x.Name] = true
		}
	}
	return by
}

// lines returns the finding without its position, as safe text: the message,
// then a line for each hint.
func (f finding) lines() []string {
	first := sentence(f.message)
	if f.subject != "" {
		// Escaped as a whole: a subject ":" would make it start with "::".
		first = whole(Safe(f.subject) + ": " + first)
	}
	lines := []string{first}
	for _, h := range f.hints {
		lines = append(lines, hintText(h))
	}
	return lines
}

// writeFinding writes a finding as compilers do: FILE:LINE:COLUMN, severity,
// message, and the hints below, indented.
func writeFinding(b *bytes.Buffer, f finding, o Options) {
	if at := f.at.String(); at != "" {
		// Escaped as a whole: a file named ":" would make it start with "::".
		b.WriteString(whole(at + ": "))
	}
	b.WriteString(severityWord(f.severity, o.Color) + ": ")
	if f.subject != "" {
		b.WriteString(Safe(f.subject) + ": ")
	}
	b.WriteString(sentence(f.message))
	if f.code != "" {
		b.WriteString(" [" + Safe(f.code) + "]")
	}
	b.WriteByte('\n')
	for _, h := range f.hints {
		b.WriteString(indent + hintText(h) + "\n")
	}
}

func severityWord(s config.Severity, color bool) string {
	word := Safe(string(s))
	switch {
	case color && s == config.SeverityError:
		return "\x1b[1;31m" + word + "\x1b[0m"
	case color && s == config.SeverityWarning:
		return "\x1b[1;33m" + word + "\x1b[0m"
	default:
		return word
	}
}
