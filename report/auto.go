package report

import (
	"github.com/org/portcheck/check"
)

const autoWord = "auto"

// portsText returns the ports of a result: "8080", of an auto "8003 (auto)", or "auto"
// if it got none.
func portsText(r check.Result) string {
	switch {
	case !r.Auto:
		return r.Ports().String()
	case hasPort(r):
		return r.Ports().String() + " (" + autoWord + ")"
	}
	return autoWord
}

// hasPort reports whether an auto got a port. In a report of lint none has.
func hasPort(r check.Result) bool { return r.OK && r.Status != "" }

// stablePorts is portsText for what has to be the same in every run.
func stablePorts(r check.Result) string {
	if r.Auto {
		return autoWord
	}
	return r.Ports().String()
}

// chosenFinding returns a note on the port that was chosen for a need. It reports
// false for other results.
func chosenFinding(r check.Result, by naming) (finding, bool) {
	return newFinding(r, by, note, r.Message, ""), r.Auto && hasPort(r)
}
