package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/org/portcheck/check"
)

const maxCommands = 3 // command lines below a finding

// text writes a line for each finding, as compilers do, with indented hints, and
// a summary as the last line. On a terminal a table of all results comes first.
func text(w io.Writer, r check.Report, o Options) error {
	var b bytes.Buffer
	if o.Width >= minTableWidth {
		onTerminal(&b, r, o)
	} else {
		by, once := namesOf(r), newOnce(r)
		writeProblems(&b, r, o)
		for i, x := range r.Results {
			once.writeUnmet(&b, i, x, by, o)
			if f, ok := chosenFinding(x, by); ok { // on a terminal it is in the table
				writeFinding(&b, f, o)
			}
			once.writeNotes(&b, x, by, o)
		}
		writeTargets(&b, r, once)
		b.WriteString(choiceOf(r).text(0))
		writeSummary(&b, r)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// onTerminal writes no line that is wider than the terminal, but for one that is made to
// be pasted. If the terminal broke a line, its rest would look like the next one.
func onTerminal(b *bytes.Buffer, r check.Report, o Options) {
	table(b, r, o)
	by, once := namesOf(r), newOnce(r)
	var problems, notes, targets, end bytes.Buffer
	writeProblems(&problems, r, o)
	for i, x := range r.Results {
		once.writeUnmet(&problems, i, x, by, o)
		once.writeNotes(&notes, x, by, o)
	}
	writeTargets(&targets, r, once)
	for _, part := range []*bytes.Buffer{&problems, &notes} {
		if b.Len() > 0 && part.Len() > 0 {
			b.WriteByte('\n')
		}
		writeWrapped(b, part, o.Width)
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	writeWrapped(b, &targets, o.Width)
	b.WriteString(choiceOf(r).text(o.Width))
	writeSummary(&end, r)
	writeWrapped(b, &end, o.Width)
}

// writeWrapped writes lines so that none is wider than a terminal.
func writeWrapped(b, lines *bytes.Buffer, width int) {
	for line := range strings.Lines(lines.String()) {
		line, hint := strings.CutPrefix(strings.TrimSuffix(line, "\n"), indent)
		start := ""
		if hint {
			start = indent
		}
		for _, piece := range Wrap(line, width-len(indent)) {
			b.WriteString(start + piece + "\n")
			start = indent
		}
	}
}

func writeProblems(b *bytes.Buffer, r check.Report, o Options) {
	for _, p := range r.Problems {
		writeFinding(b, problemFinding(p), o)
	}
}

func writeTargets(b *bytes.Buffer, r check.Report, said *once) {
	if len(r.Targets) > 1 { // else it is in the summary
		for _, t := range r.Targets {
			if ns := namespaceText(r, t); ns != "" {
				fmt.Fprintf(b, "target %s: %s\n", Safe(t.Name), ns)
			}
		}
	}
	writeTargetNotices(b, said.rest(r.Targets))
}

func writeSummary(b *bytes.Buffer, r check.Report) {
	done, outcome := summary(r)
	fmt.Fprintf(b, "%s: %s\n", done, outcome)
}

// TargetNotices writes the notices of targets, one line each.
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

// writeCommands writes the command lines of holders, which a report has only
// with --show-command.
func writeCommands(b *bytes.Buffer, holders []check.Holder) {
	shown := 0
	for _, h := range holders {
		if len(h.Command) > 0 && shown < maxCommands {
			fmt.Fprintf(b, indent+"command of pid %d: %s\n", h.PID, commandText(h))
			shown++
		}
	}
}
