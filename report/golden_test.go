package report

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

var update = flag.Bool("update", false, "write the golden files")

// inAllFormats writes a report in each format and returns the outputs by format.
func inAllFormats(t testing.TB, r check.Report, o Options) map[string]string {
	t.Helper()
	outputs := map[string]string{}
	for _, name := range Names() {
		var b bytes.Buffer
		if err := Formats[name](&b, r, o); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		outputs[name] = b.String()
	}
	return outputs
}

func TestGolden(t *testing.T) {
	all := cases()
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			outputs := inAllFormats(t, r, Options{})
			var b strings.Builder
			for _, format := range []string{"text", "github", "markdown", "json"} {
				fmt.Fprintf(&b, "-- %s --\n%s", format, outputs[format])
			}
			compareGolden(t, name, b.String())
		})
	}
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".golden")
		if _, ok := all[name]; !ok && !strings.HasPrefix(name, "list") && !strings.HasPrefix(name, "diff") && name != "hostile" {
			t.Errorf("%s: no case of this name", file)
		}
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update accepts it):\n%s", file, diff)
	}
}

func TestEveryStatusAndNoticeHasACase(t *testing.T) {
	all := cases()
	for _, s := range check.Statuses {
		r, ok := all[string(s)]
		if !ok || r.Results[0].Status != s {
			t.Errorf("no case for status %s", s)
			continue
		}
		outputs := inAllFormats(t, r, Options{})
		if !s.OK() && !strings.Contains(outputs["text"], "["+string(s)+"]\n") {
			t.Errorf("%s: text does not end its finding with the status:\n%s", s, outputs["text"])
		}
	}
	for _, n := range config.NoticeCodes {
		r, ok := all["notice-"+string(n)]
		if !ok || notices[n].Message == "" {
			t.Errorf("no case for notice %s", n)
			continue
		}
		outputs := inAllFormats(t, r, Options{})
		if !strings.Contains(outputs["text"], "["+string(n)+"]\n") {
			t.Errorf("%s: text does not end its finding with the code:\n%s", n, outputs["text"])
		}
	}
}

func TestLookup(t *testing.T) {
	for _, name := range Names() {
		if f, err := Lookup(name); f == nil || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Lookup("portcheck.yml\n::error::x")
	want := `unknown format "portcheck.yml\n::error::x": want one of codequality, github, html, json, junit, markdown, prometheus, sarif, tap, text`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
