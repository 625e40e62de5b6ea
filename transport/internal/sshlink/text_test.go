package sshlink

import (
	"errors"
	"fmt"
	"io"
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
