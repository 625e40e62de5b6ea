package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/port"
)

// SetPorts returns the text of a manifest as it is, and with other ports: those of the
// needs of which the ports are at these positions. Everything else stays as it is, byte
// for byte.
func SetPorts(file string, ports map[Position]port.Range, bounds []within.Dir) (before, after []byte, problems []Problem) {
	before, left, found := Options{}.readFile(file, bounds)
	switch {
	case len(found) > 0:
		return nil, nil, withoutKinds(found)
	case left != nil:
		return nil, nil, withoutKinds([]problem{newProblem(Position{File: file}, leavesBounds, quotePath(left.String()))})
	}
	m, found := parseManifest(file, before)
	if len(found) > 0 {
		return nil, nil, withoutKinds(found)
	}
	after, problems = m.withPorts(before, ports)
	return before, after, problems
}

// withPorts returns the text of a manifest with other ports.
func (m Manifest) withPorts(data []byte, ports map[Position]port.Range) ([]byte, []Problem) {
	changed := Problem{Position{File: m.File}, "the file has changed since it was read"}
	text := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	after := bytes.Clone(data[:len(data)-len(text)])
	var problems []Problem
	from, left := 0, len(ports)
	for _, p := range m.Ports {
		r, ok := ports[p.At]
		if !ok {
			continue
		}
		left--
		start, end, ok := p.written(text)
		switch {
		case !ok:
			problems = append(problems, Problem{p.At, fmt.Sprintf("the port of %s can't be replaced in this text: write it as a number, such as 8080, on one line with its key", p.Name)})
			continue
		case start < from: // the needs are in the order of the text
			return nil, []Problem{changed}
		case p.Auto || p.Ports != r:
			after = fmt.Appendf(append(after, text[from:start]...), "%s", r)
			from = end
		}
	}
	if left > 0 {
		problems = append(problems, changed)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	after = append(after, text[from:]...)
	again, found := parseManifest(m.File, after)
	if len(found) > 0 {
		return nil, withoutKinds(found)
	}
	for i, p := range m.Ports {
		want, ok := ports[p.At]
		if !ok {
			want = p.Ports
		}
		if q := again.Ports[i]; q.Name != p.Name || q.Ports != want {
			return nil, []Problem{changed}
		}
	}
	return after, nil
}

// written returns where a text has the ports of a need, without quotes. It reports false
// if they are written in another way than as one word.
func (p Port) written(text []byte) (start, end int, ok bool) {
	start, ok = offset(text, p.At)
	if !ok {
		return 0, 0, false
	}
	stop := " \t\r\n,]}"
	if q := text[start]; q == '"' || q == '\'' {
		start, stop = start+1, string(q)
	}
	n := bytes.IndexAny(text[start:], stop)
	if n < 0 && len(stop) == 1 {
		return 0, 0, false // a quote that does not end
	} else if n < 0 {
		n = len(text) - start
	}
	word := string(text[start : start+n])
	if name, _, _ := strings.Cut(word, ":"); p.Auto {
		return start, start + n, name == auto
	}
	r, err := port.ParseRange(word)
	return start, start + n, err == nil && r == p.Ports
}

// offset returns the offset of a position in a text. It reports false if the text does
// not have it.
func offset(text []byte, at Position) (int, bool) {
	line, i := 1, 0
	for ; line < at.Line && i < len(text); i++ {
		if text[i] == '\n' || text[i] == '\r' && (i+1 == len(text) || text[i+1] != '\n') {
			line++
		}
	}
	for column := 1; column < at.Column && i < len(text); column++ {
		_, size := utf8.DecodeRune(text[i:])
		i += size
	}
	return i, line == at.Line && i < len(text)
}
