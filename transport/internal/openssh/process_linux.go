package openssh

import "syscall"

// endWithUs has the process end when ours is killed.
func endWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
