package within

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Files of the kernel's own file systems look regular, and are not read, by whatever
// name: a read may never end.
func TestKernelFilesAreNotOpened(t *testing.T) {
	link := filepath.Join(t.TempDir(), "portcheck.yml")
	if err := os.Symlink("/proc/self/stat", link); err != nil {
		t.Fatal(err)
	}
	own, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/proc/self/stat", "/sys/kernel/mm/transparent_hugepage/enabled", link} {
		for way, open := range map[string]func(string, []Dir) (File, error){"Open": Open, "OpenRegular": OpenRegular} {
			for _, bounds := range [][]Dir{nil, {own}} {
				if f, err := open(name, bounds); !errors.As(err, &IrregularError{}) {
					t.Errorf("%s %s: %v, %v", way, name, f, err)
				}
			}
		}
	}
	fromDescriptor, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer fromDescriptor.Close()
	f, err := Open("/proc/self/fd/"+strconv.Itoa(int(fromDescriptor.Fd())), nil)
	if err != nil {
		t.Fatalf("a descriptor of a file: %v", err)
	}
	f.Close()
}
