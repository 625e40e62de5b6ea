package sshlink

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/transport/internal/remote"
)

// canary is part of private keys and passphrases, and must not be in any message.
const canary = "canary5e1f"

// startSSHD starts a server on which the user's shell does not read the startup
// files of the machine's user.
func startSSHD(t *testing.T, addr string, settings ...string) *testbed.SSHD {
	t.Helper()
	return testbed.StartSSHD(t, addr, append(settings, "SetEnv HOME=/nonexistent")...)
}

// options returns Options to reach a server with its user's key.
func options(t *testing.T, s *testbed.SSHD) Options {
	t.Helper()
	return Options{
		Env:              map[string]string{"HOME": t.TempDir()},
		Identities:       []string{s.UserKey},
		KnownHosts:       s.KnownHosts(t),
		ConnectTimeout:   30 * time.Second,
		HandshakeTimeout: 30 * time.Second,
	}
}

// try logs in and out again.
func try(t *testing.T, o Options, target string) error {
	t.Helper()
	l, err := New(o).Dial(t.Context(), address(t, target))
	if err != nil {
		return err
	}
	return l.Close()
}

// whoami dials a target and returns the name of the user that runs commands there.
func whoami(t *testing.T, o Options, target string) (string, error) {
	t.Helper()
	l, err := New(o).Dial(t.Context(), address(t, target))
	if err != nil {
		return "", err
	}
	defer l.Close()
	out, err := remote.Output(t.Context(), l, "id -un", 100)
	return strings.TrimSpace(string(out)), err
}

// checkStep checks that err is a one-line error of a step and contains each of
// words.
func checkStep(t *testing.T, err error, step string, words ...string) {
	t.Helper()
	var failed *remote.StepError
	if !errors.As(err, &failed) || failed.Step != step {
		t.Errorf("%v; want an error at the step %s", err, step)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v; want %q", err, w)
		}
	}
	if text := err.Error(); strings.Contains(text, "\n") || strings.Contains(text, canary) {
		t.Errorf("%q has more lines than one, or a secret", text)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// run runs a program that must not fail and returns its output.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// fingerprint returns the fingerprint of a public key file.
func fingerprint(t *testing.T, file string) string {
	t.Helper()
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(public)
}

// startAgent starts a real agent that has the given keys and returns its socket.
func startAgent(t *testing.T, keys ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	testbed.Start(t, "ssh-agent", "-D", "-a", socket) // it prints where it is
	for _, k := range keys {
		run(t, []string{"SSH_AUTH_SOCK=" + socket}, "ssh-add", "-q", k)
	}
	return socket
}

// soon returns a context for steps that end by themselves, also on a busy machine.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
