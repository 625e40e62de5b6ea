package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// AssignmentFormats are the formats of what assign prints.
var AssignmentFormats = Table[check.Assignment]{
	"text":     assignmentText,
	"json":     assignmentJSON,
	"env":      assignmentEnv,
	"dotenv":   assignmentEnv,
	"shell":    assignmentShell,
	"compose":  assignmentCompose,
	"markdown": assignmentMarkdown,
}

// assignmentJSON writes an assignment as schema/assignment.schema.json describes it.
func assignmentJSON(w io.Writer, a check.Assignment, _ Options) error {
	return writeJSON(w, assignmentOf(a))
}

func assignmentOf(a check.Assignment) check.Assignment {
	a.Version = jsonVersion
	a.Ports = listOf(slices.Clone(a.Ports))
	a.Lease.Expires = a.Lease.Expires.UTC().Truncate(time.Second)
	for i, p := range a.Ports {
		a.Ports[i].Reason = noCode(p.Reason)
		if p.Lease != nil {
			l := *p.Lease
			l.Expires = l.Expires.UTC().Truncate(time.Second)
			a.Ports[i].Lease = &l
		}
	}
	return a
}

// AssignmentLine returns an assignment as JSON on one line.
func AssignmentLine(a check.Assignment) ([]byte, error) { return InlineJSON(assignmentOf(a)) }

// AssignedPortsLine returns the list `ports` of an assignment's JSON on one line.
func AssignedPortsLine(a check.Assignment) ([]byte, error) {
	return InlineJSON(assignmentOf(a).Ports)
}

// assignmentText writes an assignment as a table, and the end of its lease.
func assignmentText(w io.Writer, a check.Assignment, o Options) error {
	g := grid{all: []column{{least: 8}, {least: 10}, {least: 10}, {least: 20}}} // why it is another port comes last
	several := slices.ContainsFunc(a.Ports, func(p check.AssignedPort) bool { return p.Target != a.Ports[0].Target })
	for _, p := range a.Ports {
		name := p.Title()
		if several {
			name += "@" + p.Target
		}
		note := ""
		if p.Declared != 0 {
			note = fmt.Sprintf("instead of %d: %s", p.Declared, Safe(p.Reason))
		}
		if p.Lease != nil {
			note = strings.TrimPrefix(note+"; in the lease "+Safe(p.Lease.ID)+" until "+endOf(*p.Lease), "; ")
		}
		ports := fmt.Sprintf("%s/%s", port.Range{First: p.Port, Last: max(p.Port, p.PortLast)}, protocolNames(p.Protocol))
		g.cells = append(g.cells, []string{Safe(name), ports, Safe(p.Env), note})
	}
	b := bytes.NewBuffer(g.fitting(o))
	end := fmt.Sprintf("leased to %s until %s, or until `portcheck release`\n", Safe(a.Lease.Job), endOf(a.Lease))
	if o.Width >= minTableWidth {
		writeWrapped(b, bytes.NewBufferString(end), o.Width)
	} else {
		b.WriteString(end)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// endOf returns what follows "until" about a lease.
func endOf(l check.AssignedLease) string {
	text := timeText(l.Expires)
	if l.UntilExit > 0 {
		text += fmt.Sprintf(", until process %d ends", l.UntilExit)
	}
	return text
}

func protocolNames(all []port.Protocol) string {
	var names []string
	for _, p := range all {
		names = append(names, string(p))
	}
	return Safe(strings.Join(names, ","))
}

// timeText returns a time to the second, "?" for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "?"
	}
	return t.UTC().Format(time.RFC3339)
}

// assignmentEnv writes a line NAME=PORT for each need.
func assignmentEnv(w io.Writer, a check.Assignment, _ Options) error {
	return writeVariables(w, a, "%s=%d\n")
}

// assignmentShell writes export commands for a POSIX shell.
func assignmentShell(w io.Writer, a check.Assignment, _ Options) error {
	return writeVariables(w, a, "export %s='%d'\n")
}

func writeVariables(w io.Writer, a check.Assignment, format string) error {
	var b strings.Builder
	seen := map[string]bool{} // a need has one port on all of its targets
	for _, p := range a.Ports {
		if seen[p.Env] {
			continue
		}
		seen[p.Env] = true
		if !isVariable(p.Env) {
			return fmt.Errorf("%s can't be the name of a variable", strconv.Quote(p.Env))
		}
		fmt.Fprintf(&b, format, p.Env, p.Port)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// isVariable reports whether every shell takes a text for the name of a variable.
func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
