// Package report tells a check.Report: one file a format, one line a format in
// Formats. A format knows nothing of flags, exit codes or other formats.
package report

import (
	"io"

	"github.com/org/portcheck/check"
)

// Format writes r to w.
type Format func(w io.Writer, r check.Report, o Options) error

// Options are what a format may know beside the report.
type Options struct {
	Color bool   // w is a terminal that shows ANSI colours
	Root  string // absolute; annotations name files relative to it
}
