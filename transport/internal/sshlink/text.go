package sshlink

import (
	"errors"
	"io"
	"strings"

	"github.com/org/portcheck/transport/internal/remote"
)

// brief returns the message of a library's error, which may quote the other
// side, as remote.Shorten does.
func brief(err error) string {
	if errors.Is(err, io.EOF) {
		return "the connection has ended"
	}
	text := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	return remote.Shorten(strings.TrimPrefix(text, "ssh: "))
}
