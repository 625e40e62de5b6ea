// Package within opens files and directories without being led out of a directory
// by links.
package within

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Dir is a directory that links in it must not lead out of.
type Dir struct {
	path string // without links
	info fs.FileInfo
}

// New returns the Dir of a path.
func New(path string) (Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Dir{}, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return Dir{}, err
	}
	info, err := os.Stat(path)
	return Dir{path, info}, err
}

// String returns the path of the directory, without links.
func (d Dir) String() string { return d.path }

// LeavesError is the error for a name that a link leads out of a directory.
type LeavesError struct{ Dir Dir }

func (e LeavesError) Error() string {
	return "a link leads out of " + strconv.QuoteToASCII(e.Dir.path) + ": name the file by its own path, or put it there"
}

// maxLinks limits the links of one name, as Linux does (path_resolution(7)).
const maxLinks = 40

// Rel returns the path of name relative to the directory, and whether name is in
// it. It follows links that are outside of the directory, and none that are in it.
// A .. in name is the word of a user: "link/../file" is file.
func (d Dir) Rel(name string) (string, bool) {
	name, err := absolute(name)
	if err != nil {
		return "", false
	}
	volume := filepath.VolumeName(name) + string(filepath.Separator)
	at, rest := volume, parts(name)
	for links := 0; links <= maxLinks; {
		if info, err := os.Lstat(at); err == nil && os.SameFile(info, d.info) {
			return filepath.Join(".", strings.Join(rest, string(filepath.Separator))), true
		}
		if len(rest) == 0 {
			return "", false
		}
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return "", false
		case info.Mode().Type() != fs.ModeSymlink:
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", false
		}
		if links++; filepath.IsAbs(target) {
			at = filepath.VolumeName(target) + string(filepath.Separator)
		}
		rest = append(parts(target), rest...)
	}
	return "", false
}

// absolute returns the absolute path of name. That of the working directory has no
// links.
func absolute(name string) (string, error) {
	if name == "" {
		return "", fs.ErrNotExist
	}
	if filepath.IsAbs(name) {
		return filepath.Clean(name), nil
	}
	here, err := os.Getwd()
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	return filepath.Join(here, name), err
}

// parts returns the elements of a path.
func parts(path string) []string {
	return strings.FieldsFunc(path[len(filepath.VolumeName(path)):], func(r rune) bool { return r < 0x80 && os.IsPathSeparator(uint8(r)) })
}

// OpenRoot opens a directory by the path that Rel returned.
func (d Dir) OpenRoot(rel string) (*os.Root, error) {
	return in(d, rel, (*os.Root).OpenRoot)
}

// in calls open for a path that Rel returned.
func in[T any](d Dir, rel string, open func(*os.Root, string) (T, error)) (got T, err error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return got, err
	}
	defer root.Close()
	if info, err := root.Stat("."); err != nil || !os.SameFile(info, d.info) {
		return got, errors.Join(err, LeavesError{d})
	}
	_, outside := root.Lstat("..") // an error that os.Root has no name for
	refused := func(err error) bool { return errors.Is(err, errors.Unwrap(outside)) }
	if got, err = open(root, rel); !refused(err) {
		return got, err
	}
	// os.Root refuses every absolute link, also one that stays inside.
	if real, err := filepath.EvalSymlinks(filepath.Join(d.path, rel)); err == nil {
		if real, err = filepath.Rel(d.path, real); err == nil && filepath.IsLocal(real) {
			if got, err = open(root, real); !refused(err) {
				return got, err
			}
		}
	}
	return got, LeavesError{d}
}

// WorkingDirectory returns the working directory. The error says what to do if that has
// been removed.
func WorkingDirectory() (string, error) {
	here, err := os.Getwd()
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("the working directory has been removed: change to one that exists")
	}
	return here, err
}

// Repository returns the root of the git work tree that contains a directory by its
// name, or "" if there is none. Where a link leads from one work tree into another,
// it is the first one.
func Repository(dir string) string {
	root := ""
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil && (root == "" || !contains(dir, root)) {
			root = dir
		}
		if dir == filepath.Dir(dir) {
			return root
		}
	}
}

// contains reports whether a file is in a directory when all links are followed.
func contains(dir, file string) bool {
	d, err := New(dir)
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false
	}
	_, inside := d.Rel(real)
	return inside
}

// WorkTreeLeft returns the git work tree that the working directory is in by its name
// and not in truth, because a link leads out of it. Only $PWD has that name: without
// it, nothing is known of the link.
func WorkTreeLeft() (Dir, bool) {
	here, err := os.Getwd() // $PWD if that is a name of the working directory
	if err != nil {
		return Dir{}, false
	}
	root := Repository(here)
	if root == "" || contains(root, here) {
		return Dir{}, false
	}
	d, err := New(root)
	return d, err == nil
}

// IsDescriptor reports whether name is one of this process's open files.
func IsDescriptor(name string) bool {
	switch name = filepath.ToSlash(filepath.Clean(name)); name {
	case "/dev/stdin", "/dev/stdout", "/dev/stderr":
		return true
	}
	return strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/self/fd/")
}
