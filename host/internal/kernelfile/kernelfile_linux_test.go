package kernelfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	for _, size := range []int{0, 1, 1023, 1024, 1025, 4096, 100_000} {
		file := filepath.Join(t.TempDir(), "file")
		want := strings.Repeat("x", size)
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(file); err != nil || string(got) != want {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got), err)
		}
		const most = 1025
		if got, err := ReadAtOnce(file, most); err != nil || string(got) != want[:min(size, most)] {
			t.Errorf("%d bytes, at once: %d bytes, %v", size, len(got), err)
		}
	}
	for what, read := range map[string]func(string) ([]byte, error){
		"Read":       Read,
		"ReadAtOnce": func(path string) ([]byte, error) { return ReadAtOnce(path, 8) },
	} {
		var failed *fs.PathError
		if _, err := read("/proc/self/no-such-file"); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &failed) || failed.Op != "open" {
			t.Errorf("%s of a file that is missing: %v", what, err)
		}
		if _, err := read("/proc/self"); !errors.Is(err, unix.EISDIR) || !errors.As(err, &failed) || failed.Op != "read" || failed.Path != "/proc/self" {
			t.Errorf("%s of a directory: %v", what, err)
		}
	}
}
