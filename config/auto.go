package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
	"gopkg.in/yaml.v3"
)

// auto is the port of a need for which any port of its range will do.
const auto = "auto"

// needPort reads the port of a need. The block of an auto gets its place once the
// range is known.
func (m *manifest) needPort(key string, n *yaml.Node, p *Port) {
	if n.Kind == yaml.ScalarNode {
		word, count, counted := strings.Cut(n.Value, ":")
		if strings.EqualFold(strings.TrimSpace(word), auto) {
			size, err := port.ParseNumber(count)
			if word != auto || counted && err != nil {
				m.report(n, badAuto, key, quote(n.Value))
				return
			}
			p.Auto, p.Ports = true, port.Range{First: 1, Last: max(size, 1)}
			return
		}
	}
	if r, ok := m.block(key, n); ok {
		p.Ports = r
	}
}

// checkAuto gives the block of an auto its place, or reports why it has none.
func (m *manifest) checkAuto(p *Port, fields map[string]field) {
	_, ranged := fields["range"]
	expect, given := fields["expect"]
	switch at := fields["port"].value; {
	case given && expect.value.Value != string(p.Expect): // reported
	case p.Expect != Free:
		m.report(at, autoExpect, "expect: "+string(p.Expect))
	case len(p.Range) == 0 && (ranged || m.ranged): // reported
	case len(p.Range) == 0:
		m.report(at, autoNoRange)
	case !p.Place():
		m.report(at, autoNoRoom, p.roomError())
	}
}

// Place sets the ports of an auto to the first block that its range has without what
// is excluded. It reports false if the range has none.
func (p *Port) Place() bool {
	if !p.Auto {
		return true
	}
	if p.Ports.Len() == 1 && len(p.Exclude) == 0 && len(p.Range) > 0 {
		p.Ports = port.One(p.Range[0].First)
		return true
	}
	var usable, excluded port.Bits
	usable.AddSet(p.Range)
	excluded.AddSet(p.Exclude)
	size := p.Ports.Len()
	for _, r := range p.Range {
		for first := int(r.First); first <= int(r.Last) && first+size-1 <= port.MaxPort; {
			block := port.Range{First: uint16(first), Last: uint16(first + size - 1)}
			switch {
			case !usable.HasAll(block):
				first = usable.NextMissing(uint16(first)) + 1
			case excluded.HasAny(block):
				first = excluded.NextMissing(uint16(excluded.Next(uint16(first))))
			default:
				p.Ports = block
				return true
			}
		}
	}
	return false
}

// portText returns the port as a manifest has it.
func (p Port) portText() string {
	switch n := p.Ports.Len(); {
	case !p.Auto:
		return p.Ports.String()
	case n > 1:
		return auto + ":" + strconv.Itoa(n)
	}
	return auto
}

// NoRoom returns the problem of an auto for which Place has found no place.
func (p *Port) NoRoom() Problem {
	return Problem{Position: p.At, Message: fmt.Sprintf(string(autoNoRoom), p.roomError())}
}

// roomError returns why Place has found no place.
func (p *Port) roomError() string {
	what := "no port"
	if n := p.Ports.Len(); n > 1 {
		what = "no block of " + strconv.Itoa(n) + " ports"
	}
	text := what + " in " + clip(p.Range.String(), quoteMax)
	if len(p.Exclude) > 0 {
		text += " without " + clip(p.Exclude.String(), quoteMax) + " (exclude)"
	}
	return text
}
