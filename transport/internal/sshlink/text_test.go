package sshlink

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestBrief(t *testing.T) {
	for want, err := range map[string]error{
		"the connection has ended": fmt.Errorf("ssh: %w", io.EOF),
		"no key":                   errors.New("ssh: handshake failed: ssh: no key"),
		"bad packet":               errors.New("ssh: bad packet"),
		"refused":                  errors.New("refused"),
	} {
		if got := brief(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

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
		if got := shorten(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
