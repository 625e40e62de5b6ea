package report

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

func TestStripOfARange(t *testing.T) {
	maps, _ := mapSpans(ranges())
	for i, want := range []struct{ strip, text string }{
		{"▄▁███" + strings.Repeat("▁", 20) + "N" + strings.Repeat("▁", 23) + "x", "918 free, 61 taken, 1 needed here, 20 excluded; taken: 20003, 20040-20099"},
		{"█▁▁██", "2 free, 3 taken; taken: 9443, 8002-8003"},
		{strings.Repeat("█", 50), "0 free, 1000 taken; taken: 20000-20999"},
		{strings.Repeat("▄", 50), "500 free, 500 taken; taken: 20000, 20002, 20004, 20006, 20008, 20010, 20012, 20014, 20016, 20018, 20020, 20022 and 488 more"},
	} {
		if got := maps[i].strip(); got != want.strip {
			t.Errorf("%s:\n%s, want\n%s", maps[i].title(), got, want.strip)
		}
		if got := maps[i].text(); got != want.text {
			t.Errorf("%s: %s, want %s", maps[i].title(), got, want.text)
		}
	}
}

// Each port is in one cell, whatever the number of ports.
func TestCellsCoverTheRange(t *testing.T) {
	for _, n := range []int{1, 2, 49, 50, 51, 99, 100, 101, 1000, port.MaxPort} {
		all := port.Set{{First: 1, Last: uint16(n)}}
		m := mapSpan(check.Span{Ports: all, Open: all}, new(port.Bits))
		next := 1
		for _, c := range m.cells {
			if int(c.first) != next || c.last < c.first {
				t.Errorf("%d ports: a cell from %d to %d after %d", n, c.first, c.last, next-1)
			}
			next = int(c.last) + 1
		}
		if next != n+1 || m.counts[useFree] != n || utf8.RuneCountInString(m.strip()) != min(n, 50) {
			t.Errorf("%d ports: %d cells to %d, %d free", n, len(m.cells), next-1, m.counts[useFree])
		}
	}
}

func TestRangesInMarkdown(t *testing.T) {
	out := inAllFormats(t, ranges(), Options{})["markdown"]
	for _, want := range []string{
		"<details><summary>Ranges for alternatives (4)</summary>",
		"\n- tcp 20000-20999 on local: 918 free, ", "<br>`▄▁███", "- udp 9443,8000-8003 at loopback, 192.0.2.1 on local: ",
		"`█` taken, or reserved by the system · `N` needed by this check itself",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	r := ranges()
	for i := range 40 {
		r.Spans = append(r.Spans, r.Spans[0])
		r.Spans[i].Target = fmt.Sprint("app", i)
	}
	if out := inAllFormats(t, r, Options{})["markdown"]; !strings.Contains(out, "\n- 24 more\n") {
		t.Errorf("44 ranges:\n%s", out)
	}
}
