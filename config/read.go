package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// stdinName stands for standard input on the command line and in messages.
const stdinName = "-"

// readFile returns the content of a regular file of at most maxBytes.
func readFile(name string) ([]byte, []problem) {
	at := Position{File: name}
	info, err := os.Stat(name)
	if err != nil {
		return nil, []problem{fileProblem(at, err)}
	}
	if info.IsDir() {
		return nil, []problem{newProblem(at, isDirectory)}
	}
	if what := irregular(info.Mode()); what != "" {
		return nil, []problem{newProblem(at, notRegular, what)}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, []problem{fileProblem(at, err)}
	}
	defer f.Close()
	return readAll(name, f)
}

// readAll returns what r holds, at most maxBytes.
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

// irregular returns what kind of file mode stands for, or "" for a regular one.
// Reading another kind may block or never end.
func irregular(mode fs.FileMode) string {
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
	return "an irregular file"
}

// fileProblem returns the problem for an error of the file system. Its message
// leaves out the path, which is in the position.
func fileProblem(at Position, err error) problem {
	if errors.Is(err, fs.ErrNotExist) {
		return newProblem(at, noFile)
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return newProblem(at, unreadable, err)
}
