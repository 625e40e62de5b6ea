package remote

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// AsFile returns the name of a file with the given text, which exists in memory
// only, and a function that removes it. Other processes of the user can open it by
// that name.
func AsFile(text string) (name string, remove func(), err error) {
	fd, err := unix.MemfdCreate("portcheck", unix.MFD_CLOEXEC)
	if err != nil {
		return "", nil, os.NewSyscallError("memfd_create", err)
	}
	name = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
	f := os.NewFile(uintptr(fd), name)
	// ssh does not read configurations that others may write to.
	if err := f.Chmod(0o600); err != nil {
		f.Close()
		return "", nil, err
	}
	if _, err := io.WriteString(f, text); err != nil {
		f.Close()
		return "", nil, err
	}
	return name, func() { f.Close() }, nil
}
