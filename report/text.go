package report

import (
	"bytes"
	"fmt"
	"io"

	"github.com/org/portcheck/check"
)

const commands = 3 // of holders, at most, under a finding

// text writes a report as compilers write theirs, one line a finding with
// indented hints, and a summary as the last line.
func text(w io.Writer, r check.Report, o Options) error {
	var b bytes.Buffer
	many := manyTargets(r)
	for _, p := range r.Problems {
		writeFinding(&b, problemFinding(p), o)
	}
	for _, x := range r.Results {
		for _, f := range unmetFindings(x, many) {
			writeFinding(&b, f, o)
		}
		if !x.OK {
			writeCommands(&b, x.Holders)
		}
		for _, f := range noteFindings(x, many) {
			writeFinding(&b, f, o)
		}
	}
	if len(r.Targets) > 1 { // else it is in the summary
		for _, t := range r.Targets {
			fmt.Fprintf(&b, "target %s: %s\n", Safe(t.Name), namespace(t))
		}
	}
	writeTargetNotices(&b, r.Targets)
	done, outcome := summary(r)
	fmt.Fprintf(&b, "%s: %s\n", done, outcome)
	_, err := w.Write(b.Bytes())
	return err
}

// TargetNotices writes what is worth knowing about targets, one line each.
func TargetNotices(w io.Writer, targets []check.TargetReport) error {
	var b bytes.Buffer
	writeTargetNotices(&b, targets)
	_, err := w.Write(b.Bytes())
	return err
}

func writeTargetNotices(b *bytes.Buffer, targets []check.TargetReport) {
	for _, t := range targets {
		for _, n := range t.Notices {
			fmt.Fprintf(b, "target %s: %s: %s [%s]\n", Safe(t.Name), Safe(string(noticeSeverity(n))), sentence(n.Message), Safe(string(n.Code)))
		}
	}
}

// writeCommands shows command lines, which holders have only if they were
// asked for.
func writeCommands(b *bytes.Buffer, holders []check.Holder) {
	shown := 0
	for _, h := range holders {
		if len(h.Command) > 0 && shown < commands {
			fmt.Fprintf(b, indent+"command of pid %d: %s\n", h.PID, commandText(h))
			shown++
		}
	}
}
