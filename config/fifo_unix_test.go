//go:build unix

package config

import (
	"syscall"
	"testing"
)

func TestNamedPipeDoesNotBlock(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Skip(err)
	}
	_, found := Load([]string{"pipe"}, nil)
	if got, want := lines(found), "pipe: is a named pipe: want a regular file, or - for standard input\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
