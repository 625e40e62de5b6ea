package host

import (
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// readKernelFile reads a file that the kernel makes, as those of /proc. A search reads
// dozens of them. os.ReadFile makes six more system calls for each, to find out that
// it can't wait for one.
func readKernelFile(path string) ([]byte, error) {
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

// readOnce is one read, which no signal interrupts.
func readOnce(fd int, buffer []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, buffer); err != unix.EINTR {
			return n, err
		}
	}
}
