package main

import (
	"strings"
	"testing"

	"github.com/org/portcheck/config"
)

// A new kind of target needs a word in each of these texts.
func TestDocumentsNameEveryKindOfTarget(t *testing.T) {
	for _, file := range []string{"action.yml", "docs/manifest.md"} {
		text := readText(t, file)
		for _, k := range config.TargetKinds {
			if !strings.Contains(text, k.Syntax) {
				t.Errorf("%s does not name the target %s", file, k.Syntax)
			}
		}
	}
}

func TestDocumentsNameEveryNoticeCode(t *testing.T) {
	_, list, found := strings.Cut(readText(t, "docs/manifest.md"), "- **Notice codes** are ")
	list, _, ended := strings.Cut(list, "\n")
	if !found || !ended {
		t.Fatal("docs/manifest.md has no list of notice codes")
	}
	for _, code := range config.NoticeCodes {
		if !strings.Contains(list, "`"+string(code)+"`") {
			t.Errorf("docs/manifest.md does not list the notice code %s", code)
		}
	}
}
