package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// listOf returns a copy of s that is never nil.
func listOf[T any](s []T) []T { return append([]T{}, s...) }

// orEmpty returns s, or an empty list instead of nil.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// writeJSON writes v as JSON, a line for each value.
func writeJSON(w io.Writer, v any) error {
	l := jsonLayout{text: jsonEscaper{w: w}}
	if err := encodeJSON(&l, v); err != nil {
		return err
	}
	return l.end()
}

// InlineJSON returns v as JSON on one line, without a line end. A log shows it as
// text.
func InlineJSON(v any) ([]byte, error) {
	var doc, line bytes.Buffer
	if err := encodeJSON(&doc, v); err != nil {
		return nil, err
	}
	e := jsonEscaper{w: &line}
	e.add(bytes.TrimSuffix(doc.Bytes(), []byte("\n")))
	err := e.flush()
	return line.Bytes(), err
}

// writeJSONList writes an object of which a list is still empty. The elements of the
// list are encoded one at a time: there may be tens of thousands.
func writeJSONList[T any](w io.Writer, object any, name string, n int, element func(int) T) error {
	var doc bytes.Buffer
	if err := encodeJSON(&doc, object); err != nil {
		return err
	}
	// The quotes of a name in a string would be escaped.
	before, after, found := bytes.Cut(doc.Bytes(), fmt.Appendf(nil, "%q:[]", name))
	if !found {
		panic("no empty list " + name)
	}
	l := jsonLayout{text: jsonEscaper{w: w}}
	l.add(before)
	l.add(fmt.Appendf(nil, "%q:[", name))
	for i := range n {
		if i > 0 {
			l.add([]byte(","))
		}
		if err := encodeJSON(&l, element(i)); err != nil {
			return err
		}
	}
	l.add([]byte("]"))
	l.add(after)
	return l.end()
}

// encodeJSON writes v as JSON on one line, with a line end.
func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// jsonLayout breaks JSON of one line into lines and escapes it.
type jsonLayout struct {
	text  jsonEscaper
	depth int
	fresh bool // nothing is in the innermost list or object yet
}

// Write adds a part of a document, which ends with a whole token.
func (l *jsonLayout) Write(part []byte) (int, error) {
	l.add(part)
	return len(part), l.text.err
}

func (l *jsonLayout) add(part []byte) {
	for len(part) > 0 {
		n := tokenLen(part)
		l.addToken(part[:n])
		part = part[n:]
	}
}

func (l *jsonLayout) addToken(token []byte) {
	c := token[0]
	switch c {
	case '\n': // the end of what an encoder writes
		return
	case '}', ']':
		if l.depth--; !l.fresh {
			l.newLine()
		}
		l.fresh = false
	default:
		if l.fresh {
			l.newLine()
		}
		l.fresh = c == '{' || c == '['
	}
	l.text.add(token)
	switch c {
	case '{', '[':
		l.depth++
	case ',':
		l.newLine()
	case ':':
		l.text.add([]byte(" "))
	}
}

func (l *jsonLayout) newLine() {
	l.text.add([]byte("\n"))
	for range l.depth {
		l.text.add([]byte("  "))
	}
}

// end ends the document with a line end, and returns the first error of its writer.
func (l *jsonLayout) end() error {
	l.text.add([]byte("\n"))
	return l.text.flush()
}

// tokenLen returns the length of the first token of JSON on one line.
func tokenLen(text []byte) int {
	switch text[0] {
	case '{', '}', '[', ']', ',', ':', '\n':
		return 1
	case '"':
		for i := 1; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	}
	if n := bytes.IndexAny(text, ",]}\n"); n > 0 {
		return n
	}
	return len(text)
}

// pieceOf is the size of the pieces in which large documents are written: a buffer for
// all of one would be another copy, and twice as large while it grows.
const pieceOf = 1 << 20

// jsonEscaper escapes what a terminal or a log would not show as text. The JSON
// keeps its meaning: characters beyond ASCII, ## and @@ occur only in strings.
// Control characters are escaped by encoding/json.
type jsonEscaper struct {
	w       io.Writer
	err     error // the first of w
	piece   bytes.Buffer
	command commandStart
}

// add adds a part of a document, which ends with a whole character.
func (e *jsonEscaper) add(part []byte) {
	for len(part) > 0 {
		r, size := utf8.DecodeRune(part)
		part = part[size:]
		switch {
		case r == '\n' || !e.command.completedBy(r) && visible(r):
			e.piece.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&e.piece, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&e.piece, `\u%04x\u%04x`, high, low)
		}
		if e.piece.Len() >= pieceOf {
			_ = e.flush() // the last one returns the error
		}
	}
}

// flush writes what is not written yet, and returns the first error of all writes.
func (e *jsonEscaper) flush() error {
	if e.err == nil {
		_, e.err = e.w.Write(e.piece.Bytes())
	}
	e.piece.Reset()
	return e.err
}
