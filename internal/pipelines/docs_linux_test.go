package pipelines

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const ciDoc = "../../docs/ci.md"

func TestDocLinksToWhatThereIs(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^):#]+)`).FindAllStringSubmatch(read(t, ciDoc), -1)
	linked := map[string]bool{}
	for _, m := range links {
		linked[strings.TrimPrefix(m[1], "../examples/")] = true
		if _, err := os.Stat("../../docs/" + m[1]); err != nil {
			t.Error(err)
		}
	}
	files, err := os.ReadDir(examples)
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range files {
		if !linked[f.Name()] {
			t.Errorf("docs/ci.md does not describe examples/%s", f.Name())
		}
	}
}

// TestDocHasTheInputsAndHooks checks that docs/ci.md lists all inputs with their
// defaults, and all hooks.
func TestDocHasTheInputsAndHooks(t *testing.T) {
	doc := read(t, ciDoc)
	var head struct {
		Spec struct {
			Inputs map[string]struct{ Default, Description string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, component)), &head); err != nil {
		t.Fatal(err)
	}
	for name, input := range head.Spec.Inputs {
		row := "\n| `" + name + "` | `" + input.Default + "` |"
		if input.Default == "" {
			row = "\n| `" + name + "` | |"
		}
		if !strings.Contains(doc, row) || input.Description == "" {
			t.Errorf("input %s, default %q, is not described", name, input.Default)
		}
	}
	var hooks []struct{ ID string }
	if err := yaml.Unmarshal([]byte(read(t, "../../.pre-commit-hooks.yaml")), &hooks); err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z-]+)`").FindAllStringSubmatch(doc, -1)
	if len(rows) != len(head.Spec.Inputs)+len(hooks) {
		t.Errorf("%d rows for %d inputs and %d hooks", len(rows), len(head.Spec.Inputs), len(hooks))
	}
	for _, h := range hooks {
		if !strings.Contains(doc, "\n| `"+h.ID+"` |") {
			t.Errorf("hook %s is not described", h.ID)
		}
	}
}
