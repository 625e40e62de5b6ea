package config

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What a draft writes is read as what it is, for every valid manifest of the tests.
func TestDraftsAreReadAsWhatTheyAre(t *testing.T) {
	inDirectory(t, "valid", func(t *testing.T, name string) {
		all, found := Load([]string{name}, nil, Options{})
		if len(found) > 0 {
			t.Fatal(lines(found))
		}
		text := Draft{Manifest: all[0], Comments: []string{"a\nb # ##[c]"}, Left: []string{"x\ny"}}.Text()
		got, bad := parseManifest(filepath.Base(name), []byte(text))
		if len(bad) > 0 {
			t.Fatalf("%s\nof\n%s", lines(withoutKinds(bad)), text)
		}
		if diff := cmp.Diff(all[0], got, cmpopts.IgnoreTypes(Position{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("want -, got +:\n%s\nof\n%s", diff, text)
		}
	})
}

func TestScalarText(t *testing.T) {
	for text, want := range map[string]string{
		"web": "web", "shop/Web": "shop/Web", "no": `"no"`, "Null": `"Null"`, "": `""`, "-a": `"-a"`, "1a": `"1a"`, "a: b": `"a: b"`,
		"a #": `"a #"`, "é\n": `"\u00e9\n"`, "nginx*": `"nginx*"`,
	} {
		if got := scalarText(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
