package main

import (
	"os"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
)

// Whoever adds a kind of target is told here which texts have to name it.
func TestDocumentsNameEveryKindOfTarget(t *testing.T) {
	for _, file := range []string{"action.yml", "docs/manifest.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range config.TargetKinds {
			if !strings.Contains(string(text), k.Syntax) {
				t.Errorf("%s does not name the target %s", file, k.Syntax)
			}
		}
	}
}
