package config

import (
	"strings"
	"testing"
)

func TestYAMLDirective(t *testing.T) {
	for text, want := range map[string]string{
		"%YAML 1.1\n---\n":                           "",
		"%YAML 1.2\n---\n":                           "",
		"\xef\xbb\xbf%YAML 1.2\r\n---\r\n":           "",
		"# made elsewhere\n\n%YAML 1.2 # new\n---\n": "",
		"%YAML 1.21\n---\n":                          "incompatible",
		"%YAML 2.0\n---\n":                           "incompatible",
	} {
		_, found := parse("a.yml", []byte(text+oneNeed("a")), Options{})
		if got := lines(withoutKinds(found)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
