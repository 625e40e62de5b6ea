package report

import (
	"path/filepath"
	"strings"

	"github.com/org/portcheck/config"
)

// workspaceFile is the file relative to o.Root, with slashes, empty for what is
// not a file below it: a flag, standard input, a file elsewhere. It is raw.
func workspaceFile(file string, o Options) string {
	if file == "" || strings.HasPrefix(file, "-") {
		return ""
	}
	if !filepath.IsAbs(file) && o.Dir != "" {
		file = filepath.Join(o.Dir, file)
	}
	if filepath.IsAbs(file) {
		rel, err := filepath.Rel(o.Root, file)
		if err != nil {
			return ""
		}
		file = rel
	}
	if !filepath.IsLocal(file) {
		return ""
	}
	return filepath.ToSlash(filepath.Clean(file))
}

// place is a position for readers that refuse a finding without one, as code
// scanning refuses the whole report for one such result
// (https://github.com/github/codeql-action/issues/2459). What is in no file of
// the workspace gets a name that leads to where it came from and is no file
// there: needs of the command line are at "--port". The file is raw.
func place(at config.Position, o Options) config.Position {
	file := workspaceFile(at.File, o)
	switch {
	case file != "":
	case at.File == "":
		file = "portcheck.yml" // no manifest was found: here one is looked for first
	case strings.HasPrefix(at.File, "-"):
		file = at.File
	default:
		file = "outside-the-workspace/" + strings.TrimLeft(filepath.ToSlash(filepath.Clean(at.File)), "./")
	}
	return config.Position{File: file, Line: max(at.Line, 1), Column: max(at.Column, 1)}
}
