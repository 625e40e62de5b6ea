package report

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

var terminals = []int{40, 80, 120, 200}

func onTerminalOf(t *testing.T, r check.Report, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Formats["text"](&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// mixed returns a report with many kinds of results and with odd names.
func mixed() check.Report {
	all := results()
	var list []check.Result
	for _, status := range check.Statuses {
		r := all[string(status)]
		r.Name = "n-" + string(status)
		r.Source.Line = 6 + len(list)
		list = append(list, r)
	}
	long, wide, odd, block, several, warning := results()["in-use"], all["in-use"], all["in-use"], all["block"], all["in-use-many"], all["warning"]
	long.Name = strings.Repeat("a-long-name.", 5)
	long.Holders[0].Process, long.Holders[0].Unit = strings.Repeat("process", 12), "a-service-with-a-long-name.service"
	wide.Name, wide.Message = "データベース", "tcp 8080 is in use by ポート監視デーモン (pid 812)"
	wide.Holders = []check.Holder{{PID: 812, Process: "ポート監視デーモン😀e\u0301"}}
	odd.Name = "x\n::error::y\x1b[2J\u202e| ##[add-mask]80"
	odd.Message = "in use by ::error::z `" + strings.Repeat("$(reboot) ", 20) + "`"
	odd.Holders = []check.Holder{{PID: 7, Process: "::warning::" + strings.Repeat("\n", 40)}}
	block.Name, several.Name, warning.Name = "block", "several", "warning"
	several.Address = []port.Address{"loopback", "192.0.2.1"}
	twice := all["free"]
	twice.Name, twice.OK, twice.Notices = "twice", false, []check.Notice{notices[config.Duplicate]}
	noted := all["free"]
	noted.Name, noted.Notices = "noted", []check.Notice{notices[config.UnsafePort]}
	r := reportOf(append(list, long, wide, odd, block, several, warning, twice, noted)...)
	r.Targets[0].Notices = []check.Notice{notices[config.Degraded]}
	return r
}

func TestTableGolden(t *testing.T) {
	for _, width := range terminals {
		compareGolden(t, filepath.Join("table", fmt.Sprint(width)), onTerminalOf(t, mixed(), Options{Width: width}))
	}
	compareGolden(t, filepath.Join("table", "targets"), onTerminalOf(t, targets(), Options{Width: 100}))
	compareGolden(t, filepath.Join("table", "lint"), onTerminalOf(t, lint(), Options{Width: 100}))
	compareGolden(t, filepath.Join("table", "problems"), onTerminalOf(t, problems(), Options{Width: 60}))
	compareGolden(t, filepath.Join("table", "free"), onTerminalOf(t, cases()["free"], Options{Width: 80}))
}

// displayed computes the width in another way than columns, for the characters in
// these tests.
func displayed(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case strings.ContainsRune("\u0301", r):
		case 0x3040 <= r && r <= 0x9fff, 0x1f300 <= r:
			n += 2
		default:
			n++
		}
	}
	return n
}

// pasted are the lines that are made to be pasted.
var pasted = regexp.MustCompile(`^(--set [\w/-]+=[\d-]+ ?)+\n$|^(\w+=[\d-]+ ?)+\n$`)

// TestChoiceCanBePasted checks that on every terminal the flags, and the variables, are
// one line.
func TestChoiceCanBePasted(t *testing.T) {
	r := mixed()
	for i := range r.Results {
		r.Results[i].Env = fmt.Sprintf("VARIABLE_%d", i)
	}
	c := choiceOf(r)
	for _, width := range []int{40, 60, 80, 120, 1000} {
		out := onTerminalOf(t, r, Options{Width: width})
		for _, want := range [][]string{c.flags, c.variables} {
			if len(want) < 3 || strings.Count(out, strings.Join(want, " ")) != 1 {
				t.Errorf("at %d columns: %q is not once in\n%s", width, want, out)
			}
		}
	}
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	t.Parallel()
	reports := cases()
	reports["mixed"] = mixed()
	for i, s := range slices.Concat(hostile, hostileHere) {
		for k, r := range hostileReports(s) {
			reports[fmt.Sprintf("hostile %d %d", i, k)] = r
		}
	}
	for name, r := range reports {
		for width := range 240 {
			if width > 100 && width%20 > 0 || name != "mixed" && !slices.Contains(terminals, width) {
				continue
			}
			out := onTerminalOf(t, r, Options{Width: width})
			checkInert(t, name, out)
			for line := range strings.Lines(out) {
				if got := displayed(strings.TrimSuffix(line, "\n")); got > width && width >= 40 && !pasted.MatchString(line) {
					t.Errorf("%s: %d columns of %d: %q", name, got, width, line)
				}
			}
		}
	}
}

// Below the table are all lines of the output without a table.
func TestTableLosesNothing(t *testing.T) {
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for _, width := range terminals {
		r := mixed()
		r.Results = slices.DeleteFunc(r.Results, func(x check.Result) bool { return columns(x.Name+x.Message) > 200 }) // they are broken within words
		out := squeeze(onTerminalOf(t, r, Options{Width: width}))
		for line := range strings.Lines(onTerminalOf(t, r, Options{})) {
			if columns(line) < width-len(indent) && !strings.Contains(out, squeeze(line)) {
				t.Errorf("%d columns: %s is missing in %s", width, line, out)
			}
		}
	}
}

func TestNarrowTerminalsHaveNoTable(t *testing.T) {
	if out := onTerminalOf(t, mixed(), Options{Width: 39}); out != onTerminalOf(t, mixed(), Options{}) {
		t.Errorf("39 columns:\n%s", out)
	}
}

func TestColourOfTheTable(t *testing.T) {
	r := mixed()
	plain, coloured := onTerminalOf(t, r, Options{Width: 80}), onTerminalOf(t, r, Options{Width: 80, Color: true})
	for _, want := range []string{"\x1b[1;31m✗ in-use\x1b[0m", "\x1b[1;33m! in-use\x1b[0m", "\x1b[1;33m? unknown\x1b[0m", "\x1b[32m✓ free\x1b[0m"} {
		if !strings.Contains(coloured, want) {
			t.Errorf("no %q in\n%s", want, coloured)
		}
	}
	got := strings.NewReplacer("\x1b[1;31m", "", "\x1b[1;33m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(coloured)
	if got != plain {
		t.Errorf("colour moves the text:\n%s\n%s", plain, got)
	}
}

func TestManyMetNeedsAreCounted(t *testing.T) {
	out := onTerminalOf(t, crowd(200), Options{Width: 80})
	if !strings.Contains(out, "\n100 needs met and not shown\n") || strings.Contains(out, "✓") {
		t.Errorf("%s", out)
	}
	if out := onTerminalOf(t, crowd(60), Options{Width: 80}); strings.Count(out, "✓") != 30 || strings.Contains(out, "not shown") {
		t.Errorf("30 met needs:\n%s", out)
	}
	if out := onTerminalOf(t, crowd(62), Options{Width: 80}); strings.Contains(out, "✓") || !strings.Contains(out, "\n31 needs met and not shown\n") {
		t.Errorf("31 met needs:\n%s", out)
	}
}

// Columns are dropped where even their least widths, 10, 9, 15, 16 and 12, do not
// fit with gaps of two.
func TestColumnsAreDropped(t *testing.T) {
	for width, want := range map[int]string{
		55: "NEED ENDPOINT VERDICT",
		56: "NEED ENDPOINT VERDICT HOLDER", 69: "NEED ENDPOINT VERDICT HOLDER",
		70: "NEED ENDPOINT VERDICT HOLDER ALTERNATIVES",
	} {
		head, _, _ := strings.Cut(onTerminalOf(t, mixed(), Options{Width: width}), "\n")
		if got := strings.Join(strings.Fields(head), " "); got != want {
			t.Errorf("%d columns: %s, want %s", width, got, want)
		}
	}
}

// A character that is wider than the limit must not stop the progress.
func TestFittingHasACharacter(t *testing.T) {
	for limit, want := range map[int]int{0: 3, 1: 3, 2: 3, 3: 3, 4: 6} {
		if got := fitting("日本", limit); got != want {
			t.Errorf("%d bytes take %d columns, want %d", got, limit, want)
		}
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"nginx", 5, "nginx"},
		{"nginx", 4, "n..."},
		{"nginx", 3, "..."},
		{"nginx", 2, ".."},
		{"nginx", 0, ""},
		{"nginx", -1, ""},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日..."},
		{"日本語", 4, "..."},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
		{"\x1b[1;31merror\x1b[0m", 5, "\x1b[1;31merror\x1b[0m"},
		{"한\u1161x", 3, "한\u1161x"},
		{"", 0, ""},
	} {
		if got := Fit(c.in, c.limit); got != c.want {
			t.Errorf("Fit(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}

// A cell has at most three lines.
func TestCellsAreCut(t *testing.T) {
	for text, want := range map[string][]string{
		"aaaa bbbb cccc":       {"aaaa", "bbbb", "cccc"},
		"aaaa bbbb cccc dddd":  {"aaaa", "bbbb", "cccc..."},
		"aaaa bbbb ccccc dddd": {"aaaa", "bbbb", "cccc..."},
	} {
		if got := lines(text, 7); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWrapKeepsCommandsWhole(t *testing.T) {
	got := Wrap("stop its service: `systemctl stop nginx.service`; or wait", 36)
	want := []string{"stop its service:", "`systemctl stop nginx.service`; or", "wait"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for in, want := range map[string][]string{
		"":            {""},
		"abcdefghijk": {"abcdefgh", "ijk"},
		"日本語日本語":      {"日本語日", "本語"},
		"ab e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301": {"ab", strings.Repeat("e\u0301", 8)},
		"12345678 \u0301 ab": {"12345678", "\u0301 ab"},
		"12345 ::set-env":    {"12345", `:\x3aset`, "-env"},
		"123456::set":        {"123456::", "set"},
	} {
		if got := Wrap(in, 8); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
