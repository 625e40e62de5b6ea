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
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(inertJSON(b.Bytes()))
	return err
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
