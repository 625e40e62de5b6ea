package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/report"
)

// input is a file that this run has read or will read.
type input struct {
	name string
	info fs.FileInfo
}

// output is a file that this run will write.
type output struct{ spec, path string }

// addInputs adds files that this run reads by their names; - is stdin. What can't be
// found is reported where it is read.
func (a *app) addInputs(names ...string) {
	for _, name := range names {
		info, err := fs.FileInfo(nil), error(fs.ErrNotExist)
		if name != "-" {
			info, err = os.Stat(name)
		} else if in, ok := a.stdin.(cancellableReader); ok {
			if f, ok := in.reader.(*os.File); ok {
				info, err = f.Stat()
			}
		}
		if err == nil {
			a.inputs = append(a.inputs, input{name, info})
		}
	}
}

// refuseOverwrite returns an error if an output would replace a file that this run
// reads, or another output. Files are compared by what they are, since links give one
// file several names.
func (a *app) refuseOverwrite() error {
	a.addInputs(a.env["GITHUB_EVENT_PATH"])
	var failures []error
	for i, o := range a.outputs {
		if isStream(o.path) {
			continue
		}
		if in, ok := a.readsFrom(o.path); ok {
			failures = append(failures, usageError(fmt.Errorf("-o %q: this run reads that file as %s, and would replace it: name another file", o.spec, inputName(in.name)), ""))
			continue
		}
		for _, before := range a.outputs[:i] {
			if isStream(before.path) || !sameFile(o.path, before.path) {
				continue
			}
			failures = append(failures, usageError(fmt.Errorf("-o %q: this is the file of -o %q, which would be lost: name another file", o.spec, before.spec), ""))
			break
		}
	}
	return joinFailures(failures...)
}

// inputName returns the name of an input for a message.
func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return report.Safe(name)
}

// readsFrom returns the input that an output would replace.
func (a *app) readsFrom(path string) (input, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return input{}, false
	}
	for _, in := range a.inputs {
		if os.SameFile(info, in.info) {
			return in, true
		}
	}
	return input{}, false
}

// isStream reports whether writes to a file are appended to what others write there.
func isStream(path string) bool {
	info, err := os.Stat(path)
	return within.IsDescriptor(path) || err == nil && info.Mode()&special != 0
}

// sameFile reports whether two outputs are one file, which need not be there yet.
func sameFile(a, b string) bool {
	if infoA, err := os.Stat(a); err == nil {
		infoB, err := os.Stat(b)
		return err == nil && os.SameFile(infoA, infoB)
	}
	return realPath(a) == realPath(b)
}

// realPath returns the path of a file without links, as far as it is there.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	real, err := filepath.EvalSymlinks(path)
	if parent := filepath.Dir(path); err != nil && parent != path {
		return filepath.Join(realPath(parent), filepath.Base(path))
	}
	return real
}
