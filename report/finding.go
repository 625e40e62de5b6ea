package report

import (
	"slices"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// note is the severity of what is worth knowing but fails nothing.
const note config.Severity = "note"

// finding is one thing that a report has to say about a place in a manifest.
// Its strings are raw; a format makes them safe.
type finding struct {
	at       config.Position
	severity config.Severity
	subject  string // empty, or the need
	message  string
	code     string
	hints    []string // what to do
}

func problemFinding(p config.Problem) finding {
	return finding{at: p.Position, severity: config.Error, message: p.Message, code: "manifest"}
}

// unmetFindings says why a result is not met, the first with hints; none if
// it is.
func unmetFindings(r check.Result, manyTargets bool) []finding {
	if r.OK {
		return nil
	}
	found := []finding{about(r, manyTargets, r.Severity, r.Message, string(r.Status))}
	for _, n := range r.Notices {
		if n.Code == config.Duplicate {
			found = append(found, about(r, manyTargets, r.Severity, n.Message, string(n.Code)))
		}
	}
	// The port itself is free, or nobody looked: the other need is the reason.
	if len(found) > 1 && (r.Status.OK() || r.Status == "") {
		found = found[1:]
	}
	found[0].hints = hints(r)
	return found
}

// noteFindings are the result's notices that are not already in unmetFindings.
func noteFindings(r check.Result, manyTargets bool) []finding {
	var found []finding
	for _, n := range r.Notices {
		if r.OK || n.Code != config.Duplicate {
			found = append(found, about(r, manyTargets, note, n.Message, string(n.Code)))
		}
	}
	return found
}

func about(r check.Result, manyTargets bool, s config.Severity, message, code string) finding {
	return finding{at: r.Source, severity: s, subject: subject(r, manyTargets), message: message, code: code}
}

func subject(r check.Result, manyTargets bool) string {
	if manyTargets && r.Target != "" {
		return r.Name + "@" + r.Target
	}
	return r.Name
}

// manyTargets says whether a finding has to name its target.
func manyTargets(r check.Report) bool {
	return len(r.Targets) > 1 || slices.ContainsFunc(r.Results, func(x check.Result) bool { return x.Target != r.Results[0].Target })
}

func hints(r check.Result) []string {
	all := Remedies(r)
	if line := alternatives(r); line != "" {
		all = append(all, line)
	}
	return all
}
