//go:build unix

package cli

import (
	"fmt"
	"os"
	"syscall"
)

// directoryID returns a text that differs between directories of one name, such as
// those of two containers.
func directoryID(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf(" (%x:%x)", s.Dev, s.Ino)
	}
	return ""
}
