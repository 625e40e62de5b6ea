//go:build linux

package testbed

import (
	"os"
	"os/exec"
	"testing"
)

func TestStartSSHD(t *testing.T) {
	if !Isolated(t) {
		return
	}
	s := StartSSHD(t, "")
	out, err := exec.Command("ssh", "-F", "none", "-i", s.UserKey, "-o", "UserKnownHostsFile="+s.KnownHosts(t), "-o", "BatchMode=yes", "root@127.0.0.1", "echo hello").CombinedOutput()
	if err != nil || string(out) != "hello\n" {
		log, _ := os.ReadFile(s.Log)
		t.Errorf("%v: %s\n%s", err, out, log)
	}
}
