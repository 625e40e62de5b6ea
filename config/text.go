package config

import (
	"bytes"
	"unicode/utf8"
)

// checkText returns data without its byte order mark, or a problem for the first
// character that a manifest must not contain. That includes NEL, LS and PS: YAML
// 1.1 takes them for line breaks and editors do not, so that all positions after
// them would be wrong.
func checkText(file string, data []byte) ([]byte, []problem) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, []problem{newProblem(Position{file, 1, 1}, utf16Text)}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return nil, []problem{newProblem(position(file, data, i), notUTF8, data[i])}
		case !allowed(r):
			return nil, []problem{newProblem(position(file, data, i), badChar, r)}
		}
		i += size
	}
	return data, nil
}

// allowed reports whether a manifest may contain r.
func allowed(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return true
	case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
		return false
	}
	return true
}

// position returns the position of the character at byte offset i, which is less
// than the length of data or 0.
func position(file string, data []byte, i int) Position {
	line, start := 1, 0
	for j, c := range data[:i] {
		if c == '\n' || c == '\r' && data[j+1] != '\n' {
			line, start = line+1, j+1
		}
	}
	return Position{file, line, utf8.RuneCount(data[start:i]) + 1}
}
