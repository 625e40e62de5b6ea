//go:build unix

package lease

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Independent makes a command one that the end of this process's session does not end,
// and that keeps no directory from being removed.
func Independent(cmd *exec.Cmd) {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// Detach makes this process independent of the one that started it: its streams are
// /dev/null, and descriptors that it inherited are closed. A CI step waits for whoever
// has its stdout.
func Detach() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	for fd := range 3 {
		if err := unix.Dup2(null, fd); err != nil {
			return err
		}
	}
	return nil
}

// CloseInherited closes the descriptors above stderr that this process has inherited.
// Those that it opened itself are closed on exec.
func CloseInherited() {
	var all []int
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				all = append(all, fd)
			}
		}
	} else {
		for fd := range 1 << 16 {
			all = append(all, fd)
		}
	}
	for _, fd := range all {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if fd > 2 && err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
