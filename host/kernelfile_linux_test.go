package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadKernelFile(t *testing.T) {
	for _, size := range []int{0, 1, 1023, 1024, 1025, 4096, 100_000} {
		file := filepath.Join(t.TempDir(), "file")
		want := strings.Repeat("x", size)
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readKernelFile(file); err != nil || string(got) != want {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got), err)
		}
	}
	if _, err := readKernelFile("/proc/self/no-such-file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	_, err := readKernelFile("/proc/self")
	if op, errno := opErrno(err); !errors.Is(err, unix.EISDIR) || op != "read /proc/self" || errno != "EISDIR" {
		t.Errorf("a directory: %q, %q, %v", op, errno, err)
	}
}

// A holder in a cgroup of its own is found without a list of all processes, and then
// nothing claims that these were all examined.
func TestHoldersWithoutListOfProcesses(t *testing.T) {
	s := search{descriptorReader: descriptorReader{wanted: map[uint64][]*Socket{}, ctx: t.Context()}, examined: map[int]bool{1: true}, details: newDetails(t.Context(), false)}
	s.readSelf()
	if !s.stoppedEarly() || s.pids != nil {
		t.Errorf("stopped early: false, or %d processes were listed", len(s.pids))
	}
	for _, pid := range s.all() {
		s.examined[pid] = true
	}
	if s.stoppedEarly() {
		t.Error("stopped early, although all were examined")
	}
}
