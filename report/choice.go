package report

import (
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// choice moves unmet needs to free ports of their own.
type choice struct {
	flags     []string // empty if none can move
	variables []string // that do the same in Compose files
	left      int      // needs that can move, too
}

// choiceOf returns one choice for all needs of a run. Those of --port have no name in a
// manifest.
func choiceOf(r check.Report) choice {
	type need struct{ file, name string }
	moved := map[need]bool{}
	by := namesOf(r)
	var taken port.Bits
	var c choice
	for _, x := range r.Results {
		n := need{x.Source.File, x.Name}
		if x.OK || len(x.Alternatives) == 0 || x.Source.IsFlag() || moved[n] {
			continue
		}
		name := subject(x, naming{apps: by.apps})
		if !isWord(strings.ReplaceAll(name, "/", "")) || len(c.flags) == mostSets {
			c.left++
			continue
		}
		moved[n] = true
		for _, first := range x.Alternatives {
			ports := port.Range{First: first, Last: uint16(min(int(first)+x.Ports().Len()-1, port.MaxPort))}
			if !taken.HasAny(ports) {
				taken.AddSet(port.Set{ports})
				c.flags = append(c.flags, "--set "+name+"="+ports.String())
				if isWord(x.Env) && !strings.ContainsAny(x.Env, "@:.-") {
					c.variables = append(c.variables, x.Env+"="+ports.String())
				}
				break
			}
		}
	}
	return c
}

// text returns the choice on one line, or if that has no room in a terminal's width, with
// what is to be pasted on lines of its own, which the terminal may break: what is copied
// then has no break. A width of 0 is no limit.
func (c choice) text(width int) string {
	if len(c.flags) == 0 {
		return ""
	}
	start := "free ports for all that can move:"
	if c.left > 0 {
		start = "free ports for the first " + check.Counted(len(c.flags), "need") + ":"
	}
	flags, variables := strings.Join(c.flags, " "), strings.Join(c.variables, " ")
	line := start + " " + flags
	if variables != "" {
		line += " (for Compose: " + variables + ")"
	}
	if width == 0 || columns(line) <= width {
		return line + "\n"
	}
	lines := start + "\n" + flags + "\n"
	if variables != "" {
		lines += "for Compose:\n" + variables + "\n"
	}
	return lines
}

const mostSets = 100 // flags on one line
