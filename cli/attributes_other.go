//go:build !unix

package cli

import (
	"io/fs"
	"os"
)

// closeToReplace is set because a file that is open can't be replaced everywhere: before
// Windows 10 and on some file systems it can't. It is not locked any more then.
const closeToReplace = true

// linksOf returns 1: without Unix, no one has linked files by accident.
func linksOf(fs.FileInfo) uint64 { return 1 }

// keepAttributes keeps the mode: a new file inherits its access rights from its
// directory.
func keepAttributes(_ *os.File, info fs.FileInfo, f *os.File) error { return f.Chmod(info.Mode()) }
