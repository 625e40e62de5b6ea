package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/testbed"
)

// pageFacts is what testdata/page/look.js finds on a page.
type pageFacts struct {
	Console, Requests, Dialogs, Wide, Violations []string
	Filters                                      map[string]struct {
		Shown       int
		Count, Live string
	}
	Elements, WithoutScript, FormWithoutScript, Printed, FormPrinted int
}

// wholePage returns a report with everything that a page can show.
func wholePage() check.Report {
	r := mixed()
	r.Problems = problems().Problems
	r.Spans = ranges().Spans
	there := slices.Clone(r.Results[:6])
	for i := range there {
		there[i].Target = "app1"
		there[i].ID = strings.Replace(there[i].ID, "@local/", "@app1/", 1)
	}
	r.Results = append(r.Results, there...)
	r.Targets = append(r.Targets, targets().Targets[1])
	return r
}

// TestPageInABrowser opens pages in Chromium, as wide as a phone and as a desktop
// window, light and dark. PORTCHECK_SCREENSHOTS is a directory for screenshots.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	testbed.Slow(t, "opens pages in a browser")
	chromium, node := tool(t, "chromium"), tool(t, "node")
	modules := os.Getenv("PORTCHECK_NODE_MODULES")
	for _, module := range []string{"playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join(modules, module)); modules == "" || err != nil {
			testbed.Missing(t, fmt.Sprintf("PORTCHECK_NODE_MODULES names no directory with %s", module))
		}
	}
	type page struct {
		Name    string              `json:"name"`
		Filters []map[string]string `json:"filters,omitempty"`
		Axe     bool                `json:"axe"`
		Picture bool                `json:"picture"`
	}
	whole := wholePage()
	count := func(keep func(check.Result) bool) int {
		return len(slices.DeleteFunc(slices.Clone(whole.Results), func(r check.Result) bool { return !keep(r) }))
	}
	onApp1 := func(r check.Result) bool { return r.Target == "app1" }
	met := func(r check.Result) bool { return r.OK }
	unmet := func(r check.Result) bool { return !r.OK }
	inUse := func(r check.Result) bool { return r.Status == check.InUse }
	type filter struct {
		flags map[string]string
		shown int
	}
	ofApp1 := fmt.Sprintf("app1 (%d)", count(onApp1))
	choices := []filter{
		{map[string]string{"by-target": ofApp1}, count(onApp1)},
		{map[string]string{"by-status": fmt.Sprintf("Not met (%d)", count(unmet))}, count(unmet)},
		{map[string]string{"by-status": fmt.Sprintf("in-use (%d)", count(inUse))}, count(inUse)},
		{
			map[string]string{"by-target": ofApp1, "by-status": fmt.Sprintf("Met (%d)", count(met))},
			count(func(r check.Result) bool { return onApp1(r) && met(r) }),
		},
	}
	reports := map[string]check.Report{
		"whole": whole, "hostile": hostilePage(), "lint": lint(), "problems": problems(), "met": cases()["free"], "empty": cases()["empty"],
		"ranges": ranges(), "crowd": crowd(300),
	}
	dir := t.TempDir()
	var list []page
	for name, r := range reports {
		var b bytes.Buffer
		if err := Formats["html"](&b, r, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".html"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		p := page{Name: name, Axe: name != "crowd" && name != "hostile", Picture: name != "crowd" && name != "hostile"} // too long, and like the others
		if name == "whole" {
			for _, c := range choices {
				p.Filters = append(p.Filters, c.flags)
			}
		}
		list = append(list, p)
	}
	asked, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "testdata/page/look.js", chromium, dir, os.Getenv("PORTCHECK_SCREENSHOTS"))
	cmd.Stdin = bytes.NewReader(asked)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, problems.String())
	}
	var found map[string]pageFacts
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	for name, r := range reports {
		s, ok := found[name]
		if !ok || s.Elements < 10 {
			t.Errorf("%s was not opened: %+v", name, s)
		}
		for what, list := range map[string][]string{"console": s.Console, "requests": s.Requests, "dialogs": s.Dialogs, "wider than the window": s.Wide, "axe": s.Violations} {
			if len(list) > 0 {
				t.Errorf("%s: %s: %s", name, what, strings.Join(list, "\n"))
			}
		}
		if n := len(r.Results); s.WithoutScript != n || s.Printed != n || s.FormWithoutScript+s.FormPrinted > 0 {
			t.Errorf("%s: %d rows without a script and %d printed of %d, with %d forms", name, s.WithoutScript, s.Printed, n, s.FormWithoutScript+s.FormPrinted)
		}
	}
	for _, c := range choices {
		choice, err := json.Marshal(c.flags)
		if err != nil || c.shown == 0 {
			t.Fatal(err, c)
		}
		want := c.shown
		got := found["whole"].Filters[string(choice)]
		if got.Shown != want || got.Count != fmt.Sprintf("%d of %d shown", want, len(whole.Results)) || got.Live != "polite" {
			t.Errorf("%s shows %+v, want %d", choice, got, want)
		}
	}
}

// hostilePage returns a report with every hostile text in every string.
func hostilePage() check.Report {
	var all check.Report
	for _, s := range slices.Concat(hostile, hostileHere) {
		r := filled(s)
		r.Results[0].Status, r.Results[0].Severity = check.InUse, config.SeverityError
		all.Problems = append(all.Problems, r.Problems...)
		all.Targets = append(all.Targets, r.Targets...)
		all.Results = append(all.Results, r.Results...)
		all.Spans = append(all.Spans, r.Spans...)
	}
	return all
}
