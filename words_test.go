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
