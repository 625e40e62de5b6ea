package sshlink

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFilesWithoutEnd checks that a file that is too large, or is a pipe that nobody
// writes to, is an error which names it, before anything is sent to a host.
func TestFilesWithoutEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, endless := filepath.Join(dir, "pipe"), filepath.Join(dir, "endless")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink("/dev/zero", endless)); err != nil {
		t.Fatal(err)
	}
	known := write(t, filepath.Join(dir, "known_hosts"), "")
	inHome := func(name, file string) map[string]string {
		home := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(home, ".ssh"), 0o700), os.Symlink(file, filepath.Join(home, ".ssh", name))); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"HOME": home}
	}
	for name, c := range map[string]struct {
		o          Options
		step, says string
	}{
		"a key that is a pipe":        {Options{Identities: []string{pipe}, KnownHosts: known}, "authentication", pipe + " could not be read in time"},
		"a key without end":           {Options{Identities: []string{endless}, KnownHosts: known}, "authentication", endless + " is larger than 1 MiB"},
		"known hosts that are a pipe": {Options{KnownHosts: pipe}, "host key", pipe + " could not be read in time"},
		"known hosts without end":     {Options{KnownHosts: endless}, "host key", endless + " is larger than 16 MiB"},
		"the user's that are a pipe":  {Options{Env: inHome("known_hosts", pipe)}, "host key", "known_hosts"},
		"the user's without end":      {Options{Env: inHome("known_hosts", endless)}, "host key", "known_hosts is larger than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := New(c.o).Dial(ctx, address(t, "ssh://root@127.0.0.1:1"))
			checkStep(t, err, c.step, c.says)

			if !strings.Contains(c.says, "in time") {
				return
			}
			ctx, cancel = context.WithCancel(t.Context())
			cancel()
			if _, err := New(c.o).Dial(ctx, address(t, "ssh://root@127.0.0.1:1")); !errors.Is(err, context.Canceled) {
				t.Errorf("%v after the end of the context", err)
			}
		})
	}
}
