package report

import (
	"path/filepath"
	"strings"

	"github.com/org/portcheck/config"
)

// workspaceFile returns file relative to o.Root, with slashes, raw. It is empty
// for a flag, standard input, and a file outside of o.Root.
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

// location returns a position in the workspace for readers that require one.
// Code scanning refuses a report with one result that has none
// (https://github.com/github/codeql-action/issues/2459). A position outside of
// the workspace gets a file name that shows its origin and that no file of the
// workspace has: a need of the command line is at "--port". The file is raw.
func location(at config.Position, o Options) config.Position {
	file := workspaceFile(at.File, o)
	switch {
	case file != "":
	case at.File == "":
		file = "portcheck.yml" // no manifest was found: this name is tried first
	case strings.HasPrefix(at.File, "-"):
		file = at.File
	default:
		name := filepath.Clean(at.File)
		name = name[len(filepath.VolumeName(name)):]
		file = "outside-the-workspace/" + strings.TrimLeft(filepath.ToSlash(name), "./")
	}
	return config.Position{File: file, Line: max(at.Line, 1), Column: max(at.Column, 1)}
}
