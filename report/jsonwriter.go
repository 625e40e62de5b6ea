package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
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
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return escapeJSON(b.Bytes()), nil
}

// escapeJSON escapes what a terminal or a log would not show as text. The JSON
// keeps its meaning: characters beyond ASCII, ## and @@ occur only in strings.
// Control characters are escaped by encoding/json.
func escapeJSON(doc []byte) []byte {
	var b bytes.Buffer
	var command commandStart
	for _, r := range string(doc) {
		switch {
		case r == '\n' || !command.completedBy(r) && visible(r):
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
