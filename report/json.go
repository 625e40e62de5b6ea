package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"

	"github.com/org/portcheck/check"
)

const jsonVersion = 1

func jsonReport(w io.Writer, r check.Report, _ Options) error {
	r.Version = jsonVersion
	r.Problems = listOf(r.Problems)
	r.Targets = targetsJSON(r.Targets)
	results := listOf(r.Results)
	for i, x := range results {
		results[i] = resultJSON(x, r.Lint)
	}
	r.Results = results
	return writeJSON(w, r)
}

// resultJSON is r with lists instead of nil. Endpoints are of a check alone.
func resultJSON(r check.Result, lint bool) check.Result {
	r.Address = listOf(r.Address)
	r.Holders = listOf(r.Holders)
	r.Alternatives = listOf(r.Alternatives)
	r.Notices = listOf(r.Notices)
	r.Endpoints = listOf(r.Endpoints)
	if lint {
		r.Endpoints = nil
	}
	return r
}

func targetsJSON(targets []check.TargetReport) []check.TargetReport {
	targets = listOf(targets)
	for i := range targets {
		targets[i].Notices = listOf(targets[i].Notices)
	}
	return targets
}

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
