package lease

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startUnprivileged starts a command that gets no file capabilities. With them, a
// CI's clean-up could not read its environment: ptrace_may_access of the kernel.
func startUnprivileged(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			done <- err
			return
		}
		done <- cmd.Start()
	}()
	return <-done
}
