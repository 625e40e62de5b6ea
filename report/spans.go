package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

const (
	maxCells = 50 // in a map of a range
	maxSpans = 20 // maps in a report
	maxTaken = 12 // taken ranges named beside a map
)

// use is the use of a port, or the most important one of the ports of a cell.
type use int

const (
	useFree use = iota
	useExcluded
	usePartly // some ports of a cell are taken
	useTaken
	useNeeded
)

// uses are the symbol of each use, which takes one column, and its names.
var uses = [...]struct{ symbol, word, means string }{
	useFree:     {"▁", "free", "free"},
	useExcluded: {"x", "excluded", "excluded by the manifest"},
	usePartly:   {"▄", "partly taken", "some of these ports are taken"},
	useTaken:    {"█", "taken", "taken, or reserved by the system"},
	useNeeded:   {"N", "needed here", "needed by this check itself"},
}

// span is a map of a range: its ports in cells of nearly equal size.
type span struct {
	check.Span
	cells  []spanCell
	counts [len(uses)]int // of ports by use; no port is usePartly
	taken  port.Set
}

type spanCell struct {
	use         use
	first, last uint16
}

// mapSpan makes the map of a range. needed has the ports that needs of this run
// declare on its target.
func mapSpan(s check.Span, needed *port.Bits) span {
	var open, excluded port.Bits
	open.AddSet(s.Open)
	excluded.AddSet(s.Exclude)
	of := func(p uint16) use {
		switch {
		case needed.Has(p):
			return useNeeded
		case !open.Has(p):
			return useTaken
		case excluded.Has(p):
			return useExcluded
		}
		return useFree
	}
	ports := slices.Collect(s.Ports.All)
	m := span{Span: s, taken: s.Ports.Without(func(p uint16) bool { return of(p) != useTaken })}
	n := min(len(ports), maxCells)
	for i := range n {
		part := ports[i*len(ports)/n : (i+1)*len(ports)/n]
		var counts [len(uses)]int
		for _, p := range part {
			counts[of(p)]++
			m.counts[of(p)]++
		}
		cell := spanCell{useFree, part[0], part[len(part)-1]}
		switch {
		case counts[useNeeded] > 0:
			cell.use = useNeeded
		case counts[useTaken] == len(part):
			cell.use = useTaken
		case counts[useTaken] > 0:
			cell.use = usePartly
		case counts[useExcluded] == len(part):
			cell.use = useExcluded
		}
		m.cells = append(m.cells, cell)
	}
	return m
}

// mapSpans makes maps of the first ranges of a report. It returns the number of
// the others as well.
func mapSpans(r check.Report) (maps []span, left int) {
	type spanKey struct {
		target   string
		protocol port.Protocol
	}
	needed := map[spanKey]*port.Bits{}
	shown := min(len(r.Spans), maxSpans)
	for _, s := range r.Spans[:shown] {
		needed[spanKey{s.Target, s.Protocol}] = new(port.Bits)
	}
	for _, x := range r.Results {
		if bits := needed[spanKey{x.Target, x.Protocol}]; bits != nil && !x.Expect.Connects() && (!x.Auto || x.OK) {
			bits.AddSet(port.Set{x.Ports()})
		}
	}
	for _, s := range r.Spans[:shown] {
		maps = append(maps, mapSpan(s, needed[spanKey{s.Target, s.Protocol}]))
	}
	return maps, len(r.Spans) - shown
}

// title returns "tcp 20000-20999 on local", with the addresses unless the address
// is any. It is raw.
func (s span) title() string {
	text := fmt.Sprintf("%s %s", s.Protocol, s.Ports)
	if !slices.Equal(s.Address, []port.Address{port.Any}) && len(s.Address) > 0 {
		names := make([]string, len(s.Address))
		for i, a := range s.Address {
			names[i] = string(a)
		}
		text += " at " + strings.Join(names, ", ")
	}
	return text + " on " + s.Target
}

// text returns the map in words: "997 free, 3 taken".
func (s span) text() string {
	counts := []string{fmt.Sprintf("%d %s", s.counts[useFree], uses[useFree].word)}
	for _, u := range []use{useTaken, useNeeded, useExcluded} {
		if s.counts[u] > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", s.counts[u], uses[u].word))
		}
	}
	text := strings.Join(counts, ", ")
	if len(s.taken) > 0 {
		shown := s.taken[:min(len(s.taken), maxTaken)]
		text += "; taken: " + strings.ReplaceAll(shown.String(), ",", ", ")
		if more := len(s.taken) - len(shown); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	return text
}

// strip returns the map as a line of symbols.
func (s span) strip() string {
	var b strings.Builder
	for _, c := range s.cells {
		b.WriteString(uses[c.use].symbol)
	}
	return b.String()
}
