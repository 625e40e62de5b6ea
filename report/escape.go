package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/org/portcheck/check"
)

const (
	ellipsis     = "..."
	nameLimit    = 200  // characters of a name from outside
	messageLimit = 1500 // characters of a message, which may quote several names or a host key (RSA, 4096 bits: 750)
	unlimited    = 0
)

// Safe returns text from outside on one line that no terminal and no CI log
// reads as a command: characters that are not visible are escaped as in Go
// strings (\n, \x1b, \u202e), the starts of log commands are broken up, backticks
// become apostrophes, and the text is cut to 200 characters. Safe does not change
// any other text.
func Safe(s string) string { return noCode(escape(s, nameLimit)) }

// sentence is Safe for a message, which may quote several names.
func sentence(s string) string { return noCode(escape(s, messageLimit)) }

// whole is Safe for text that is not cut.
func whole(s string) string { return noCode(escape(s, unlimited)) }

// noCode replaces backticks, which are for the commands of hints alone. Others would make
// a name look like a command, here or where the text is pasted.
func noCode(s string) string { return strings.ReplaceAll(s, "`", "'") }

// hintText is sentence for a hint, with its commands in backticks. The names in it are
// Safe already.
func hintText(h check.Hint) string { return escape(h.Text, messageLimit) }

// hintMarkup returns a hint for a language of markup: each part is escaped, and commands
// are in the element code with these attributes. A text that was cut within a command has
// none.
func hintMarkup(h check.Hint, attributes string, escape func(string) string) string {
	text := hintText(h)
	parts := strings.Split(text, "`")
	if len(parts)%2 == 0 {
		return escape(noCode(text))
	}
	for i, part := range parts {
		if parts[i] = escape(part); i%2 == 1 {
			parts[i] = "<code" + attributes + ">" + parts[i] + "</code>"
		}
	}
	return strings.Join(parts, "")
}

func escape(s string, limit int) string {
	var b strings.Builder
	var command commandStart
	count, cut := 0, 0 // characters written; the length to cut to if they exceed the limit
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		token := escapeRune(r, s[:size])
		if command.completedBy(r) {
			token = fmt.Sprintf(`\x%02x`, r)
		}
		s = s[size:]
		b.WriteString(token)
		if limit == unlimited {
			continue
		}
		count += utf8.RuneCountInString(token)
		if count <= limit-len(ellipsis) {
			cut = b.Len()
		}
		if count > limit {
			return b.String()[:cut] + ellipsis
		}
	}
	return b.String()
}

// visible reports whether a reader sees that r is there. Some letters of width 0,
// such as the filler U+3164, are printable by their category.
func visible(r rune) bool {
	if r < utf8.RuneSelf {
		return ' ' <= r && r <= '~'
	}
	return unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

func escapeRune(r rune, raw string) string {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		return fmt.Sprintf(`\x%02x`, raw[0])
	case visible(r):
		return raw
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	default:
		return fmt.Sprintf(`\U%08x`, r)
	}
}
