package lease

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// Independent makes a command one that the end of this process's console does not end,
// and that keeps no directory from being removed.
func Independent(cmd *exec.Cmd) {
	if dir, err := windows.GetSystemDirectory(); err == nil {
		cmd.Dir = dir
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// Detach makes this process independent of the one that started it: its streams are
// closed. A CI step waits for whoever has its stdout.
func Detach() error { return errors.Join(os.Stdin.Close(), os.Stdout.Close(), os.Stderr.Close()) }

// CloseInherited does nothing: programs in Go inherit nothing but their streams there.
func CloseInherited() {}
