package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// stdinName is how the command line and messages name standard input.
const stdinName = "-"

// readFile reads a regular file up to the limit.
func readFile(name string) ([]byte, []problem) {
	at := Position{File: name}
	info, err := os.Stat(name)
	if err != nil {
		return nil, []problem{fileProblem(at, err)}
	}
	if info.IsDir() {
		return nil, []problem{newProblem(at, isFolder)}
	}
	if what := special(info.Mode()); what != "" {
		return nil, []problem{newProblem(at, notAFile, what)}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, []problem{fileProblem(at, err)}
	}
	defer f.Close()
	return readAll(name, f)
}

func readAll(name string, r io.Reader) ([]byte, []problem) {
	var data bytes.Buffer
	_, err := io.Copy(&data, io.LimitReader(r, maxBytes+1))
	switch at := (Position{File: name}); {
	case err != nil:
		return nil, []problem{fileProblem(at, err)}
	case data.Len() > maxBytes:
		return nil, []problem{newProblem(at, tooBig)}
	}
	return data.Bytes(), nil
}

// special names what a file is that is not regular. Such a file may never end,
// or never begin.
func special(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return ""
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// fileProblem is an error of the file system without the path, which is the
// problem's position.
func fileProblem(at Position, err error) problem {
	if errors.Is(err, fs.ErrNotExist) {
		return newProblem(at, noFile)
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return newProblem(at, unreadable, err)
}
