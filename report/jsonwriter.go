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

func writeJSON(w io.Writer, v any) error {
	doc, err := marshalJSON(v, "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(doc)
	return err
}

// InlineJSON returns v as JSON on one line, without a line end. A log shows it as
// text.
func InlineJSON(v any) ([]byte, error) {
	doc, err := marshalJSON(v, "")
	return bytes.TrimSuffix(doc, []byte("\n")), err
}

func marshalJSON(v any, indent string) ([]byte, error) {
	doc, err := encodeJSON(v, "", indent)
	if err != nil {
		return nil, err
	}
	var e jsonEscaper
	e.add(doc)
	return e.out.Bytes(), nil
}

// writeJSONList writes an object of which a list is still empty. The elements of the
// list are encoded one at a time: there may be tens of thousands.
func writeJSONList[T any](w io.Writer, object any, name string, n int, element func(int) T) error {
	doc, err := encodeJSON(object, "", "  ")
	if err != nil {
		return err
	}
	// The quotes of a name in a string would be escaped.
	before, after, found := bytes.Cut(doc, fmt.Appendf(nil, "\n  %q: []", name))
	if !found {
		panic("no empty list " + name)
	}
	var e jsonEscaper
	e.add(before)
	e.add(fmt.Appendf(nil, "\n  %q: [", name))
	for i := range n {
		item, err := encodeJSON(element(i), "    ", "  ")
		if err != nil {
			return err
		}
		if i > 0 {
			e.add([]byte(","))
		}
		e.add([]byte("\n    "))
		e.add(bytes.TrimSuffix(item, []byte("\n")))
	}
	if n > 0 {
		e.add([]byte("\n  "))
	}
	e.add([]byte("]"))
	e.add(after)
	_, err = w.Write(e.out.Bytes())
	return err
}

func encodeJSON(v any, prefix, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, indent)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// jsonEscaper escapes what a terminal or a log would not show as text. The JSON
// keeps its meaning: characters beyond ASCII, ## and @@ occur only in strings.
// Control characters are escaped by encoding/json.
type jsonEscaper struct {
	out     bytes.Buffer
	command commandStart
}

// add adds a part of a document, which ends with a whole character.
func (e *jsonEscaper) add(part []byte) {
	for len(part) > 0 {
		r, size := utf8.DecodeRune(part)
		part = part[size:]
		switch {
		case r == '\n' || !e.command.completedBy(r) && visible(r):
			e.out.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&e.out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&e.out, `\u%04x\u%04x`, high, low)
		}
	}
}
