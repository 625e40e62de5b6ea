package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/org/portcheck/check"
)

// prometheus writes gauges for the textfile collector of node_exporter, which
// knows itself how old a file is: node_textfile_mtime_seconds.
func prometheus(w io.Writer, r check.Report, _ Options) error {
	ok := gauge{name: "portcheck_need_ok", help: "Whether the need is met (1) or not (0)."}
	status := gauge{name: "portcheck_need_status", help: "1 for the status that the need has."}
	for _, x := range r.Results {
		labels := needLabels(x)
		ok.atMost(labels, oneIf(x.OK))
		if x.Status != "" {
			status.atMost(append(labels, label{"status", string(x.Status)}), 1)
		}
	}
	needs := gauge{name: "portcheck_needs", help: "How many needs came out so; unmet ones by severity, and unknown apart."}
	for _, n := range []struct {
		outcome string
		count   int
	}{{"ok", r.Summary.OK}, {"error", r.Summary.Errors}, {"warning", r.Summary.Warnings}, {"unknown", r.Summary.Unknown}} {
		needs.atMost([]label{{"outcome", n.outcome}}, n.count)
	}
	problems := gauge{name: "portcheck_manifest_problems", help: "Errors of manifests; if there are any, no port was probed."}
	problems.atMost(nil, len(r.Problems))
	all := gauge{name: "portcheck_ok", help: "Whether every need is met and every manifest valid (1) or not (0)."}
	all.atMost(nil, oneIf(r.OK && len(r.Problems) == 0))

	var b bytes.Buffer
	for _, g := range []gauge{all, problems, needs, ok, status} {
		g.write(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// needLabels are what stays the same of a result from run to run.
func needLabels(r check.Result) []label {
	return []label{
		{"id", r.ID},
		{"app", app(r)},
		{"name", r.Name},
		{"target", r.Target},
		{"protocol", string(r.Protocol)},
		{"port", r.Ports().String()},
		{"expect", string(r.Expect)},
		{"severity", string(r.Severity)},
	}
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

type label struct{ name, value string }

// gauge is a metric with its samples, in order.
type gauge struct {
	name, help string
	labels     []string // each once, in braces
	values     map[string]int
}

// atMost adds a sample. A second one with the same labels would make the whole
// file invalid; the lower value is kept, as ids are unique unless a bug of ours
// hides a conflict.
func (g *gauge) atMost(labels []label, value int) {
	text := labelText(labels)
	if before, ok := g.values[text]; ok {
		g.values[text] = min(before, value)
		return
	}
	if g.values == nil {
		g.values = map[string]int{}
	}
	g.values[text] = value
	g.labels = append(g.labels, text)
}

func (g *gauge) write(b *bytes.Buffer) {
	if len(g.labels) == 0 {
		return
	}
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n", g.name, g.help, g.name)
	for _, labels := range g.labels {
		fmt.Fprintf(b, "%s%s %d\n", g.name, labels, g.values[labels])
	}
}

// labelEscaper escapes label values; no end of line is left in them.
var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// labelText leaves out what is empty, which to Prometheus is the same.
func labelText(labels []label) string {
	var parts []string
	for _, l := range labels {
		if l.value != "" {
			parts = append(parts, l.name+`="`+labelEscaper.Replace(escape(l.value, unlimited))+`"`)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ",") + "}"
}
