//go:build unix

package config

import (
	"net"
	"syscall"
	"testing"
)

func TestSocketIsNotRead(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, found := Load([]string{"socket"}, nil, Options{})
	if got, want := lines(found), "socket: is a socket: want a regular file, or - for standard input\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNamedPipeDoesNotBlock(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	_, found := Load([]string{"pipe"}, nil, Options{})
	if got, want := lines(found), "pipe: is a named pipe: want a regular file, or - for standard input\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
