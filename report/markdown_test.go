package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

func TestSummaryStaysBelowGitHubsLimit(t *testing.T) {
	t.Parallel()
	var unmet, free []check.Result
	for i := range 4000 {
		r := taken(check.InUse, strings.Repeat("`<", 4000), nginx())
		r.Name = fmt.Sprintf("web%d", i)
		unmet = append(unmet, r)
		r = results()["free"]
		r.Notices = []check.Notice{notices[config.Squatter]}
		free = append(free, r)
	}
	r := reportOf(append(unmet, free...)...)
	for range 4000 {
		r.Problems = append(r.Problems, config.Problem{Message: "unknown key"})
	}
	var b strings.Builder
	if err := Formats["markdown"](&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	if len(out) >= 1<<20 || len(out) < 900_000 {
		t.Errorf("%d bytes", len(out))
	}
	if !strings.Contains(out, " more | | | | |\n") || !strings.HasPrefix(out, "## portcheck: 4000 ok, 4000 conflicts") {
		t.Error("what is left out is not counted")
	}
	if strings.Count(out, "<details>") != strings.Count(out, "</details>") {
		t.Error("the page is torn")
	}
}

// The findings that do not fit, and are left out, are the least severe ones.
func TestSummaryHasTheWorstFirst(t *testing.T) {
	t.Parallel()
	r := crowd(4096)
	for i := range r.Results {
		x := &r.Results[i]
		if !x.OK && i > 3000 {
			x.Message = strings.Repeat("<", 200)
		} else if !x.OK {
			x.Severity = config.SeverityWarning
			x.Message = strings.Repeat(">", 200)
		}
	}
	out := inAllFormats(t, r, Options{})["markdown"]
	if len(out) >= 1<<20 || strings.Count(out, "**: "+strings.Repeat("&lt;", 200)+"<br>") != 547 || !strings.Contains(out, " more | | | | |\n") {
		t.Errorf("%d bytes, %d of 547 errors", len(out), strings.Count(out, strings.Repeat("&lt;", 200)))
	}
	if strings.Index(out, "&gt;&gt;") < strings.LastIndex(out, "&lt;&lt;") {
		t.Error("a warning comes before an error")
	}
}

func TestLongListsAreFolded(t *testing.T) {
	for n, folded := range map[int]bool{10: false, 11: true} {
		var all []check.Result
		for range n {
			r := results()["free"]
			r.Notices = []check.Notice{notices[config.Squatter]}
			all = append(all, r)
		}
		out := inAllFormats(t, reportOf(all...), Options{})["markdown"]
		for _, title := range []string{"Met", "Notes"} {
			open, fold := strings.Contains(out, "\n### "+title+"\n"), strings.Contains(out, fmt.Sprintf("<summary>%s (%d)</summary>", title, n))
			if fold != folded || open == folded {
				t.Errorf("%s of %d: folded %v:\n%s", title, n, fold, out)
			}
		}
	}
}

// Formats name a few holders and count the others.
func TestManyHoldersAreCounted(t *testing.T) {
	for format, most := range map[string]int{"html": 10, "junit": 10, "tap": 10, "markdown": 3} {
		for _, more := range []int{0, 1} {
			r := taken(check.InUse, "x")
			for i := range most + more {
				r.Holders = append(r.Holders, check.Holder{PID: 100 + i, State: "listen", Process: fmt.Sprintf("holder%03d", i)})
			}
			r.Alternatives, r.Asked, r.Message = nil, 0, "x"
			out := inAllFormats(t, reportOf(r), Options{})[format]
			last, over := fmt.Sprintf("holder%03d (pid", most-1), fmt.Sprintf("holder%03d (pid", most)
			if !strings.Contains(out, last) || strings.Contains(out, over) {
				t.Errorf("%s with %d holders:\n%s", format, most+more, out)
			}
			if (strings.Count(out, "1 more") > 0) != (more == 1) {
				t.Errorf("%s with %d holders has a wrong count:\n%s", format, most+more, out)
			}
		}
	}
}

func TestCell(t *testing.T) {
	for in, want := range map[string]string{
		"nginx.service":        "nginx.service",
		"my_app":               `my\_app`,
		"a|b":                  "a&#124;b",
		"<b>&lt;":              "&lt;b&gt;&amp;lt;",
		"`x`":                  "'x'",
		"@org/team":            "@&#8203;org/team",
		"https://example.com/": "https&#58;//example.com/",
		"a\nb":                 `a\\nb`,
		`\|`:                   `\\&#124;`,
	} {
		if got := cell(in); got != want {
			t.Errorf("cell(%q) = %s, want %s", in, got, want)
		}
	}
}
