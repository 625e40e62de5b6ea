package report

import (
	"strings"
	"testing"
)

// Hints about a need of a Compose file name keys that such a file can have.
func TestHintsOfComposeNeeds(t *testing.T) {
	changed := map[string]bool{}
	for name, rep := range cases() {
		for _, r := range rep.Results {
			plain := hints(r)
			r.Compose = true
			for i, h := range hints(r) {
				bare := strings.ReplaceAll(h.Text, "`x-portcheck: {", "")
				for _, word := range []string{"`owner:", "`range:", "`wait:", "`address:", "manifest"} {
					if strings.Contains(bare, word) && !r.Source.IsFlag() {
						t.Errorf("%s: %s", name, h.Text)
					}
				}
				if i < len(plain) && h.Text != plain[i].Text {
					for _, key := range []string{"owner", "range", "wait", "without a host IP"} {
						changed[key] = changed[key] || strings.Contains(h.Text, key)
					}
				}
			}
		}
	}
	if len(changed) != 4 || !changed["owner"] || !changed["range"] || !changed["wait"] || !changed["without a host IP"] {
		t.Errorf("hints that differ: %v", changed)
	}
}
