package report

import (
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// choiceLine returns the flags that move all unmet needs to free ports of their own, and
// the variables that do so in Compose files; empty if none can move. Needs of --port have no name in a manifest.
func choiceLine(r check.Report) string {
	type need struct{ file, name string }
	moved := map[need]bool{}
	apps := map[string]map[string]bool{} // of the needs with a name
	for _, x := range r.Results {
		if apps[x.Name] == nil {
			apps[x.Name] = map[string]bool{}
		}
		apps[x.Name][appOf(x)] = true
	}
	var taken port.Bits
	var flags, variables []string
	left := 0
	for _, x := range r.Results {
		n := need{x.Source.File, x.Name}
		if x.OK || len(x.Alternatives) == 0 || x.Source.IsFlag() || moved[n] {
			continue
		}
		name := x.Name
		if len(apps[x.Name]) > 1 {
			name = appOf(x) + "/" + name
		}
		if !isWord(strings.ReplaceAll(name, "/", "")) || len(flags) == mostSets {
			left++
			continue
		}
		moved[n] = true
		for _, first := range x.Alternatives {
			ports := port.Range{First: first, Last: uint16(min(int(first)+x.Ports().Len()-1, port.MaxPort))}
			if !taken.HasAny(ports) {
				taken.AddSet(port.Set{ports})
				flags = append(flags, "--set "+name+"="+ports.String())
				if isWord(x.Env) {
					variables = append(variables, x.Env+"="+ports.String())
				}
				break
			}
		}
	}
	if len(flags) == 0 {
		return ""
	}
	line := "free ports for all that can move: "
	if left > 0 {
		line = "free ports for the first " + check.Counted(len(flags), "need") + ": "
	}
	line += strings.Join(flags, " ")
	if len(variables) > 0 {
		line += " (for Compose: " + strings.Join(variables, " ") + ")"
	}
	return line
}

const mostSets = 100 // flags on one line
