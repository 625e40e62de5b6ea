package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/org/portcheck/internal/within"
)

// lockTimeout is how long a writer of a file waits for others.
const lockTimeout = 10 * time.Second

// replacement is a regular file that gets another text. Other runs of portcheck that
// want to replace it wait until it is closed.
type replacement struct {
	dir               *os.Root
	name              string
	old               *os.File // locked
	temporary, backup string   // names in dir, or ""
}

// openReplacement locks a file. In the first one of the bounds that contains it, linked
// directories must not lead out of it.
func openReplacement(ctx context.Context, file string, bounds []within.Dir) (*replacement, error) {
	dir, err := within.OpenRoot(filepath.Dir(file), bounds)
	if err != nil {
		return nil, err
	}
	r := &replacement{dir: dir, name: filepath.Base(file)}
	busy := fmt.Errorf("another process has had it locked for %s", lockTimeout)
	ctx, stop := context.WithTimeoutCause(ctx, lockTimeout, busy)
	defer stop()
	type locked struct {
		file *os.File
		err  error
	}
	l, err := untilCancelled(ctx, func() (l locked) {
		l.file, l.err = lockIn(dir, r.name)
		return l
	})
	if err = errors.Join(err, l.err); err != nil {
		_ = dir.Close() // nothing was written
		return nil, err
	}
	r.old = l.file
	return r, nil
}

// lockIn opens and locks the regular file that has a name. Whoever had the lock before
// may have given the name to another file.
func lockIn(dir *os.Root, name string) (*os.File, error) {
	for {
		info, err := dir.Lstat(name)
		switch {
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, errors.New("it is no regular file any more")
		}
		f, err := dir.OpenFile(name, os.O_RDWR, 0) // NFS locks only what is open for writing
		if err != nil {
			f, err = dir.Open(name)
		}
		if err != nil {
			return nil, err
		}
		if err = lockFile(f); err == nil {
			var opened fs.FileInfo
			if opened, err = f.Stat(); err == nil && os.SameFile(info, opened) {
				if info, err = dir.Lstat(name); err == nil && os.SameFile(info, opened) {
					return f, nil
				}
			}
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
}

// stage writes the text after into a file beside the one that it will replace. If before
// is not nil, it writes that text as well, for undo.
func (r *replacement) stage(after, before []byte) (err error) {
	if r.temporary, err = r.create(after); err == nil && before != nil {
		r.backup, err = r.create(before)
	}
	return err
}

// create writes a text into a new file with the same owner, group, mode and extended
// attributes as the old one, and returns its name.
func (r *replacement) create(text []byte) (string, error) {
	info, err := r.old.Stat()
	if err != nil {
		return "", err
	}
	name, f, err := newIn(r.dir, ".portcheck-", "")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = keepAttributes(r.old, info, f)
	}
	if err == nil {
		err = f.Sync() // the old text is gone after the rename
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = r.dir.Remove(name) // the first error is the one to return
		return "", err
	}
	return name, nil
}

// commit puts the new text in the place of the old one.
func (r *replacement) commit() error { return r.rename(&r.temporary) }

// undo brings the old text back after commit.
func (r *replacement) undo() error { return r.rename(&r.backup) }

// rename gives a staged file the name of the old one.
func (r *replacement) rename(staged *string) error {
	err := r.dir.Rename(*staged, r.name)
	if err != nil && closeToReplace {
		_ = r.old.Close() // it was only read
		err = r.dir.Rename(*staged, r.name)
	}
	if err == nil {
		*staged = ""
	}
	return err
}

// close removes what is left over, and gives up the lock.
func (r *replacement) close() {
	for _, name := range []string{r.temporary, r.backup} {
		if name != "" {
			_ = r.dir.Remove(name) // the manifests are what counts
		}
	}
	_ = r.old.Close()
	_ = r.dir.Close()
}
