package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/org/portcheck/check"
)

// prometheus writes gauges for the textfile collector of node_exporter, which
// exports the age of the file itself: node_textfile_mtime_seconds.
func prometheus(w io.Writer, r check.Report, _ Options) error {
	ok := gauge{name: "portcheck_need_ok", help: "Whether the need is met (1) or not (0)."}
	status := gauge{name: "portcheck_need_status", help: "1 for the status of the need."}
	for _, x := range r.Results {
		labels := needLabels(x)
		ok.addMin(labels, oneIf(x.OK))
		if x.Status != "" {
			status.addMin(append(labels, label{"status", string(x.Status)}), 1)
		}
	}
	needs := gauge{name: "portcheck_needs", help: "Needs by outcome: ok, unmet by severity, or unknown."}
	for _, n := range []struct {
		outcome string
		count   int
	}{{"ok", r.Summary.OK}, {"error", r.Summary.Errors}, {"warning", r.Summary.Warnings}, {"unknown", r.Summary.Unknown}} {
		needs.addMin([]label{{"outcome", n.outcome}}, n.count)
	}
	problems := gauge{name: "portcheck_manifest_problems", help: "Errors of manifests. If there are any, no port was probed."}
	problems.addMin(nil, len(r.Problems))
	all := gauge{name: "portcheck_ok", help: "Whether every need is met and every manifest valid (1) or not (0)."}
	all.addMin(nil, oneIf(r.OK && len(r.Problems) == 0))

	warnings := gauge{name: "portcheck_target_warnings", help: "Warnings about the target, such as that its ports may be others than those meant."}
	for _, t := range r.Targets {
		if n := len(warningFindings(check.Report{Targets: []check.TargetReport{t}})); n > 0 {
			warnings.addMin([]label{{"target", t.Name}}, n)
		}
	}

	var b bytes.Buffer
	for _, g := range []gauge{all, problems, needs, warnings, ok, status} {
		g.write(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// needLabels returns the labels of a result that stay the same from run to run.
func needLabels(r check.Result) []label {
	return []label{
		{"id", r.ID},
		{"app", appOf(r)},
		{"name", r.Name},
		{"target", r.Target},
		{"protocol", string(r.Protocol)},
		{"port", stablePorts(r)},
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
	kind       string   // "": gauge
	labels     []string // of its samples, in braces
	values     map[string]float64
}

// addMin adds a sample. If several have the same labels, which would make the file
// invalid, it keeps the lowest value: ids are unique, and if a bug makes two
// results share one, it must not hide a conflict.
func (g *gauge) addMin(labels []label, value int) { g.addMinOf(labels, float64(value)) }

// addMinOf is addMin for a number with a fraction.
func (g *gauge) addMinOf(labels []label, value float64) {
	text := labelText(labels)
	if before, ok := g.values[text]; ok {
		g.values[text] = min(before, value)
		return
	}
	if g.values == nil {
		g.values = map[string]float64{}
	}
	g.values[text] = value
	g.labels = append(g.labels, text)
}

func (g *gauge) write(b *bytes.Buffer) {
	if len(g.labels) == 0 {
		return
	}
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", g.name, g.help, g.name, cmp.Or(g.kind, "gauge"))
	for _, labels := range g.labels {
		fmt.Fprintf(b, "%s%s %s\n", g.name, labels, strconv.FormatFloat(g.values[labels], 'f', -1, 64))
	}
}

// labelEscaper escapes label values, which have no line ends here.
var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// labelText formats labels. It leaves out empty ones: Prometheus makes no
// difference.
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
