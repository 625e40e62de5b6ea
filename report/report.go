// Package report writes the documents that commands print. Each document has a
// Table of formats; a format is one file and one line in that table. Formats do
// not depend on flags, exit codes or other formats.
package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
)

// Options are a format's input beside the document.
type Options struct {
	Color bool   // the writer is a terminal that shows ANSI colours
	Width int    // columns of the terminal; 0: the writer is not a terminal
	Root  string // absolute; annotations, JUnit, SARIF and code quality name files relative to it
	// Targets is set if events are of several targets.
	Targets bool
	Failing Failing
	Dir     string // absolute; relative file names in the document are relative to it (default: Root)
}

// Writer writes a document in one format to w.
type Writer[D any] func(w io.Writer, document D, o Options) error

// Table holds the formats of a document by name.
type Table[D any] map[string]Writer[D]

// Format writes a report.
type Format = Writer[check.Report]

// Formats are the formats of the report that check and lint print.
var Formats = Table[check.Report]{
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

// ListFormats are the formats of the listing that list prints.
var ListFormats = Table[check.Listing]{
	"text": listText,
	"json": listJSON,
}

// Names returns the names of the formats of a report, sorted.
func Names() []string { return Formats.Names() }

// Lookup returns a format of a report. The error for an unknown one lists the
// formats.
func Lookup(name string) (Format, error) { return Formats.Lookup(name) }

// Names returns the names of the formats, sorted.
func (t Table[D]) Names() []string { return slices.Sorted(maps.Keys(t)) }

// Lookup returns a format. The error for an unknown one lists the formats.
func (t Table[D]) Lookup(name string) (Writer[D], error) {
	if f, ok := t[name]; ok {
		return f, nil
	}
	return nil, fmt.Errorf("unknown format %q: want one of %s", name, strings.Join(t.Names(), ", "))
}
