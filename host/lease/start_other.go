//go:build !linux

package lease

import "os/exec"

// startUnprivileged starts a command.
func startUnprivileged(cmd *exec.Cmd) error { return cmd.Start() }
