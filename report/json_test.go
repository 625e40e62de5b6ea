package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
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

// A document that is written in pieces has the lines that encoding/json would give it.
func TestJSONHasALineForEachValue(t *testing.T) {
	for name, v := range map[string]any{
		"empty":   map[string]any{"a": []int{}, "b": map[string]int{}, "c": nil},
		"nested":  []any{[]any{}, []any{[]any{1, -2.5e3, true, false}, map[string]any{"x": map[string]any{"y": []any{"z"}}}}},
		"strings": map[string]any{`{"a":[`: `"},\`, "b": "\\\"", "": ",:[]{}", "c": ` a \" b `},
		"scalar":  7,
		"large":   []any{strings.Repeat(`a,"`, pieceOf), strings.Repeat("[", pieceOf), slices.Repeat([]any{"b"}, pieceOf/8)},
	} {
		want, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := writeJSON(&got, v); err != nil || got.String() != string(want)+"\n" {
			t.Errorf("%s: %v, %.300q, want %.300q", name, err, got.String(), want)
		}
	}
}

type smallDisk struct{ left int }

func (d *smallDisk) Write(text []byte) (int, error) {
	if d.left -= len(text); d.left < 0 {
		return 0, errors.New("no space left")
	}
	return len(text), nil
}

func TestJSONThatDoesNotFitIsAnError(t *testing.T) {
	large := check.Report{Results: []check.Result{{Message: strings.Repeat("m", 3*pieceOf)}, {}}}
	for _, left := range []int{0, pieceOf, 3 * pieceOf} {
		if err := jsonReport(&smallDisk{left}, large, Options{}); err == nil || err.Error() != "no space left" {
			t.Errorf("%d bytes: %v", left, err)
		}
	}
}
