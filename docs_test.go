package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// guides are the documents for people who change portcheck.
var guides = []string{"CONTRIBUTING.md", "docs/architecture.md"}

var (
	inBackquotes = regexp.MustCompile("`([^`\n]+)`")
	aFile        = regexp.MustCompile(`^[\w./*-]+$`)
	aModule      = regexp.MustCompile(`^[a-z0-9-]+\.[a-z]{2,}/`)
	aLink        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	aTestName    = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	aHeading     = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchors = regexp.MustCompile(`[^\w -]`)
)

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGuidesNamePathsThatExist checks the words in backquotes that are paths: they
// have a slash, or the extension of a Go file or a document.
func TestGuidesNamePathsThatExist(t *testing.T) {
	for _, guide := range guides {
		checked := 0
		for _, m := range inBackquotes.FindAllStringSubmatch(readText(t, guide), -1) {
			path := m[1]
			named := strings.Contains(path, "/") || filepath.Ext(path) == ".go" || filepath.Ext(path) == ".md"
			if !named || !aFile.MatchString(path) || aModule.MatchString(path) || strings.Contains(path, "GOOS") {
				continue
			}
			checked++
			if found, err := filepath.Glob(path); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which does not exist", guide, path)
			}
		}
		if checked == 0 {
			t.Errorf("%s names no path", guide)
		}
	}
}

func TestArchitectureNamesEveryPackage(t *testing.T) {
	text := readText(t, "docs/architecture.md")
	for _, p := range packages(t, "linux") {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if name == "" {
			name = "main.go"
		}
		if !strings.Contains(text, "\n| `"+name+"` | ") {
			t.Errorf("docs/architecture.md has no row for %s", name)
		}
	}
}

// TestArchitectureNamesFunctionsThatExist checks rows of the form
// "| ... | `FILE` | `FUNCTION` |".
func TestArchitectureNamesFunctionsThatExist(t *testing.T) {
	row := regexp.MustCompile("\\| `([^`]+\\.go)` \\| `(\\w+)` \\|")
	rows := row.FindAllStringSubmatch(readText(t, "docs/architecture.md"), -1)
	if len(rows) == 0 {
		t.Error("docs/architecture.md has no rows with functions")
	}
	for _, m := range rows {
		file, function := m[1], m[2]
		declared := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + function + `[\[(]`)
		if text, err := os.ReadFile(file); err != nil || !declared.Match(text) {
			t.Errorf("docs/architecture.md: %s does not declare a function %s", file, function)
		}
	}
}

func TestContributingNamesTestsThatExist(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := aTestName.FindAllStringSubmatch(readText(t, "CONTRIBUTING.md"), -1)
	if len(names) == 0 {
		t.Error("CONTRIBUTING.md names no test")
	}
	for _, m := range names {
		if !strings.Contains(code.String(), "\nfunc "+m[1]+"(") {
			t.Errorf("CONTRIBUTING.md: there is no test %s", m[1])
		}
	}
}

// TestDocumentsLinkToWhatExists checks the links between documents: their files and
// headings exist.
func TestDocumentsLinkToWhatExists(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	for _, document := range documents {
		for _, m := range aLink.FindAllStringSubmatch(readText(t, document), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := filepath.Join(filepath.Dir(document), file)
			if file == "" {
				target = document
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere", document, m[1])
				continue
			}
			if anchor != "" && !hasHeading(readText(t, target), anchor) {
				t.Errorf("%s: the link %s leads to no heading", document, m[1])
			}
		}
	}
}

// hasHeading reports whether a heading of the text has the anchor on GitHub.
func hasHeading(text, anchor string) bool {
	for _, m := range aHeading.FindAllStringSubmatch(text, -1) {
		name := notInAnchors.ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(name, " ", "-") == anchor {
			return true
		}
	}
	return false
}
