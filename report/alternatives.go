package report

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// alternatives returns the hint that names ports to use instead, or the reason
// why no port is suggested. It is empty where another port would not help.
func alternatives(r check.Result) string {
	found := len(r.Alternatives)
	from := r.From[:min(len(r.From), nameLimit)] // Safe cuts the text of more ranges
	switch {
	case found == 0 && r.Asked == 0:
		return ""
	case found == 0 && len(r.From) == 0 && r.Source.IsFlag(): // there is no manifest to write a range in
		return "no alternatives: no range is set; set one with `--range 20000-20999`"
	case found == 0 && len(r.From) == 0 && r.Compose:
		return "no alternatives: no range is set; set one with `x-portcheck: {range: 20000-20999}` in the service or `--range 20000-20999`"
	case found == 0 && len(r.From) == 0:
		return "no alternatives: no range is set; set one with `range: 20000-20999` in the manifest or `--range 20000-20999`"
	case found == 0 && r.NoSearchReason != "":
		return "no alternatives: " + Safe(r.NoSearchReason)
	case found == 0:
		return fmt.Sprintf("no alternatives: no port in %s can be bound now", Safe(from.String()))
	case found < r.Asked && len(r.From) > 0:
		return fmt.Sprintf("use instead: %s (only %d of %d found in %s)", alternativePorts(r), found, r.Asked, Safe(from.String()))
	default:
		return "use instead: " + alternativePorts(r)
	}
}

// alternativePorts lists a result's alternatives. Those of a block are blocks.
func alternativePorts(r check.Result) string {
	more := r.Ports().Len() - 1
	parts := make([]string, len(r.Alternatives))
	for i, first := range r.Alternatives {
		last := uint16(min(int(first)+more, port.MaxPort))
		parts[i] = port.Range{First: first, Last: last}.String()
	}
	return strings.Join(parts, ", ")
}
