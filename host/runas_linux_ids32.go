//go:build linux && (386 || arm)

package host

import "golang.org/x/sys/unix"

// The calls without the suffix take 16-bit IDs on these architectures.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetresgid = unix.SYS_SETRESGID32
	sysSetresuid = unix.SYS_SETRESUID32
)
