//go:build unix

package within

import "syscall"

// noWait makes the open of a pipe return at once.
const noWait = syscall.O_NONBLOCK
