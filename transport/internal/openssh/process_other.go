//go:build !unix

package openssh

import (
	"os"
	"os/exec"
)

func detach(*exec.Cmd) {}

func terminate(p *os.Process) { _ = p.Kill() } // it may have ended already

func kill(p *os.Process) { _ = p.Kill() }
