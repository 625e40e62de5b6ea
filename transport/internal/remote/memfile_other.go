//go:build !linux

package remote

import (
	"io"
	"os"
)

// AsFile returns the name of a temporary file with the given text, which only
// the user can read, and a function that removes it.
func AsFile(text string) (name string, remove func(), err error) {
	f, err := os.CreateTemp("", "portcheck-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.Remove(f.Name()) } // if it stays, it contains no secret
	_, err = io.WriteString(f, text)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return f.Name(), remove, nil
}
