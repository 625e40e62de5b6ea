package report

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
)

// summary returns the last line of a report in two parts: what was done, and
// the outcome.
func summary(r check.Report) (done, outcome string) {
	if n := len(r.Problems); n > 0 && len(r.Results) == 0 {
		outcome = "nothing was checked"
		if r.Merged {
			outcome = "nothing was merged"
		}
		return check.Counted(n, "error"), outcome
	}
	counts := r.Summary
	done = check.Counted(counts.Checked, "port")
	if len(r.Results) > 0 {
		counts = check.CountNeeds(r.Results)
		done = portsOf(r.Results, counts.Checked)
	}
	if r.Lint {
		done += " compared"
	} else {
		done += " checked" + where(r)
	}
	outcome = Counts(counts)
	if n := len(r.Problems); n > 0 {
		outcome += ", " + check.Counted(n, "manifest error")
	}
	return done, outcome
}

// portsOf returns how many ports needs have, a block all of its ports and each number
// once for all protocols, and how many needs if these are not as many.
func portsOf(results []check.Result, needs int) string {
	ports := 0
	for of := range check.Needs(results) {
		if of[0].Source.File == check.UndeclaredFlag && of[0].Status == check.Unknown {
			continue // it stands for every port, and none was looked at
		}
		ports += of[0].Ports().Len()
	}
	if ports == needs {
		return check.Counted(ports, "port")
	}
	return check.Counted(ports, "port") + " of " + check.Counted(needs, "need")
}

// Counts returns a summary in words: "3 ok, 1 conflict".
func Counts(s check.Summary) string {
	counts := []string{fmt.Sprintf("%d ok", s.OK)}
	if n := s.Errors; n > 0 {
		counts = append(counts, check.Counted(n, "conflict"))
	}
	if n := s.Warnings; n > 0 {
		counts = append(counts, check.Counted(n, "warning"))
	}
	if n := s.Unknown; n > 0 {
		counts = append(counts, fmt.Sprintf("%d unknown", n))
	}
	return strings.Join(counts, ", ")
}

const (
	localTarget   = "local" // the machine that portcheck runs on
	hostNamespace = "host"  // the kind of a machine's own network namespace
)

// where returns " on local (this machine)" or " on 3 targets".
func where(r check.Report) string {
	switch targets := r.Targets; len(targets) {
	case 0:
		return ""
	case 1:
		if ns := namespaceText(r, targets[0]); ns != "" {
			return " on " + Safe(targets[0].Name) + " (" + ns + ")"
		}
		return " on " + Safe(targets[0].Name)
	default:
		return fmt.Sprintf(" on %d targets", len(targets))
	}
}

// namespaceText describes the network namespace that was probed, empty if it is
// not known which. The usual case, a machine's own, needs no reason.
func namespaceText(r check.Report, t check.TargetReport) string {
	switch {
	case t.Namespace.Kind == "":
		return ""
	case t.Namespace.Kind == hostNamespace && t.Namespace.VM != "":
		return "the virtual machine of " + Safe(t.Namespace.VM)
	case t.Namespace.Kind == hostNamespace && t.Name == localTarget && !r.Merged:
		return "this machine"
	case t.Namespace.Kind == hostNamespace:
		return "the machine itself"
	}
	text := Safe(t.Namespace.Kind) + " network namespace"
	if t.Namespace.VM != "" {
		text += " in the virtual machine of " + Safe(t.Namespace.VM)
	}
	if t.Namespace.Reason != "" {
		text += ": " + sentence(t.Namespace.Reason)
	}
	return text
}
