package within

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file that was opened by a name of the user's.
type File struct {
	*os.File
	// Left is not nil if a link may have led out of it: the git work tree of the
	// name or of the working directory, else the directory of the name. What such a file contains must not be
	// shown, since whoever made the link may not be allowed to read it.
	Left *Dir
}

// IrregularError is the error for what is not a regular file.
type IrregularError struct{ Mode fs.FileMode }

func (e IrregularError) Error() string { return "is not a regular file" }

// Open opens a file for reading; one of the kernel's own is an IrregularError. In the
// first one of the bounds that contains name, links must not lead out of it. Otherwise
// they are followed.
func Open(name string, bounds []Dir) (File, error) {
	return open(name, bounds, opening{os.Open, (*os.Root).Open})
}

// OpenRegular is like Open, but returns an IrregularError for what is not a regular
// file. It does not open such a file unless it appears in that moment, and never
// waits for its other end.
func OpenRegular(name string, bounds []Dir) (File, error) {
	return open(name, bounds, opening{
		func(name string) (*os.File, error) {
			return regular(func() (fs.FileInfo, error) { return os.Stat(name) }, func() (*os.File, error) { return os.OpenFile(name, os.O_RDONLY|noWait, 0) })
		},
		func(r *os.Root, name string) (*os.File, error) {
			return regular(func() (fs.FileInfo, error) { return r.Stat(name) }, func() (*os.File, error) { return r.OpenFile(name, os.O_RDONLY|noWait, 0) })
		},
	})
}

// OpenRoot opens a directory. In the first one of the bounds that contains name,
// links must not lead out of it. Otherwise they are followed.
func OpenRoot(name string, bounds []Dir) (*os.Root, error) {
	for _, b := range bounds {
		if rel, inside := b.Rel(name); inside {
			return b.OpenRoot(rel)
		}
	}
	return os.OpenRoot(name)
}

// Leaves reports whether a link leads to a directory out of the bounds.
func Leaves(dir string, bounds []Dir) bool {
	if len(bounds) == 0 {
		return false
	}
	root, err := OpenRoot(dir, bounds)
	if err == nil {
		_ = root.Close() // nothing was written
	}
	return errors.As(err, &LeavesError{})
}

// opening is a way to open a file, by its path and in a directory.
type opening struct {
	path   func(string) (*os.File, error)
	inRoot func(*os.Root, string) (*os.File, error)
}

// open opens a file that is not the kernel's own.
func open(name string, bounds []Dir, how opening) (File, error) {
	f, err := openAny(name, bounds, how)
	if err == nil && isPseudo(f.File) {
		return File{}, errors.Join(IrregularError{fs.ModeIrregular}, f.Close())
	}
	return f, err
}

func openAny(name string, bounds []Dir, how opening) (File, error) {
	for _, b := range bounds {
		if rel, inside := b.Rel(name); inside {
			f, err := in(b, rel, how.inRoot)
			return File{File: f}, err
		}
	}
	if left, ok := WorkTreeLeft(); ok && name != "" && !filepath.IsAbs(name) {
		f, err := how.path(filepath.Clean(name))
		return File{f, &left}, err
	}
	own, rel, found := ownDir(name)
	if !found {
		f, err := how.path(name)
		return File{File: f}, err
	}
	f, err := in(own, rel, how.inRoot)
	if !errors.As(err, &LeavesError{}) && !errors.Is(err, fs.ErrPermission) { // os.Root has to list directories, others need not
		return File{File: f}, err
	}
	name = filepath.Join(own.path, rel) // link/../file is file here, too
	f, err = how.path(name)
	return File{f, &own}, err
}

// Own returns the git work tree of a file that a user has named, else its directory,
// and reports whether it is known.
func Own(name string) (Dir, bool) {
	d, _, ok := ownDir(name)
	return d, ok
}

// ownDir returns the git work tree of a name, else the directory of the name. An
// open file of this process has none.
func ownDir(name string) (Dir, string, bool) {
	abs, err := absolute(name)
	if err != nil || IsDescriptor(name) {
		return Dir{}, "", false
	}
	dir := filepath.Dir(abs)
	if repository := Repository(dir); repository != "" {
		dir = repository
	}
	d, err := New(dir)
	if err != nil {
		return Dir{}, "", false
	}
	rel, err := filepath.Rel(dir, abs)
	return d, rel, err == nil
}

// regular opens what stat describes, if it is a regular file.
func regular(stat func() (fs.FileInfo, error), open func() (*os.File, error)) (*os.File, error) {
	info, err := stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, IrregularError{info.Mode()}
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = IrregularError{info.Mode()}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
