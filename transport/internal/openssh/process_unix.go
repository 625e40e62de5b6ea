//go:build unix

package openssh

import (
	"io/fs"
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

// trusted reports whether ssh accepts the owner and the mode of a file for Include.
func trusted(info fs.FileInfo) bool {
	stat, known := info.Sys().(*syscall.Stat_t)
	return known && (stat.Uid == 0 || int(stat.Uid) == os.Getuid()) && info.Mode().Perm()&0o022 == 0
}
