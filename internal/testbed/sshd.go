//go:build linux

package testbed

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SSHD is Debian's sshd with keys of its own, until the test ends. Every user of
// the machine can log in with UserKey.
type SSHD struct {
	Addr    string // host:port
	Dir     string // world-readable; for more keys and the like
	UserKey string // file of a private key that may log in
	HostKey string // file of the host's private key; .pub beside it
	Log     string // file
	Process *os.Process
}

// StartSSHD starts sshd at an address of this network namespace, 127.0.0.1:22
// if empty. Settings are lines of sshd_config(5); the first of a kind counts.
func StartSSHD(t *testing.T, addr string, settings ...string) *SSHD {
	t.Helper()
	NeedRoot(t)
	const path = "/usr/sbin/sshd" // it refuses to be started by a relative name
	for _, name := range []string{path, "ssh-keygen"} {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, fmt.Sprintf("needs openssh-server and openssh-client: %v", err))
		}
	}
	if addr == "" {
		addr = "127.0.0.1:22"
	}
	dir, err := os.MkdirTemp("", "sshd-") // sshd's child leaves root, and t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // the directory that it confines its children to
		t.Fatal(err)
	}
	s := &SSHD{Addr: addr, Dir: dir, Log: filepath.Join(dir, "log")}
	s.HostKey, s.UserKey = s.Key(t, "host"), s.Key(t, "user")
	public, err := os.ReadFile(s.UserKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(dir, "authorized_keys")
	if err := os.WriteFile(allowed, public, 0o644); err != nil {
		t.Fatal(err)
	}
	host, number, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Join(append(settings,
		"AddressFamily any", "ListenAddress "+host, "Port "+number, "HostKey "+s.HostKey,
		"AuthorizedKeysFile "+allowed, "StrictModes no", "UsePAM no", "PermitRootLogin yes",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PidFile none", "LogLevel VERBOSE", "MaxStartups 1000", ""), "\n")
	file := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-D", "-f", file, "-E", s.Log)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := fork(cmd); err != nil {
		t.Fatal(err)
	}
	s.Process = cmd.Process
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // killed: the error is expected
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close() // nothing was said
			return s
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(s.Log) // whatever there is
			t.Fatalf("sshd was not ready within %s: %v\n%s", patience, err, log)
		}
	}
}

// Key makes a key pair in s.Dir, of ssh-keygen(1)'s further arguments, and
// returns the private one's file.
func (s *SSHD) Key(t *testing.T, name string, args ...string) string {
	t.Helper()
	file := filepath.Join(s.Dir, name)
	args = append([]string{"-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file}, args...) // the last of a kind counts
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	return file
}

// KnownHosts writes a known_hosts file that has this server's key under the
// given names, else under that of its address, and returns its name.
func (s *SSHD) KnownHosts(t *testing.T, names ...string) string {
	t.Helper()
	public, err := os.ReadFile(s.HostKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		host, number, _ := net.SplitHostPort(s.Addr)
		names = []string{host}
		if number != "22" {
			names = []string{fmt.Sprintf("[%s]:%s", host, number)}
		}
	}
	file := filepath.Join(s.Dir, "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(names, ",")+" "+string(public)), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
