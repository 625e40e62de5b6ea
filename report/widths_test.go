package report

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
)

const widthsPage = "../docs/text.md"

// TestTextPage compares docs/text.md with what a terminal shows; -update writes it.
func TestTextPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The text on a terminal\n\n" +
		"On a terminal of 40 columns or more, a table of all needs comes first. The lines below it are broken between words, and a\n" +
		"command is kept whole where it fits. Columns that have no room are left out: the lines below have them. In a pipe and in CI\n" +
		"there is no table, and no line is broken.\n\n" +
		"A conflict has at most three lines: what is wrong, what to do about it, and other ports. How to end a holder of several\n" +
		"needs is said once. A block counts as its ports. The last line before the summary moves all needs to free ports: it is\n" +
		"made to be pasted, and never broken.\n")
	r := onePage()
	for _, width := range []int{60, 80, 120} {
		text := inAllFormats(t, r, Options{Width: width})["text"]
		for line := range strings.Lines(text) {
			if n := columns(strings.TrimSuffix(line, "\n")); n > width && !pasted.MatchString(line) {
				t.Errorf("a line of %d columns on a terminal of %d: %s", n, width, line)
			}
		}
		fmt.Fprintf(&b, "\n## %d columns\n\n```text\n%s```\n", width, text)
	}
	fmt.Fprintf(&b, "\n## In a pipe\n\n```text\n%s```\n", inAllFormats(t, r, Options{})["text"])
	if *update {
		if err := os.WriteFile(widthsPage, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(widthsPage)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not up to date (go test ./report -run TestTextPage -update writes it): %v", widthsPage, err)
	}
}

// onePage returns a report with some of everything.
func onePage() check.Report {
	all := results()
	var r check.Report
	for i, x := range []struct{ result, name string }{{"in-use", "web"}, {"in-use", "admin"}, {"in-use-container", "db"}, {"block", "workers"}, {"denied", "https"}, {"exposed", "cache"}, {"free", "api"}} {
		result := all[x.result]
		result.Name, result.ID, result.Source.Line = x.name, "shop/"+x.name+"@local/tcp", 4+i
		if x.name == "admin" || x.name == "db" {
			result.Alternatives = []uint16{20003, 20005, 20006}
		}
		if x.name == "workers" {
			result.Alternatives = []uint16{20010, 20014}
		}
		r.Results = append(r.Results, result)
	}
	r.Targets = []check.TargetReport{{Name: localTarget, OS: "linux", Namespace: check.Namespace{Kind: hostNamespace}, Notices: []check.Notice{}}}
	r.Finish()
	return r
}
