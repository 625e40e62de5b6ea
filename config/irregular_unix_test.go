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

// Nothing waits for a pipe that a search finds, or that a Compose file names.
func TestNamedPipesOfProjectsDoNotBlock(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "templates/x")
	for _, name := range []string{"templates/portcheck.yml", "pipe"} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if files, found := Find(".", Options{}); len(files) != 1 || len(found) > 0 {
		t.Errorf("got %q, %v", files, found)
	}
	writeFiles(t, ".", map[string]string{"compose.yaml": "include: [pipe, {path: a.yml, env_file: pipe}]\nservices:\n  a:\n    extends: {file: pipe, service: a}\n", "a.yml": web})
	_, found := Load([]string{"compose.yaml"}, nil, Options{})
	want := `compose.yaml:1:11: include names "pipe": is a named pipe: want a regular file, or - for standard input
compose.yaml:1:41: env_file names "pipe": is a named pipe: want a regular file, or - for standard input
compose.yaml:4:21: extends names "pipe": is a named pipe: want a regular file, or - for standard input
`
	if got := lines(found); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
