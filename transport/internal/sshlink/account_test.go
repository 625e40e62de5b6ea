package sshlink

import (
	"os"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/org/portcheck/config"
)

// home creates a home directory with files below .ssh.
func home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, ".ssh", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// address parses the text of a target.
func address(t *testing.T, target string) config.SSHAddress {
	t.Helper()
	parsed, err := config.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.SSH
}

// TestAccounts checks the defaults of a target, and that no ssh_config(5) is read.
func TestAccounts(t *testing.T) {
	current, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	me := map[string]string{"USER": "me", "HOME": home(t, map[string]string{"config": "Host *\n\tUser other\n\tPort 1\n\tHostName x\n"})}
	for _, c := range []struct {
		target string
		env    map[string]string
		want   account
		key    string
	}{
		{"ssh://App1", me, account{"me", "App1", "22"}, "app1:22"},
		{"ssh://root@app1:2222", me, account{"root", "app1", "2222"}, "app1:2222"},
		{"ssh://[::1]:7", me, account{"me", "::1", "7"}, "[::1]:7"},
		{"ssh://app1", nil, account{current.Username, "app1", "22"}, "app1:22"},
	} {
		got := New(Options{Env: c.env}).account(address(t, c.target))
		if got != c.want || got.keyName() != c.key {
			t.Errorf("%s: %+v, %s; want %+v, %s", c.target, got, got.keyName(), c.want, c.key)
		}
	}
	for name, env := range map[string]map[string]string{"/a": {"HOME": "/a", "USERPROFILE": "/b"}, "/b": {"USERPROFILE": "/b"}, "": nil} {
		if got := New(Options{Env: env}).inHome(); got != name {
			t.Errorf("%v: %q", env, got)
		}
	}
}
