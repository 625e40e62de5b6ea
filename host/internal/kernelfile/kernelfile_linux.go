// Package kernelfile reads files that the kernel makes, as those of /proc.
package kernelfile

import (
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// Read reads a file. A search reads dozens of them. os.ReadFile makes six more system
// calls for each, to find out that it can't wait for one.
func Read(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	text := make([]byte, 0, 1024)
	for {
		n, err := readOnce(fd, text[len(text):cap(text)])
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return text, nil
		}
		if text = text[:len(text)+n]; len(text) == cap(text) {
			text = slices.Grow(text, len(text))
		}
	}
}

// ReadAtOnce reads a file by one read of at most size bytes.
func ReadAtOnce(path string, size int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	text := make([]byte, size)
	n, err := readOnce(fd, text)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return text[:n], nil
}

// readOnce is one read, which no signal interrupts.
func readOnce(fd int, buffer []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, buffer); err != unix.EINTR {
			return n, err
		}
	}
}
