package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/internal/within"
)

// TestLinkedFileIsNotQuoted reads each invalid manifest by a link from another
// directory. Its problems have the same positions, and nothing that the file contains.
func TestLinkedFileIsNotQuoted(t *testing.T) {
	inDirectory(t, "invalid", func(t *testing.T, name string) {
		_, want := load([]string{name}, nil, Options{})
		target, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(t.TempDir(), name)
		if err := os.Symlink(target, link); err != nil {
			testbed.Missing(t, err.Error())
		}
		_, found := Load([]string{link}, nil, Options{})
		if len(found) != len(want) {
			t.Fatalf("got\n%swant\n%s", lines(found), lines(withoutKinds(want)))
		}
		for i, p := range found {
			if p.Line != want[i].Line || p.Column != want[i].Column {
				t.Errorf("%s: want line %d, column %d", p, want[i].Line, want[i].Column)
			}
			allowed := string(want[i].kind) + "; values are not shown, since a link may lead to this file, out of " + quotePath(filepath.Dir(link)) + ": name the file itself to see them"
			for _, arg := range want[i].args {
				if n, isInt := arg.(int); isInt {
					allowed = strings.Replace(allowed, "%d", fmt.Sprint(n), 1)
				}
			}
			// What is left of the kind's text, in order, is all that the message has.
			rest := p.Message
			for word := range strings.FieldsSeq(rest) {
				if word = strings.Trim(word, ".:,;\""); word != "" && !strings.Contains(allowed, word) {
					t.Errorf("%s: %q is not of the message's fixed text", p, word)
				}
			}
		}
	})
}

// TestLinkIsRefusedWithinBounds reads nothing of a file to which a link leads out of
// the bounds, not even that it exists.
func TestLinkIsRefusedWithinBounds(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/real.yml", "out/secret.yml", "out/named.yml")
	for link, target := range map[string]string{"in/a.yml": "../out/secret.yml", "in/b.yml": "../out/nothing.yml", "in/c.yml": "real.yml"} {
		if err := os.Symlink(target, link); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	bounds, err := within.New("in")
	if err != nil {
		t.Fatal(err)
	}
	_, found := Load([]string{"in/a.yml", "in/b.yml", "in/c.yml", "out/named.yml"}, nil, Options{Bounds: []within.Dir{bounds}})
	refused := ": a link leads out of " + quotePath(bounds.String()) + ": in CI, links must stay there; copy the file, or name it by its own path\n"
	want := "in/a.yml" + refused + "in/b.yml" + refused +
		"in/c.yml:1:1: the manifest is empty: want version, app and ports\nout/named.yml:1:1: the manifest is empty: want version, app and ports\n"
	if got := lines(found); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
