package remote

import (
	"strings"
	"testing"
)

func TestShorten(t *testing.T) {
	long := strings.Repeat("x", 200)
	for text, want := range map[string]string{
		"":                          "",
		" a\tb\nc ":                 "a b c",
		long:                        long,
		long + "y":                  long + "...",
		long[1:] + "é":              long[1:] + "...",
		long[2:] + "éy":             long[2:] + "é...",
		strings.Repeat("\x80", 201): "...",
	} {
		if got := Shorten(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
