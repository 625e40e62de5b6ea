package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// asNobody runs f on a thread that has the file permissions of the user nobody,
// even if the test runs as root.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		if err := syscall.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestUnreadable(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "file.yml", "locked/portcheck.yml")
	for _, name := range []string{"file.yml", "locked"} {
		if err := os.Chmod(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod("locked", 0o700)
	asNobody(t, func() {
		_, found := Load([]string{"file.yml", "locked/portcheck.yml"}, nil, Options{})
		want := "file.yml: cannot be read: permission denied\nlocked/portcheck.yml: cannot be read: permission denied\n"
		if got := lines(found); got != want {
			t.Errorf("Load: got\n%swant\n%s", got, want)
		}
		if file, found := Discover("locked", Options{}); file.File != "" || lines(found) != "locked/portcheck.yml: cannot be read: permission denied\n" {
			t.Errorf("Discover: got %q, %v", file.File, found)
		}
		if files, found := Find(".", Options{}); len(files) != 0 || lines(found) != "locked: cannot be read: permission denied\n" {
			t.Errorf("Find: got %q, %v", files, found)
		}
	})
}

func TestReadError(t *testing.T) {
	_, found := Load([]string{"-"}, iotest.ErrReader(syscall.EIO), Options{})
	if got, want := lines(found), "-: cannot be read: input/output error\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKernelFile(t *testing.T) {
	_, found := Load([]string{"/proc/self/stat"}, nil, Options{})
	if got, want := lines(found), "/proc/self/stat: is an irregular file: want a regular file, or - for standard input\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDirectoryNameThatIsNotUTF8(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a\xff/portcheck.yml")
	t.Chdir("a\xff")
	_, found := Load([]string{"-"}, strings.NewReader("version: 1\nports: [{name: web, port: 80}]\n"), Options{})
	want := `-:1:1: app is missing, and the directory's name "a\xff" cannot be used instead: it contains characters that are not printable` + "\n"
	if got := lines(found); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRemovedDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("gone", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir("gone")
	if err := os.Remove("../gone"); err != nil {
		t.Fatal(err)
	}
	_, found := Load([]string{"-"}, strings.NewReader("version: 1\nports: [{name: web, port: 80}]\n"), Options{})
	want := `-:1:1: app is missing, and the directory's name "." cannot be used instead: `
	if got := lines(found); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "real.yml")
	for link, target := range map[string]string{"a.yml": "real.yml", "b.yml": "nowhere", "loop.yml": "loop.yml"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	files, found := Files([]string{"a.yml", "real.yml", "b.yml", "loop.yml"})
	if want := []string{"a.yml", "b.yml", "loop.yml"}; len(found) > 0 || filepath.Join(files...) != filepath.Join(want...) {
		t.Errorf("got %q, %v, want %q", files, found, want)
	}
	_, found = Load([]string{"b.yml", "loop.yml"}, nil, Options{})
	if got, want := lines(found), "b.yml: no such file\nloop.yml: cannot be read: too many levels of symbolic links\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A name of any bytes is a name: a search goes on below it, and what is there is read.
func TestNamesThatAreNotUTF8(t *testing.T) {
	t.Chdir(t.TempDir())
	text := "version: 1\napp: a\nports: [{name: web, port: 8080}]\n"
	writeFiles(t, ".", map[string]string{
		"caf\xe9/x\xff.txt": "", "d\xe9/portcheck.yml": text, "e/\xff/compose.yaml": web,
		"t\xe9/templates/portcheck.yml": "spec:\n  inputs: {}\n---\n",
	})
	files, bad := Find(".", Options{})
	if want := []string{"d\xe9/portcheck.yml", "e/\xff/compose.yaml"}; !slices.Equal(files, want) || len(bad) > 0 {
		t.Fatalf("got %q, %v, want %q", files, bad, want)
	}
	o := Options{Project: "p"} // the directory's name has no letter for one
	bad = o.AddFound(files)
	all, found := Load(files, nil, o)
	if len(bad)+len(found) > 0 || len(all) != 2 || len(all[0].Ports)+len(all[1].Ports) != 2 {
		t.Errorf("got %v, %v %v", all, bad, found)
	}
}
