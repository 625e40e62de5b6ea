//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// inOwnGroup makes cmd the leader of a group of processes that ends with it.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
