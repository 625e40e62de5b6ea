package report

import (
	"fmt"
	"io"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// assignmentMarkdown writes a step summary.
func assignmentMarkdown(w io.Writer, a check.Assignment, _ Options) error {
	rows, targets := make([]string, len(a.Ports)), map[string]bool{}
	for _, p := range a.Ports {
		targets[p.Target] = true
	}
	for i, p := range a.Ports {
		name := p.Title()
		if len(targets) > 1 {
			name += " on " + p.Target
		}
		why := ""
		if p.Declared != 0 {
			why = fmt.Sprintf("instead of %d: %s", p.Declared, p.Reason)
		}
		rows[i] = fmt.Sprintf("| %s | %s | %s | %s |\n", cell(name), cell(fmt.Sprintf("%s/%s", port.Range{First: p.Port, Last: max(p.Port, p.PortLast)}, protocolNames(p.Protocol))), cell(p.Env), cellSentence(why))
	}
	p := &page{}
	p.always(fmt.Sprintf("## portcheck: %s leased\n\n%s\n", check.Counted(len(a.Ports), "port"), cellSentence(fmt.Sprintf("Leased to %s until %s.", a.Lease.Job, endOf(a.Lease)))))
	p.section("Ports", "| Need | Port | Variable | Why another |\n| --- | --- | --- | --- |\n", rows, "| %d more | | | |\n", len(rows) > foldAbove)
	_, err := io.WriteString(w, p.String())
	return err
}
