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

// What does not fit is the least severe.
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

func TestCell(t *testing.T) {
	for in, want := range map[string]string{
		"nginx.service":        "nginx.service",
		"my_app":               `my\_app`,
		"a|b":                  "a&#124;b",
		"<b>&lt;":              "&lt;b&gt;&amp;lt;",
		"`x`":                  "\\`x\\`",
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
