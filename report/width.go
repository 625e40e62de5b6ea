package report

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Fit cuts a safe text to at most limit columns of a terminal.
func Fit(s string, limit int) string {
	if columns(s) <= limit {
		return s
	}
	if limit <= len(ellipsis) {
		return ellipsis[:max(limit, 0)]
	}
	start := s[:fitting(s, limit-len(ellipsis))]
	if columns(start)+len(ellipsis) > limit {
		start = "" // its first character alone is too wide
	}
	return start + ellipsis
}

// columns returns the width of a safe text on a terminal. Colours and combining
// marks take no column, wide characters of East Asian scripts and emoji two.
// Terminals differ in sequences of several emoji, for which the result may be
// too large.
func columns(s string) int {
	n := 0
	for len(s) > 0 {
		size, w := glyph(s)
		n += w
		s = s[size:]
	}
	return n
}

// glyph returns the length in bytes of the first character or colour of s, and
// its columns.
func glyph(s string) (size, columns int) {
	if strings.HasPrefix(s, "\x1b[") {
		if end := strings.IndexByte(s, 'm'); end > 0 {
			return end + 1, 0
		}
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r < 0x300: // the first combining mark
		return size, 1
	case r == '\ufe0f': // makes an emoji of the character before, with two columns
		return size, 1
	case unicode.In(r, unicode.Mn, unicode.Me), '\u1160' <= r && r <= '\u11ff': // the latter join a Hangul syllable
		return size, 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return size, 2
	}
	return size, 1
}

// Wrap breaks a text between words into lines of at most limit columns. A
// command in backticks counts as one word, so that it can be copied, unless it
// is longer than a line.
func Wrap(s string, limit int) []string {
	var lines []string
	line, used := "", 0
	add := func(words []string) {
		for _, word := range words {
			n := columns(word)
			if line != "" && used+1+n <= limit {
				line, used = line+" "+word, used+1+n
				continue
			}
			if line != "" {
				lines = append(lines, line)
			}
			line = escapeStart(word)
			for used = columns(line); used > limit; used = columns(line) {
				at := fitting(line, limit)
				lines = append(lines, line[:at])
				line = escapeStart(line[at:])
			}
		}
	}
	for _, word := range words(s) {
		if columns(word) > limit {
			add(strings.Fields(word))
		} else {
			add([]string{word})
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// escapeStart keeps a CI runner, which may have a terminal, from reading the
// start of a line as a command.
func escapeStart(s string) string {
	if rest, ok := strings.CutPrefix(s, "::"); ok {
		return `:\x3a` + rest
	}
	return s
}

// words splits at blanks that are not between backticks.
func words(s string) []string {
	var all []string
	start, quoted := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '`':
			quoted = !quoted
		case s[i] == ' ' && !quoted:
			if i > start {
				all = append(all, s[start:i])
			}
			start = i + 1
		}
	}
	if start < len(s) {
		all = append(all, s[start:])
	}
	return all
}

// fitting returns the length in bytes of the longest prefix of s of at most limit
// columns, but at least one character.
func fitting(s string, limit int) int {
	at, used := 0, 0
	for at < len(s) {
		size, n := glyph(s[at:])
		if used += n; used > limit && at > 0 {
			break
		}
		at += size
	}
	return at
}
