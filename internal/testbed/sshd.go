//go:build linux

package testbed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SSHD is Debian's sshd with keys of its own. Every user of the machine can log
// in with UserKey.
type SSHD struct {
	Addr    string // host:port
	Dir     string // world-readable; more keys can go there
	UserKey string // file with a private key that is allowed to log in
	HostKey string // file with the host's private key; the public key is in .pub
	Log     string // file with the server's log
	Process *os.Process
	stop    func()
}

// StartSSHD runs sshd until the test ends. It listens on addr in this network
// namespace, by default on 127.0.0.1:22. Settings are lines of sshd_config(5);
// the first line for a keyword counts. SetEnv should set a HOME, because the
// startup files in a real user's home can do anything. Tests that need sshd are
// skipped under -short.
func StartSSHD(t *testing.T, addr string, settings ...string) *SSHD {
	t.Helper()
	return startSSHD(t, nil, addr, settings)
}

// startSSHD is like StartSSHD. If prefix is not empty, it is a command that runs
// sshd.
func startSSHD(t *testing.T, prefix []string, addr string, settings []string) *SSHD {
	t.Helper()
	Slow(t, "starts sshd")
	NeedRoot(t)
	for _, name := range []string{sshdPath, "ssh-keygen"} {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, fmt.Sprintf("needs openssh-server and openssh-client: %v", err))
		}
	}
	if addr == "" {
		addr = "127.0.0.1:22"
	}
	s, err := launchSSHD(prefix, addr, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

const sshdPath = "/usr/sbin/sshd" // sshd refuses to start by a relative name

// LaunchSSHD is like StartSSHD, but needs no test. The caller has to call Stop.
func LaunchSSHD(addr string, settings ...string) (*SSHD, error) {
	return launchSSHD(nil, addr, settings)
}

func launchSSHD(prefix []string, addr string, settings []string) (*SSHD, error) {
	dir, err := os.MkdirTemp("", "sshd-") // t.TempDir is readable by root alone, and sshd's children drop root
	if err != nil {
		return nil, err
	}
	s := &SSHD{Addr: addr, Dir: dir, Log: filepath.Join(dir, "log"), stop: func() {}}
	if err := s.launch(prefix, settings); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *SSHD) launch(prefix, settings []string) error {
	// sshd confines its children to /run/sshd.
	err := errors.Join(os.Chmod(s.Dir, 0o755), os.MkdirAll("/run/sshd", 0o755))
	if err != nil {
		return err
	}
	if s.HostKey, err = s.MakeKey("host"); err != nil {
		return err
	}
	if s.UserKey, err = s.MakeKey("user"); err != nil {
		return err
	}
	host, number, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	config := strings.Join(append(settings,
		"AddressFamily any", "ListenAddress "+host, "Port "+number, "HostKey "+s.HostKey,
		"AuthorizedKeysFile "+s.UserKey+".pub", "StrictModes no", "UsePAM no", "PermitRootLogin yes",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"SetEnv HOME="+s.Dir, "PidFile none", "LogLevel VERBOSE", "MaxStartups 1000", ""), "\n")
	file := filepath.Join(s.Dir, "sshd_config")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	words := append(slices.Clone(prefix), sshdPath, "-D", "-f", file, "-E", s.Log)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := fork(cmd); err != nil {
		return err
	}
	s.Process = cmd.Process
	s.stop = func() {
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()         // killed: the error is expected
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", s.Addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(s.Log) // may be missing
			return fmt.Errorf("sshd was not ready within %s: %w\n%s", patience, err, log)
		}
	}
}

// Stop stops sshd and removes its directory.
func (s *SSHD) Stop() {
	s.stop()
	_ = os.RemoveAll(s.Dir) // in a temporary directory
}

// MakeKey creates a key pair in s.Dir and returns the file of the private key.
// args are further arguments of ssh-keygen(1).
func (s *SSHD) MakeKey(name string, args ...string) (string, error) {
	file := filepath.Join(s.Dir, name)
	args = append([]string{"-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file}, args...) // the last option of a kind counts
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("ssh-keygen: %w\n%s", err, out)
	}
	return file, nil
}

// Key is like MakeKey, but fails the test on an error.
func (s *SSHD) Key(t *testing.T, name string, args ...string) string {
	t.Helper()
	file, err := s.MakeKey(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Known writes a known_hosts file with this server's key and returns its name.
// The entry has the given names, by default that of the server's address.
func (s *SSHD) Known(names ...string) (string, error) {
	public, err := os.ReadFile(s.HostKey + ".pub")
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		host, number, _ := net.SplitHostPort(s.Addr)
		names = []string{host}
		if number != "22" {
			names = []string{fmt.Sprintf("[%s]:%s", host, number)}
		}
	}
	file := filepath.Join(s.Dir, "known_hosts")
	return file, os.WriteFile(file, []byte(strings.Join(names, ",")+" "+string(public)), 0o644)
}

// KnownHosts is like Known, but fails the test on an error.
func (s *SSHD) KnownHosts(t *testing.T, names ...string) string {
	t.Helper()
	file, err := s.Known(names...)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
