package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// writeFile creates or replaces a file atomically, and creates missing parent
// directories. Devices, pipes and open files of this process are written into
// instead.
func writeFile(name string, data []byte) (err error) {
	if isSpecial(name) {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	}
	if err := makeParents(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".portcheck-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one to return
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = makeReadable(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// isSpecial reports whether name is a device, a pipe or an open file of this
// process. Other symbolic links are not followed: in a directory of another user
// they may lead anywhere.
func isSpecial(name string) bool {
	if path := filepath.Clean(name); path == "/dev/stdout" || path == "/dev/stderr" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/self/fd/") {
		return true
	}
	info, err := os.Lstat(name)
	return err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) != 0
}

// makeParents creates a directory and its missing parents, each with the owner of
// the directory that it is in.
func makeParents(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeParents(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil // another process was faster
		}
		return err
	}
	return chownLikeParent(dir, func(uid, gid int) error { return os.Lchown(dir, uid, gid) })
}

// makeReadable lets other users read a new file, and lets the owner of its
// directory replace it: a container action runs as root, later steps do not.
func makeReadable(f *os.File) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return chownLikeParent(f.Name(), f.Chown)
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
