// Package report tells a check.Report: one file a format, one line a format in
// Formats. A format knows nothing of flags, exit codes or other formats.
package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
)

// Format writes r to w.
type Format func(w io.Writer, r check.Report, o Options) error

// Options are what a format may know beside the report.
type Options struct {
	Color bool   // w is a terminal that shows ANSI colours
	Width int    // columns of the terminal that w is; 0: it is none
	Root  string // absolute; annotations, JUnit, SARIF and code quality name files relative to it
	Dir   string // absolute; what relative file names of the report are relative to (default: Root)
}

// Formats are the ways to tell a report, by name.
var Formats = map[string]Format{
	"text":        text,
	"json":        jsonReport,
	"markdown":    markdown,
	"github":      github,
	"junit":       junit,
	"sarif":       sarif,
	"codequality": codeQuality,
	"tap":         tap,
	"prometheus":  prometheus,
	"html":        htmlPage,
}

// Names lists the formats, sorted.
func Names() []string { return sortedKeys(Formats) }

// Lookup finds a format; the error for an unknown one lists those that exist.
func Lookup(name string) (Format, error) { return lookup(Formats, name) }

func lookup[F any](formats map[string]F, name string) (F, error) {
	f, ok := formats[name]
	if !ok {
		return f, fmt.Errorf("unknown format '%s': want one of %s", Safe(name), strings.Join(sortedKeys(formats), ", "))
	}
	return f, nil
}

func sortedKeys[F any](formats map[string]F) []string {
	return slices.Sorted(maps.Keys(formats))
}
