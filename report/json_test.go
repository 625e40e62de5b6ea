package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/check"
)

func TestJSONHasNoNull(t *testing.T) {
	reports := cases()
	reports["zero"] = check.Report{}
	reports["zero result"] = check.Report{Results: make([]check.Result, 1), Targets: make([]check.TargetReport, 1)}
	for name, r := range reports {
		out := inAllFormats(t, r, Options{})["json"]
		if strings.Contains(out, "null") || !strings.HasSuffix(out, "}\n") {
			t.Errorf("%s: %s", name, out)
		}
		if got, want := strings.Contains(out, `"endpoints"`), !r.Lint && len(r.Results) > 0; got != want {
			t.Errorf("%s: endpoints present: %v, want %v", name, got, want)
		}
	}
}

func TestFormatsLeaveTheReportAlone(t *testing.T) {
	for name, want := range cases() {
		got := cases()[name]
		inAllFormats(t, got, Options{})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s changed (-before +after):\n%s", name, diff)
		}
	}
}

func TestRootIsNotLeftOut(t *testing.T) {
	out := inAllFormats(t, cases()["in-use-unseen"], Options{})["json"]
	for _, want := range []string{`"uid": 0`, `"holders_complete": false`} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %s:\n%s", want, out)
		}
	}
}
