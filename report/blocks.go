package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

const mostLines = 20 // for the ports of one block

// blockLines returns a line for each port of a block that is held, with every process
// that holds it; for neighbours with the same holders it is one. There is none if the
// message says as much.
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
	same := func(a, b uint16) bool { return slices.Equal(byPort[a], byPort[b]) }
	one := len(byPort[ports[0]]) == 1 && !slices.ContainsFunc(ports, func(n uint16) bool { return !same(n, ports[0]) })
	switch {
	case len(ports) == 1 || one && len(ports) == r.Ports().Len():
		return nil
	case one && !slices.ContainsFunc(ports, func(n uint16) bool { return !namesPort(r.Message, n) }):
		return nil
	}
	var lines []string
	if one { // the message has its name
		var held port.Set
		for _, n := range ports {
			held = append(held, port.One(n))
		}
		held = held.Without(func(uint16) bool { return false })
		text := strings.Join(strings.Split(held[:min(len(held), mostLines)].String(), ","), ", ")
		if more := len(held) - mostLines; more > 0 {
			text += fmt.Sprintf(" and %d more ranges, which the JSON report lists", more)
		}
		return []string{"held ports of the block: " + text}
	}
	for i := 0; i < len(ports); {
		if len(lines) == mostLines {
			lines = append(lines, fmt.Sprintf("%d more ports of the block are held: the JSON report lists all of them", len(ports)-i))
			break
		}
		n, last := ports[i], ports[i]
		for i++; i < len(ports) && ports[i] == last+1 && same(ports[i], n); i++ {
			last = ports[i]
		}
		all := byPort[n]
		text := strings.Join(all[:min(len(all), maxHolders)], ", ")
		if more := len(all) - maxHolders; more > 0 {
			text += fmt.Sprintf(" and %d more, which the JSON report lists", more)
		}
		if last == n {
			lines = append(lines, fmt.Sprintf("port %d: %s", n, text))
		} else {
			lines = append(lines, fmt.Sprintf("ports %d-%d: %s", n, last, text))
		}
	}
	return lines
}

// namesPort reports whether a message has an endpoint with this port.
func namesPort(message string, n uint16) bool {
	if before, _, found := strings.Cut(message, " of "); found { // tcp 8002 of 8000-8003
		ports, err := port.ParseSet(before[strings.LastIndexByte(before, ' ')+1:])
		return err == nil && ports.Contains(n)
	}
	at := fmt.Sprintf(":%d", n)
	return strings.Contains(message, at+" ") || strings.Contains(message, at+",")
}
