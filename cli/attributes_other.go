//go:build !unix

package cli

import (
	"io/fs"
	"os"
)

// lockFile does nothing: without Unix, a file has to be closed before it is replaced.
func lockFile(*os.File) error { return nil }

// beforeReplacing closes a file, because one that is open can't be replaced.
func beforeReplacing(f *os.File) { _ = f.Close() } // it was only read

// linksOf returns 1: without Unix, no one has linked files by accident.
func linksOf(fs.FileInfo) uint64 { return 1 }

// keepAttributes keeps the mode: a new file inherits its access rights from its
// directory.
func keepAttributes(_ *os.File, info fs.FileInfo, f *os.File) error { return f.Chmod(info.Mode()) }
