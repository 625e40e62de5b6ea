package report

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	other "github.com/joshdk/go-junit"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/testbed"
)

// writeAll writes reports of all kinds to files, NAME.FORMAT.
func writeAll(t *testing.T, format string) (dir string, reports map[string]check.Report) {
	t.Helper()
	one := cases()
	reports = map[string]check.Report{
		"sample": sample(), "empty": one["empty"], "zero": {}, "problems": problems(), "lint": lint(),
		"met": one["free"], "warning": one["warning"], "several": several(), "targets": targets(), "flag": one["flag"], "crowd": crowd(512),
	}
	var all check.Report
	for _, s := range slices.Concat(hostile, hostileHere) {
		r := filled(s)
		r.Results[0].Status, r.Results[0].Severity = check.InUse, config.SeverityError
		all.Problems = append(all.Problems, r.Problems...)
		all.Targets = append(all.Targets, r.Targets...)
		all.Results = append(all.Results, r.Results...)
	}
	reports["hostile"] = all
	dir = t.TempDir()
	for name, r := range reports {
		f, err := os.Create(filepath.Join(dir, name+"."+format))
		if err != nil {
			t.Fatal(err)
		}
		if err := Formats[format](f, r, Options{Root: "/repo"}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, reports
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no files: %v", err)
	}
	return all
}

func tool(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		testbed.Missing(t, fmt.Sprintf("needs %s: %v", program, err))
	}
	return path
}

func TestJUnitFitsItsSchema(t *testing.T) {
	t.Parallel()
	xmllint := tool(t, "xmllint")
	dir, _ := writeAll(t, "junit")
	out, err := exec.Command(xmllint, append([]string{"--noout", "--nonet", "--huge", "--schema", "testdata/junit.xsd"}, files(t, dir)...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAnotherReaderOfJUnit(t *testing.T) {
	t.Parallel()
	dir, reports := writeAll(t, "junit")
	for name, r := range reports {
		suites, err := other.IngestFile(filepath.Join(dir, name+".junit"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got other.Totals
		for _, s := range suites {
			s.Aggregate()
			got.Tests += s.Totals.Tests
			got.Passed += s.Totals.Passed
			got.Failed += s.Totals.Failed
			got.Error += s.Totals.Error
			got.Skipped += s.Totals.Skipped
		}
		met, _, _ := outcomes(r)
		unmet, unknown, tolerated := failing(r)
		want := other.Totals{Tests: len(r.Problems) + len(r.Results), Passed: met, Failed: unmet, Error: unknown + len(r.Problems), Skipped: tolerated}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	suites, err := other.IngestFile(filepath.Join(dir, "sample.junit"))
	if err != nil {
		t.Fatal(err)
	}
	db := suites[1].Tests[1]
	if db.Classname != "shop/local" || db.Name != "db tcp/8080" || db.Properties["file"] != "deploy/portcheck.yml" || db.Properties["line"] != "7" {
		t.Errorf("the test of db is %+v", db)
	}
	for _, want := range []string{"shop-db-1", "docker compose", "20000", "[in-use]"} {
		if !strings.Contains(db.Error.Error(), want) {
			t.Errorf("db's failure lacks %s: %v", want, db.Error)
		}
	}
}

// TestProveReadsTAP reads TAP 13, the version of the oldest readers.
func TestProveReadsTAP(t *testing.T) {
	t.Parallel()
	prove := tool(t, "prove")
	dir, reports := writeAll(t, "tap")
	for _, name := range slices.Sorted(maps.Keys(reports)) {
		r := reports[name]
		cmd := exec.Command(prove, "-e", "cat", filepath.Join(dir, name+".tap"))
		cmd.Env = append(cmd.Environ(), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		failed := 0
		for _, x := range r.Results {
			if !x.OK && x.Severity != config.SeverityWarning {
				failed++
			}
		}
		failed += len(r.Problems)
		got := 0
		if m := regexp.MustCompile(`Tests: \d+ Failed: (\d+)`).FindSubmatch(out); m != nil {
			got, _ = strconv.Atoi(string(m[1])) // digits
		}
		if (err != nil) != (failed > 0) || got != failed || strings.Contains(string(out), "Parse errors") || cmd.ProcessState.ExitCode() > 1 {
			t.Errorf("%s: %v, want %d failed:\n%s", name, err, failed, out)
		}
	}
}

// TestSARIFIsValid runs Microsoft's validator with the rules of the standard and
// those of GitHub's code scanning.
func TestSARIFIsValid(t *testing.T) {
	t.Parallel()
	testbed.Slow(t, "runs a validator")
	const env = "PORTCHECK_SARIF_MULTITOOL"
	validator := os.Getenv(env)
	if validator == "" {
		testbed.Missing(t, "needs the path of sarif-multitool (npm: @microsoft/sarif-multitool) in "+env)
	}
	dir, _ := writeAll(t, "sarif")
	all := files(t, dir)
	validate := func(files ...string) (string, error) {
		// npm's wrapper passes arguments through a shell, which needs the inner quotes.
		args := append([]string{"validate", "--rule-kind", `"Sarif;Gh"`, "--log", "ForceOverwrite", "--output", filepath.Join(t.TempDir(), "found.sarif")}, files...)
		out, err := exec.Command(validator, args...).CombinedOutput()
		return string(out), err
	}
	text, err := validate(all...)
	if err != nil || !strings.Contains(text, fmt.Sprintf("Done. %d files scanned.", len(all))) {
		t.Errorf("%v\n%s", err, text)
	}
	if strings.Contains(text, ": error ") || strings.Contains(text, ": warning ") {
		t.Error(text)
	}
}
