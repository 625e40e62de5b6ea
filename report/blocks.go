package report

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
)

const mostLines = 20 // for the ports of one block

// blockLines returns a line for each port of a block that is held, with every process
// that holds it. If there is only one, there is none: the message names its holders.
func blockLines(r check.Result) []string {
	if r.PortLast == 0 || len(r.Holders) == 0 || r.Auto {
		return nil
	}
	var ports []uint16
	byPort := map[uint16][]string{}
	seen := map[string]bool{}
	for _, h := range r.Holders {
		text := holderText(h)
		key := fmt.Sprintf("%d %s", h.Port, text)
		if seen[key] {
			continue // the same process, at two addresses
		}
		seen[key] = true
		if byPort[h.Port] == nil {
			ports = append(ports, h.Port)
		}
		byPort[h.Port] = append(byPort[h.Port], text)
	}
	if len(ports) == 1 {
		return nil // the message has it
	}
	var lines []string
	for i, n := range ports {
		if i == mostLines {
			lines = append(lines, fmt.Sprintf("%d more ports of the block are held: the JSON report lists all of them", len(ports)-i))
			break
		}
		all := byPort[n]
		text := strings.Join(all[:min(len(all), maxHolders)], ", ")
		if more := len(all) - maxHolders; more > 0 {
			text += fmt.Sprintf(" and %d more, which the JSON report lists", more)
		}
		lines = append(lines, fmt.Sprintf("port %d: %s", n, text))
	}
	return lines
}
