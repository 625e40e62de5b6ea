//go:build unix && !linux

package openssh

import "syscall"

// endWithUs does nothing: ssh ends when its stdin does.
func endWithUs(*syscall.SysProcAttr) {}
