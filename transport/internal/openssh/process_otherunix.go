//go:build unix && !linux

package openssh

import (
	"os/exec"
	"syscall"
)

// endWithUs does nothing: ssh ends when its stdin does.
func endWithUs(*syscall.SysProcAttr) {}

// awaitExit waits until a command has exited. Another call of Wait does nothing.
func awaitExit(cmd *exec.Cmd) { _ = cmd.Wait() } // its status is read later
