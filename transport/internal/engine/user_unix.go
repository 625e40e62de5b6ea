//go:build unix

package engine

import (
	"os"
	"syscall"
)

// User returns the uid of the user that the engine's socket belongs to, -1 if the
// engine is reached in another way.
func (e *Engine) User() int {
	if e.ofUser > 0 {
		return e.ofUser
	}
	if e.network != "unix" {
		return -1
	}
	info, err := os.Stat(e.address)
	if err != nil {
		return -1
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
