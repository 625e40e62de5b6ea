//go:build !linux

package sshlink

import (
	"io"
	"os"
)

// asFile gives a text a file's name, of a file that only we can read.
func asFile(text string) (name string, remove func(), err error) {
	f, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.Remove(f.Name()) } // no secret
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
