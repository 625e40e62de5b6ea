package within

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// tree changes to a directory "in" beside "out", with files and links in both.
func tree(t *testing.T) Dir {
	t.Helper()
	top := t.TempDir()
	for _, dir := range []string{"in/sub", "out/sub"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"in/file", "in/sub/file", "out/file", "out/sub/file"} {
		if err := os.WriteFile(filepath.Join(top, file), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"in/stays":        "sub/file",
		"in/stays-far":    filepath.Join(top, "in/sub/file"),
		"in/sub/up":       "../file",
		"in/dir":          "sub",
		"in/dir-far":      filepath.Join(top, "in/sub"),
		"in/returns":      "../in/file",
		"in/leaves":       "../out/file",
		"in/leaves-far":   filepath.Join(top, "out/file"),
		"in/chain":        "leaves",
		"in/out-and-back": "../out/back",
		"in/gone":         "../out/gone",
		"in/gone-far":     filepath.Join(top, "out/gone"),
		"in/dangling":     "nothing",
		"in/loop":         "loop",
		"in/dir-out":      "../out",
		"in/sub/dir-out":  filepath.Join(top, "out"),
		"out/back":        filepath.Join(top, "in/file"),
		"out/in":          "../in",
		"out/in-far":      filepath.Join(top, "in"),
		"out/in-sub":      "in/sub",
		"out/leaves":      "in-far/leaves",
		"out/loop":        "loop",
	} {
		if err := os.Symlink(target, filepath.Join(top, link)); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	t.Chdir(filepath.Join(top, "in"))
	d, err := New(".")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// leaves is the content that stands for a LeavesError, and the others for theirs.
const (
	leaves  = "leaves"
	missing = "missing"
	failed  = "failed"
)

func outcome(t *testing.T, f File, err error) string {
	t.Helper()
	switch {
	case errors.As(err, &LeavesError{}):
		return leaves
	case errors.Is(err, fs.ErrNotExist):
		return missing
	case err != nil:
		return failed
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestOpenWithinBounds(t *testing.T) {
	d := tree(t)
	top := filepath.Dir(d.String())
	for name, want := range map[string]string{
		"file": "in/file", "./file": "in/file", "sub/file": "in/sub/file", "stays": "in/sub/file", "stays-far": "in/sub/file",
		"sub/up": "in/file", "dir/file": "in/sub/file", "dir-far/file": "in/sub/file", "dir/up": "in/file", "out-and-back": "in/file",
		"dir/../file": "in/file", "dir-out/../file": "in/file", "returns": "in/file",
		"leaves": leaves, "leaves-far": leaves, "chain": leaves, "gone": leaves, "gone-far": leaves,
		"dir-out/file": leaves, "dir/dir-out/file": leaves, "dir-out/sub/file": leaves, "dir-out/gone": leaves, "dir/../leaves": leaves,
		"dangling": missing, "nothing": missing, "nothing/file": missing, "loop": failed, "file/file": failed,
		// The directory by other names.
		top + "/in/leaves": leaves, "../in/leaves": leaves, "../out/in/leaves": leaves, "../out/in-far/leaves": leaves, "../out/in-sub/dir-out/file": leaves,
		"../out/in-far/file": "in/file", "../out/in-sub/file": "in/sub/file", "../out/leaves": leaves, "../out/back": "in/file",
		// What the user names outside of it.
		"../out/file": "out/file", top + "/out/file": "out/file", "../out/nothing": missing, "../out/loop": failed, "dir-out/../../out/file": "out/file",
	} {
		for how, open := range map[string]func(string, []Dir) (File, error){"Open": Open, "OpenRegular": OpenRegular} {
			f, err := open(name, []Dir{d})
			if got := outcome(t, f, err); got != want {
				t.Errorf("%s %s: got %q, %v, want %q", how, name, got, err, want)
			}
		}
	}
	for name, want := range map[string]string{
		"sub": "", "dir": "", "dir-far": "", "../out/in": "", ".": "", "..": "", "../out": "", "dir-out": leaves, "dir/dir-out": leaves, "dir-out/sub": leaves,
		"file": failed, "nothing": missing,
	} {
		root, err := OpenRoot(name, []Dir{d})
		if err == nil {
			_ = root.Close()
		} else if got := outcome(t, File{}, err); got != want {
			t.Errorf("OpenRoot %s: got %q, %v, want %q", name, got, err, want)
		}
		if (err == nil) != (want == "") || Leaves(name, []Dir{d}) != (want == leaves) {
			t.Errorf("OpenRoot %s: %v, want %q", name, err, want)
		}
	}
}

func TestOpenWithoutBounds(t *testing.T) {
	tree(t)
	for name, want := range map[string]struct {
		text string
		left bool
	}{
		"file": {"in/file", false}, "stays": {"in/sub/file", false}, "stays-far": {"in/sub/file", false}, "dir/file": {"in/sub/file", false},
		"leaves": {"out/file", true}, "leaves-far": {"out/file", true}, "chain": {"out/file", true},
		"sub/up":       {"in/file", true}, // the directory of the name is sub
		"dir-out/file": {"out/file", false}, "dir-out/../file": {"in/file", false}, "": {missing, false}, "../out/file": {"out/file", false}, "gone": {missing, true}, "nothing": {missing, false},
	} {
		f, err := OpenRegular(name, nil)
		if got := outcome(t, f, err); got != want.text || (f.Left != nil) != want.left {
			t.Errorf("%s: got %q, %v, left %v, want %+v", name, got, err, f.Left, want)
		}
	}
	// In a git work tree, that is what counts.
	if err := os.Mkdir(".git", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, left := range map[string]bool{"sub/up": false, "sub/file": false, "dir/up": false, "dir-out/file": true, "leaves": true, "../in/leaves": true} {
		f, err := OpenRegular(name, nil)
		if err != nil || (f.Left != nil) != left {
			t.Errorf("in a work tree: %s: %v, left %v, want %t", name, err, f.Left, left)
		}
		_ = f.Close()
	}
}

func TestIrregular(t *testing.T) {
	d := tree(t)
	for _, bounds := range [][]Dir{nil, {d}} {
		for _, name := range []string{"sub", "dir", "../out/sub", os.DevNull} {
			var irregular IrregularError
			if _, err := OpenRegular(name, bounds); !errors.As(err, &irregular) || irregular.Mode.IsRegular() {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestReplacedDirectoryIsNotUsed(t *testing.T) {
	d := tree(t)
	t.Chdir("..")
	if err := errors.Join(os.Rename("in", "moved"), os.Symlink("out", "in")); err != nil {
		t.Fatal(err)
	}
	if root, err := d.OpenRoot("sub"); !errors.As(err, &LeavesError{}) {
		t.Errorf("opened %v, %v", root, err)
	}
}

func TestRepository(t *testing.T) {
	d := tree(t)
	if got := Repository(d.String()); strings.HasPrefix(got, d.String()) {
		t.Errorf("without a work tree: %q", got)
	}
	if err := os.WriteFile(".git", nil, 0o644); err != nil { // as in a submodule
		t.Fatal(err)
	}
	if got := Repository(filepath.Join(d.String(), "sub")); got != d.String() {
		t.Errorf("got %q", got)
	}
}

// workTrees makes directories of tree work trees, and returns their parent.
func workTrees(t *testing.T, names ...string) string {
	t.Helper()
	top := filepath.Dir(tree(t).String())
	for _, name := range names {
		if err := os.Mkdir(filepath.Join(top, name, ".git"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestRepositoryOfALinkedDirectory(t *testing.T) {
	top := workTrees(t, "in", "out", "in/sub")
	for name, want := range map[string]string{
		"in": "in", "in/sub": "in/sub", "in/dir": "in/dir", "out": "out", "out/sub": "out",
		"in/dir-out": "in", "in/dir-out/sub": "in", "in/sub/dir-out": "in/sub", "in/dir/dir-out": "in/dir", "out/in": "out", "out/in-sub": "out",
	} {
		if got := Repository(filepath.Join(top, name)); got != filepath.Join(top, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestWorkTreeLeft(t *testing.T) {
	for _, trees := range [][]string{{"in"}, {"in", "out"}} {
		top := workTrees(t, trees...)
		for dir, left := range map[string]bool{"in": false, "in/sub": false, "in/dir": false, "in/dir-far": false, "out": false, "in/dir-out": true, "in/dir-out/sub": true, "in/sub/dir-out": true} {
			t.Run(strings.Join(trees, " ")+" "+dir, func(t *testing.T) {
				t.Chdir(filepath.Join(top, dir)) // sets $PWD, too
				if d, got := WorkTreeLeft(); got != left || left && d.String() != filepath.Join(top, "in") {
					t.Errorf("got %s, %t", d, got)
				}
				f, err := OpenRegular("file", nil)
				if err != nil || (f.Left != nil) != left {
					t.Errorf("file: %v, left %v", err, f.Left)
				}
				_ = f.Close()
				t.Setenv("PWD", "/nowhere")
				if d, got := WorkTreeLeft(); got {
					t.Errorf("without a name: %s", d)
				}
			})
		}
	}
}

func TestIsDescriptor(t *testing.T) {
	for name, want := range map[string]bool{
		"/dev/stdin": true, "/dev/stdout": true, "/dev/fd/3": true, "/proc/self/fd/1": true, "/dev//stderr": true, "/dev/x/../fd/3": true,
		"/dev/null": false, "dev/stdin": false, "/proc/self/fd/../environ": false, "/proc/self/environ": false, "-": false,
	} {
		if got := IsDescriptor(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
