package pipelines

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestExamplesHaveOneVersion checks that everything that a reader copies names one
// major version of portcheck.
func TestExamplesHaveOneVersion(t *testing.T) {
	const major = "1"
	version := regexp.MustCompile(`(?:portcheck(?:/setup)?[@:/]v|org/portcheck/portcheck@|rev: v|--version v|PORTCHECK_VERSION=v)([0-9]+)`)
	files := []string{"../../README.md", "../../.pre-commit-hooks.yaml", "../../action.yml"}
	for _, dir := range []string{"docs", "examples", "templates", "setup"} {
		err := filepath.WalkDir("../../"+dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.Contains(name, "/adr/") {
				files = append(files, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for _, file := range files {
		for line := range strings.Lines(read(t, file)) {
			for _, m := range version.FindAllStringSubmatch(line, -1) {
				found++
				if m[1] != major {
					t.Errorf("%s: not version %s: %s", file, major, line)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d versions were found: does the expression still fit?", found)
	}
}
