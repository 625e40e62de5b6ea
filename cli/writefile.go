package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/org/portcheck/internal/within"
)

// special are the kinds of files that are written into instead of being replaced.
const special = fs.ModeDevice | fs.ModeNamedPipe

// writeFile creates or replaces a file atomically, and creates missing parent
// directories. In the first one of the bounds that contains the file, linked
// directories must not lead out of it. Every step works on an open directory: this
// process may be root, and the owner of the directory may replace it at any time.
// Devices, pipes and open files of this process are written into instead, until ctx
// ends.
func writeFile(ctx context.Context, name string, data page, bounds []within.Dir) error {
	if within.IsDescriptor(name) {
		return writeInto(ctx, data, func() (*os.File, error) { return os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0) })
	}
	dir, err := makeDirectory(filepath.Dir(name), bounds)
	if err != nil {
		return err
	}
	defer dir.Close()
	name = filepath.Base(name)
	// A link to a file is replaced: in a directory of another user it may lead anywhere.
	if info, err := dir.Lstat(name); err == nil && info.Mode()&special != 0 {
		return writeInto(ctx, data, func() (*os.File, error) { return openSpecial(dir, name) })
	}
	temporary, err := createIn(dir, ".portcheck-", "", data, readable)
	if err != nil {
		return err
	}
	if err := dir.Rename(temporary, name); err != nil {
		_ = dir.Remove(temporary) // the first error is the one to return
		return err
	}
	return nil
}

// writeInto writes data to the file that open opens, unless ctx ends first: both wait
// while nobody reads a pipe.
func writeInto(ctx context.Context, data page, open func() (*os.File, error)) error {
	err, cancelled := untilCancelled(ctx, func() error {
		f, err := open()
		if err != nil {
			return err
		}
		return errors.Join(data.writeTo(f), f.Close())
	})
	return cmp.Or(cancelled, err)
}

// openSpecial opens a device or pipe for writing.
func openSpecial(dir *os.Root, name string) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Mode()&special == 0 {
		return nil, errors.Join(errors.New("it was replaced while it was opened"), err, f.Close())
	}
	return f, nil
}

// readable is the mode of files that other users can read: a container action runs as
// root, later steps do not.
const readable fs.FileMode = 0o644

// createIn creates a file with a new name in a directory, and returns the name. The
// owner of the directory can replace it.
func createIn(dir *os.Root, prefix, suffix string, data page, mode fs.FileMode) (string, error) {
	name, f, err := newIn(dir, prefix, suffix)
	if err != nil {
		return "", err
	}
	if err = data.writeTo(f); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = chownLike(dir, f.Chown)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = dir.Remove(name) // the first error is the one to return
		return "", err
	}
	return name, nil
}

// newIn creates a file with a new name in a directory, for this user alone.
func newIn(dir *os.Root, prefix, suffix string) (string, *os.File, error) {
	name := prefix + rand.Text() + suffix
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return name, f, err
}

// makeDirectory opens a directory. It creates it and its missing parents, each with
// the owner of the directory that it is in.
func makeDirectory(name string, bounds []within.Dir) (*os.Root, error) {
	for _, b := range bounds {
		if rel, inside := b.Rel(name); inside {
			return makeBelow(b.OpenRoot, rel)
		}
	}
	return makeBelow(os.OpenRoot, name)
}

// makeBelow is makeDirectory for names that open opens.
func makeBelow(open func(string) (*os.Root, error), name string) (*os.Root, error) {
	dir, err := open(name)
	if parent := filepath.Dir(name); !errors.Is(err, fs.ErrNotExist) || parent == name {
		return dir, err
	}
	parent, err := makeBelow(open, filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	name = filepath.Base(name)
	made := parent.Mkdir(name, 0o755)
	if made != nil && !errors.Is(made, fs.ErrExist) { // another process may be faster
		return nil, made
	}
	if dir, err = parent.OpenRoot(name); err != nil || made != nil {
		return dir, err
	}
	if err := giveAway(dir, parent); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// giveAway gives a directory that this process has made the owner of its parent, who
// may have put another directory in its place. So it has to be empty.
func giveAway(dir, parent *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if names, err := f.Readdirnames(1); len(names) > 0 || !errors.Is(err, io.EOF) {
		return nil
	}
	return chownLike(parent, f.Chown)
}

// withoutPath strips the path from an error about a file, since it may be the
// name of a temporary file.
func withoutPath(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
