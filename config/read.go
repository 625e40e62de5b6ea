package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/org/portcheck/internal/within"
)

// stdinName stands for standard input on the command line and in messages.
const stdinName = "-"

// readFile returns the content of a regular file of at most maxBytes, or more and a
// problem. If a link led out of the directory of the name, it returns that directory
// as well.
func (o Options) readFile(name string, bounds []within.Dir) ([]byte, *within.Dir, []problem) {
	f, err := within.OpenRegular(name, bounds)
	if err != nil {
		return nil, nil, []problem{fileProblem(Position{File: name}, err)}
	}
	defer f.Close()
	if o.Opened != nil {
		if info, err := f.Stat(); err == nil {
			o.Opened(name, info)
		}
	}
	data, found := readAll(name, f)
	return data, f.Left, found
}

// readAll returns what r holds if it is at most maxBytes. Otherwise it returns one
// byte more, and a problem.
func readAll(name string, r io.Reader) ([]byte, []problem) {
	var data bytes.Buffer
	_, err := io.Copy(&data, io.LimitReader(r, maxBytes+1))
	switch at := (Position{File: name}); {
	case err != nil:
		return nil, []problem{fileProblem(at, err)}
	case data.Len() > maxBytes:
		return data.Bytes(), []problem{newProblem(at, tooBig)}
	}
	return data.Bytes(), nil
}

// irregular returns what kind of file mode stands for. Reading another kind than a
// regular one may block or never end.
func irregular(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "an irregular file"
}

// fileProblem returns the problem for an error of the file system. Its message
// leaves out the path, which is in the position.
func fileProblem(at Position, err error) problem {
	var leaves within.LeavesError
	var odd within.IrregularError
	path := (*fs.PathError)(nil)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(at.File) {
		if _, removed := within.WorkingDirectory(); removed != nil {
			err = removed
		}
	}
	switch {
	case errors.As(err, &leaves):
		return newProblem(at, leavesBounds, quotePath(leaves.Dir.String()))
	case errors.As(err, &odd) && odd.Mode.IsDir():
		return newProblem(at, isDirectory)
	case errors.As(err, &odd):
		return newProblem(at, notRegular, irregular(odd.Mode))
	case errors.Is(err, fs.ErrNotExist):
		return newProblem(at, noFile)
	case errors.As(err, &path):
		err = path.Err
	}
	return newProblem(at, unreadable, err)
}
