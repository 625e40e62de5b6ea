package sshlink

import (
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

const briefLimit = 200 // bytes of what a library or the other side says

// brief is what a library says of a failure, which may quote the other side: one
// line, cut to 200 bytes.
func brief(err error) string {
	if errors.Is(err, io.EOF) {
		return "the connection has ended"
	}
	text := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	return cut(strings.TrimPrefix(text, "ssh: "))
}

func cut(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= briefLimit {
		return text
	}
	end := briefLimit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}
