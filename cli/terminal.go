package cli

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/org/portcheck/ci"
)

// color reports whether to write colours to w.
func (a *app) color(w io.Writer, off bool) bool {
	f, ok := fileOf(w)
	return ok && !off && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb" && isTerminal(f)
}

// width returns the number of columns of w if it is an interactive terminal, else
// 0. CI systems may give a job a terminal but keep its text as a log. Editors with
// a dumb terminal parse lines in the format of compilers.
func (a *app) width(w io.Writer) int {
	f, ok := fileOf(w)
	if !ok || a.env["TERM"] == "dumb" || a.job.System != "" || ci.GitHub(a.env) || !isTerminal(f) {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 {
		return 80 // a serial line has no known size
	}
	return columns
}

// fileOf returns the file that w writes to, and whether it is one.
func fileOf(w io.Writer) (*os.File, bool) {
	if c, ok := w.(*cancellableWriter); ok {
		w = c.writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
