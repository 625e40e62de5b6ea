//go:build unix

package openssh

import (
	"os"
	"os/exec"
	"syscall"
)

// detach has a command start in a session and a process group of its own, without
// a terminal.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	endWithUs(cmd.SysProcAttr)
}

// terminate ends a process group. ssh ends its ProxyCommand then.
func terminate(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) } // it may have ended already

// kill ends a process group at once.
func kill(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) } // it may have ended already
