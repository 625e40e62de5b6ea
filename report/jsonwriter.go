package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
)

// listOf is a copy of s that is never nil.
func listOf[T any](s []T) []T { return append([]T{}, s...) }

func writeJSON(w io.Writer, v any) error {
	doc, err := marshalJSON(v, "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(doc)
	return err
}

// inlineJSON is v on one line, without an end of line.
func inlineJSON(v any) ([]byte, error) {
	doc, err := marshalJSON(v, "")
	return bytes.TrimSuffix(doc, []byte("\n")), err
}

func marshalJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return inertJSON(b.Bytes()), nil
}

// inertJSON spells out what a terminal or a log would not show as text, with
// the same meaning to every JSON parser. What is not ASCII, and ##[, occurs in
// strings alone; control characters are spelled out already.
func inertJSON(doc []byte) []byte {
	doc = bytes.ReplaceAll(doc, []byte("##["), []byte(`#\u0023[`))
	var b bytes.Buffer
	for _, r := range string(doc) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.Bytes()
}
