package report

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

const (
	minTableWidth = 40 // columns of the narrowest terminal with a table
	maxMetRows    = 30 // more met needs are only counted
	maxCellLines  = 3
	columnGap     = 2
)

// column is a column of the table on a terminal.
type column struct {
	title string
	least int // the width below which it is not readable
	text  func(check.Result, naming) string
}

// tableColumns returns the columns, and the indexes of those that are dropped
// first where there is no room. The lines below the table repeat these.
func tableColumns() (all []column, dropped []int) {
	return []column{
		{"NEED", 10, func(r check.Result, by naming) string { return Safe(subject(r, by)) }},
		{"ENDPOINT", 9, func(r check.Result, _ naming) string { return endpointText(r) }},
		{"VERDICT", 15, func(r check.Result, _ naming) string { return symbol(r) + " " + Safe(verdict(r)) }},
		{"HOLDER", 16, func(r check.Result, _ naming) string { return holderShort(r.Holders) }},
		{"ALTERNATIVES", 12, func(r check.Result, _ naming) string { return alternativePorts(r) }},
	}, []int{4, 3}
}

// table writes a row for each result, unmet ones first, no wider than the
// terminal.
func table(b *bytes.Buffer, r check.Report, o Options) {
	var unmet, met []check.Result
	for _, x := range worstFirst(r.Results) {
		if x.OK {
			met = append(met, x)
		} else {
			unmet = append(unmet, x)
		}
	}
	left := 0
	if len(met) > maxMetRows {
		left, met = len(met), nil
	}
	rows := slices.Concat(unmet, met)
	if len(rows) > 0 {
		writeTable(b, rows, namesOf(r), o)
	}
	if left > 0 {
		for _, line := range Wrap(fmt.Sprintf("%s met and not shown", check.Counted(left, "need")), o.Width) {
			b.WriteString(line + "\n")
		}
	}
}

func writeTable(b *bytes.Buffer, rows []check.Result, by naming, o Options) {
	all, dropped := tableColumns()
	cells := make([][]string, len(rows))
	for k, r := range rows {
		cells[k] = make([]string, len(all))
		for i, c := range all {
			cells[k][i] = c.text(r, by)
		}
	}
	grid{all, dropped, cells, func(row int) string { return verdictColour(rows[row], o) }}.write(b, o.Width)
}

// grid is a table of cells. colour, if set, returns the colour of a row's verdict.
type grid struct {
	all     []column
	dropped []int
	cells   [][]string
	colour  func(row int) string
}

// plain returns the grid in lines of any width.
func (g grid) Safe() []byte {
	var b bytes.Buffer
	g.write(&b, math.MaxInt32)
	return b.Bytes()
}

// write writes the grid in lines of at most width columns.
func (g grid) write(b *bytes.Buffer, width int) {
	all, cells := g.all, g.cells
	natural := make([]int, len(all))
	filled := make([]bool, len(all))
	for i, c := range all {
		natural[i] = len(c.title)
		for _, row := range cells {
			filled[i] = filled[i] || row[i] != ""
			natural[i] = max(natural[i], columns(row[i]))
		}
	}
	if len(cells) == 0 { // the titles alone
		for i := range filled {
			filled[i] = true
		}
	}
	widths := fit(all, natural, filled, g.dropped, width)
	line := func(texts []string, colour string) {
		var s strings.Builder
		pad := 0
		for i, text := range texts {
			if widths[i] == 0 {
				continue
			}
			s.WriteString(strings.Repeat(" ", pad))
			pad = widths[i] - columns(text) + columnGap
			if all[i].title == "VERDICT" && colour != "" && text != "" {
				text = colour + text + "\x1b[0m"
			}
			s.WriteString(text)
		}
		b.WriteString(strings.TrimRight(s.String(), " ") + "\n")
	}
	titles := make([]string, len(all))
	for i, c := range all {
		titles[i] = c.title
	}
	row := func(cells []string, colour string) {
		broken := make([][]string, len(all))
		height := 1
		for i, text := range cells {
			if widths[i] > 0 {
				broken[i] = lines(text, widths[i])
				height = max(height, len(broken[i]))
			}
		}
		for n := range height {
			texts := make([]string, len(all))
			for i := range all {
				if n < len(broken[i]) {
					texts[i] = broken[i][n]
				}
			}
			line(texts, colour)
		}
	}
	if strings.Join(titles, "") != "" {
		row(titles, "")
	}
	for k := range cells {
		colour := ""
		if g.colour != nil {
			colour = g.colour(k)
		}
		row(cells[k], colour)
	}
}

// lines wraps a cell, and cuts it to maxCellLines.
func lines(text string, width int) []string {
	all := Wrap(text, width)
	if len(all) > maxCellLines {
		last := all[maxCellLines-1]
		if columns(last)+len(ellipsis) > width {
			last = last[:fitting(last, width-len(ellipsis))]
		}
		all = append(all[:maxCellLines-1:maxCellLines-1], last+ellipsis)
	}
	return all
}

// fit returns the width of each column: its natural width if there is room,
// otherwise less, the widest columns first. Empty and dropped columns have 0.
func fit(all []column, natural []int, filled []bool, dropped []int, total int) []int {
	widths := slices.Clone(natural)
	for i := range widths {
		if !filled[i] {
			widths[i] = 0
		}
	}
	room := func(least bool) int {
		left, shown := total, 0
		for i, w := range widths {
			if w == 0 {
				continue
			}
			if least {
				w = min(w, all[i].least)
			}
			left -= w
			shown++
		}
		return left - columnGap*max(shown-1, 0)
	}
	for _, i := range dropped {
		if room(true) < 0 {
			widths[i] = 0
		}
	}
	for room(false) < 0 {
		widest := -1
		for i, w := range widths {
			if w > all[i].least && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// symbol returns the symbol of a verdict, which repeats the word beside it.
func symbol(r check.Result) string {
	switch {
	case r.OK:
		return "✓"
	case r.Status == check.Unknown:
		return "?"
	case r.Severity == config.SeverityWarning:
		return "!"
	default:
		return "✗"
	}
}

// verdict returns the status, raw, or the notice that makes a need unmet
// although the port itself is free or was not probed.
func verdict(r check.Result) string {
	switch {
	case !r.OK && (r.Met() || r.Status == "") && hasNotice(r, config.Duplicate):
		return string(config.Duplicate)
	case !r.OK && (r.Met() || r.Status == "") && hasNotice(r, config.Replicas):
		return string(config.Replicas)
	case r.Status != "":
		return string(r.Status)
	case r.OK:
		return "ok"
	default:
		return "not ok"
	}
}

func verdictColour(r check.Result, o Options) string {
	switch {
	case !o.Color:
		return ""
	case r.OK:
		return "\x1b[32m"
	case r.Status == check.Unknown || r.Severity == config.SeverityWarning:
		return "\x1b[1;33m"
	default:
		return "\x1b[1;31m"
	}
}

// endpointText returns "tcp 8080", "tcp 127.0.0.1:8080" or "udp 53 on loopback".
func endpointText(r check.Result) string {
	kind, ports := Safe(string(r.Protocol)), portsText(r)
	switch {
	case r.Expect.Connects():
		return kind + " " + Safe(net.JoinHostPort(r.Remote, ports))
	case len(r.Address) == 0, slices.Equal(r.Address, []port.Address{port.Any}):
		return kind + " " + ports
	case len(r.Address) == 1 && strings.ContainsAny(string(r.Address[0]), ".:"):
		return kind + " " + Safe(net.JoinHostPort(string(r.Address[0]), ports))
	}
	names := make([]string, len(r.Address))
	for i, a := range r.Address {
		names[i] = Safe(string(a))
	}
	return kind + " " + ports + " on " + strings.Join(names, ", ")
}

// holderShort names the first holder and counts the others.
func holderShort(holders []check.Holder) string {
	first := ""
	all := map[string]bool{}
	for _, h := range holders {
		h.User, h.UID = "", nil
		text := holderText(h)
		if len(all) == 0 {
			first = text
		}
		all[text] = true
	}
	if more := len(all) - 1; more > 0 {
		return first + " and " + strconv.Itoa(more) + " more"
	}
	return first
}
