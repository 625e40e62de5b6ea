package sshlink

import (
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

const shortLimit = 200 // bytes of text from a library or the other side in a message

// brief returns the message of a library's error, which may quote the other
// side, as shorten does.
func brief(err error) string {
	if errors.Is(err, io.EOF) {
		return "the connection has ended"
	}
	text := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	return shorten(strings.TrimPrefix(text, "ssh: "))
}

// shorten returns text as one line of at most 200 bytes, plus "..." if it was
// longer.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= shortLimit {
		return text
	}
	end := shortLimit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}
