package report

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Fit cuts a safe text to what takes at most so many columns of a terminal.
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

// columns is how many columns of a terminal a safe text takes, our own colours
// taking none: two for what East Asian scripts and emoji write wide, none for
// marks that combine with what is before them. Terminals differ in sequences of
// several emoji, which then count for more than they take.
func columns(s string) int {
	n := 0
	for len(s) > 0 {
		size, w := glyph(s)
		n += w
		s = s[size:]
	}
	return n
}

// glyph is the length of a text's first character, or colour, and its columns.
func glyph(s string) (size, columns int) {
	if strings.HasPrefix(s, "\x1b[") {
		if end := strings.IndexByte(s, 'm'); end > 0 {
			return end + 1, 0
		}
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me), '\u1160' <= r && r <= '\u11ff': // the latter join a Hangul syllable
		return size, 0
	case r < 0x1100:
		return size, 1
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return size, 2
	}
	return size, 1
}

// wrap breaks a text into lines of at most limit columns, between words. A
// command in backticks is one word, lest it is copied with a line end in it,
// and is broken only if it has no place on a line of its own.
func wrap(s string, limit int) []string {
	var lines []string
	line, used := "", 0
	add := func(words []string) {
		for _, word := range words {
			n := columns(word)
			if used > 0 && used+1+n <= limit {
				line, used = line+" "+word, used+1+n
				continue
			}
			if used > 0 {
				lines = append(lines, line)
			}
			line = inertStart(word)
			for used = columns(line); used > limit; used = columns(line) {
				at := fitting(line, limit)
				lines = append(lines, line[:at])
				line = inertStart(line[at:])
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
	if used > 0 || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// inertStart keeps a runner, which may be behind a terminal, from reading what
// comes first on a line as a command.
func inertStart(s string) string {
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

// fitting is the length of the longest start of s that takes at most limit
// columns, at least one character.
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
