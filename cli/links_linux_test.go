package cli

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// nobody is the user that attacks.
const nobody = 65534

// swapperEnv makes the test binary a program that exchanges its two arguments until
// stdin ends.
const swapperEnv = "PORTCHECK_TEST_SWAPPER"

func swapper(args []string) {
	ended := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // ends with the test
		close(ended)
	}()
	_, _ = os.Stdout.WriteString("ready\n")
	for {
		select {
		case <-ended:
			os.Exit(0)
		default:
		}
		if err := unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	}
}

// swap exchanges two files as another user until the returned function is called.
func swap(t *testing.T, a, b string) (stop func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := testbed.StartWith(t, func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), swapperEnv+"=1")
		cmd.Stdin = r
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}, "/proc/self/exe", a, b)
	_ = r.Close()
	return func() {
		_ = w.Close()
		_ = cmd.Process.Kill() // it may have ended
	}
}

// attacked changes to the work tree of another user, beside a directory of root that
// has a secret. It returns that directory.
func attacked(t *testing.T) string {
	t.Helper()
	if !testbed.HaveUsers() {
		testbed.Missing(t, "needs the users of the whole system")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tree, roots := filepath.Join(dir, "tree"), filepath.Join(dir, "roots")
	for _, d := range []string{tree, tree + "/.git", tree + "/out", roots, roots + "/ssh", roots + "/empty"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		tree + "/shop.yml":   "version: 1\nports:\n  - {name: web, port: 8080}\n",
		roots + "/secret":    "hunter2: 1\n",
		roots + "/ssh/keys":  "hunter2\n",
		tree + "/output":     "",
		roots + "/authority": "hunter2\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": roots, "link.yml": roots + "/secret", "link.out": roots + "/authority"} {
		if err := os.Symlink(target, filepath.Join(tree, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append(files(t, tree), ".") {
		if err := os.Lchown(filepath.Join(tree, name), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chdir(tree); err != nil {
		t.Fatal(err)
	}
	return roots
}

// state describes what is below a directory: names, owners, modes and content.
func state(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		b.WriteString(path + " " + strconv.Itoa(int(stat.Uid)) + " " + d.Type().String() + "\n")
		if d.Type().IsRegular() {
			text, err := os.ReadFile(path)
			b.Write(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSwappedDirectoryIsNotWrittenInto runs as root while the owner of the work tree
// exchanges the directory of the output with a link to one of root's.
func TestSwappedDirectoryIsNotWrittenInto(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	roots := attacked(t)
	before := state(t, roots)
	defer swap(t, "out", "link")()
	wrote, refused := 0, 0
	for i := range 60 {
		n := strconv.Itoa(i)
		code, stderr := runsInto(t, nil, nil, "lint", "shop.yml", "-o", "json=out/report"+n+".json", "-o", "json=out/empty/x"+n+".json",
			"-o", "json=out/new"+n+"/deep/x.json", "-o", "json=out/ssh/new"+n+"/x.json", "-o", "json=link/new"+n+"/x.json")
		if code != exitOK && code != exitUnknown {
			t.Fatalf("exit code %d:\n%s", code, stderr)
		}
		wrote += strings.Count(stderr, "wrote json")
		refused += strings.Count(stderr, "a link leads out of")
		if after := state(t, roots); after != before {
			t.Fatalf("run %d changed what is root's:\n%s\nbefore:\n%s\n%s", i, after, before, stderr)
		}
	}
	if wrote == 0 || refused == 0 {
		t.Errorf("no race: %d files written, %d refused", wrote, refused)
	}
}

// TestSwappedParentIsNotGivenAway exchanges the directory in which a new one is made:
// a directory of root's that is then in its place is not given to the other user.
func TestSwappedParentIsNotGivenAway(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	attacked(t)
	const runs = 250
	var theirs [runs]*os.File // in the tree, so that no link is refused
	for i := range runs {
		dir := "theirs/" + strconv.Itoa(i)
		if err := os.MkdirAll(dir+"/secret", 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		theirs[i] = f
	}
	defer swap(t, "theirs", "out")()
	made := 0
	for i := range runs {
		code, stderr := runsInto(t, nil, nil, "lint", "shop.yml", "-o", "json=out/"+strconv.Itoa(i)+"/new/x.json")
		if code != exitOK && code != exitUnknown {
			t.Fatalf("exit code %d:\n%s", code, stderr)
		}
		made += strings.Count(stderr, "wrote json")
		info, err := theirs[i].Stat()
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 0 || stat.Gid != 0 {
			t.Fatalf("run %d: root's directory belongs to user %d, group %d", i, stat.Uid, stat.Gid)
		}
	}
	if made == 0 {
		t.Error("nothing was written")
	}
}

// TestSwappedManifestIsNotRead runs as root in a CI job while the owner of the work
// tree exchanges the manifest with a link to one of root's files.
func TestSwappedManifestIsNotRead(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	attacked(t)
	defer swap(t, "shop.yml", "link.yml")()
	codes := map[int]int{}
	for _, env := range [][]string{{"CI=true"}, nil} {
		for range 50 {
			cmd := program(env, "lint", "shop.yml")
			out, _ := cmd.CombinedOutput()
			if bytes.Contains(out, []byte("hunter2")) {
				t.Fatalf("%q:\n%s", env, out)
			}
			codes[cmd.ProcessState.ExitCode()]++
		}
	}
	if codes[exitOK] == 0 || codes[exitUsage] == 0 || len(codes) > 2 {
		t.Errorf("exit codes: %v", codes)
	}
}

// TestSwappedOutputsFileIsNotAppendedTo does the same with a file of the runner.
func TestSwappedOutputsFileIsNotAppendedTo(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	roots := attacked(t)
	before := state(t, roots)
	defer swap(t, "output", "link.out")()
	for i := range 40 {
		cmd := program([]string{"GITHUB_ACTIONS=true", "GITHUB_OUTPUT=output", "GITHUB_STEP_SUMMARY=output", "RUNNER_TEMP=" + t.TempDir()}, "lint", "shop.yml")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if after := state(t, roots); after != before {
			t.Fatalf("run %d changed what is root's:\n%s\nbefore:\n%s", i, after, before)
		}
	}
}

// TestSwappedPipeIsNotFollowed exchanges a directory with pipes, which are written
// into, with one that has links of these names.
func TestSwappedPipeIsNotFollowed(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	roots := attacked(t)
	const runs = 100
	if err := os.Mkdir("links", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range runs {
		name := strconv.Itoa(i)
		if err := unix.Mkfifo("out/"+name, 0o600); err != nil {
			t.Fatal(err)
		}
		pipe, err := os.OpenFile("out/"+name, os.O_RDWR, 0) // opens both ends, so that no open or write blocks
		if err != nil {
			t.Fatal(err)
		}
		defer pipe.Close()
		if err := os.Symlink(roots+"/authority", "links/"+name); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"out", "links"} {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	before := state(t, roots)
	defer swap(t, "out", "links")()
	for i := range runs {
		name := "out/" + strconv.Itoa(i)
		if code, stderr := runsInto(t, nil, nil, "lint", "shop.yml", "-o", "json="+name); code != exitOK && code != exitUnknown {
			t.Fatalf("exit code %d:\n%s", code, stderr)
		}
		if after := state(t, roots); after != before {
			t.Fatalf("run %d changed what is root's:\n%s\nbefore:\n%s", i, after, before)
		}
	}
}
