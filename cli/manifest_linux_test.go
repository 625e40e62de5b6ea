package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// Of jobs that write different ports into one manifest at once, one is the first, and
// all others get an error.
func TestJobsThatWriteOneManifest(t *testing.T) {
	const text = "version: 1\napp: shop\nports:\n  - {name: web, port: 3000}\n"
	for range 20 {
		file := filepath.Join(t.TempDir(), "portcheck.yml")
		writeText(t, file, text)
		at := config.Position{File: file, Line: 4, Column: 23}
		a := &app{env: ci.Env{}, stderr: io.Discard}
		texts, err := a.mayWrite(t.Context(), []check.Need{{Port: config.Port{At: at, Name: "web", Ports: port.One(3000)}}}, &assignOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var jobs sync.WaitGroup
		var errs [8]error
		for i := range errs {
			jobs.Go(func() {
				errs[i] = a.writeManifests(t.Context(), check.Assignment{Ports: []check.AssignedPort{{Name: "web", Port: uint16(4000 + i), Source: at}}}, texts, true)
			})
		}
		jobs.Wait()
		wrote := -1
		for i, err := range errs {
			switch {
			case err == nil && wrote >= 0:
				t.Fatalf("jobs %d and %d have both written", wrote, i)
			case err == nil:
				wrote = i
			case !strings.Contains(err.Error(), "was edited while the ports were chosen"):
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if want := strings.Replace(text, "3000", fmt.Sprint(4000+wrote), 1); err != nil || string(got) != want {
			t.Fatalf("job %d has written, and the manifest is %q, %v", wrote, got, err)
		}
	}
}

// manifestsOf writes manifests that need a port of their own.
func manifestsOf(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chdir(dir); err != nil { // t.Chdir is not for parallel tests
		t.Fatal(err)
	}
	for i, name := range names {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		writeText(t, name, fmt.Sprintf("version: 1\napp: app%[1]d\nports:\n  - {name: web%[1]d, port: auto, range: %[2]d}\n", i, 7100+i))
	}
	return dir
}

// asNobody makes a command one of another user.
func asNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// notWritten checks that a run fails, leases nothing and changes no file.
func notWritten(t *testing.T, code int, message string, change func(*exec.Cmd), manifests ...string) {
	t.Helper()
	before := state(t, ".")
	got, stderr := runsInto(t, nil, change, append([]string{"assign", "--job", "j", "--write"}, manifests...)...)
	if got != code || !strings.Contains(stderr, message) {
		t.Errorf("exit code %d, want %d and %q:\n%s", got, code, message, stderr)
	}
	if after := state(t, "."); after != before {
		t.Errorf("%q: the files are now\n%s\nbefore:\n%s", message, after, before)
	}
}

// What belongs to a manifest and is not its text stays as it is.
func TestWriteKeepsWhatAManifestHas(t *testing.T) {
	t.Parallel()
	testbed.NeedUsers(t)
	if !testbed.Isolated(t) {
		return
	}
	manifestsOf(t, "a.yml", "dir/b.yml")
	if err := unix.Setxattr("a.yml", "user.note", []byte("mine"), 0); err != nil {
		testbed.Missing(t, "no extended attributes here: "+err.Error())
		return
	}
	// user::rw-, user:1234:r--, group::r--, mask::rw-, other::---
	acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xd2\x04\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")
	for name, err := range map[string]error{
		"chown":     os.Chown("a.yml", nobody, 4321),
		"acl":       unix.Setxattr("a.yml", accessList, acl, 0),
		"inherited": unix.Setxattr("dir", "system.posix_acl_default", acl, 0),
		"chmod":     os.Chmod("dir/b.yml", 0o604),
	} {
		if err != nil {
			testbed.Missing(t, "no "+name+" here: "+err.Error())
			return
		}
	}
	if code, stderr := runsInto(t, nil, nil, "assign", "--job", "j", "--write", "a.yml", "dir/b.yml"); code != exitOK || strings.Count(stderr, "wrote the ports") != 2 {
		t.Fatalf("exit code %d:\n%s", code, stderr)
	}
	mustInDir(t, ".", "release", "--all")
	for i, c := range []struct {
		name           string
		uid, gid, mode uint32
		acl            string
	}{{"a.yml", nobody, 4321, 0o660, string(acl)}, {"dir/b.yml", 0, 0, 0o604, ""}} {
		var stat unix.Stat_t
		if err := unix.Stat(c.name, &stat); err != nil {
			t.Fatal(err)
		}
		if stat.Uid != c.uid || stat.Gid != c.gid || stat.Mode&0o7777 != c.mode {
			t.Errorf("%s is now of %d:%d and has the mode %o", c.name, stat.Uid, stat.Gid, stat.Mode)
		}
		value := make([]byte, 100)
		n, _ := unix.Getxattr(c.name, accessList, value)
		if string(value[:max(n, 0)]) != c.acl {
			t.Errorf("%s has the list %q, want %q", c.name, value[:max(n, 0)], c.acl)
		}
		text, err := os.ReadFile(c.name)
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("port: %d, range", 7100+i)) {
			t.Errorf("%s: %q, %v", c.name, text, err)
		}
	}
	value := make([]byte, 100)
	if n, err := unix.Getxattr("a.yml", "user.note", value); err != nil || string(value[:n]) != "mine" {
		t.Errorf("the note is now %q, %v", value[:max(n, 0)], err)
	}
	if left, err := filepath.Glob(".portcheck-*"); err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

// What can't be written, or not as it was, is not written, and neither are the other
// manifests of the run.
func TestManifestsAreWrittenAllOrNone(t *testing.T) {
	t.Parallel()
	testbed.NeedUsers(t)
	if !testbed.Isolated(t) {
		return
	}
	dir := manifestsOf(t, "a.yml", "b.yml", "sub/c.yml", "sub/root.yml")
	for _, name := range []string{"a.yml", "b.yml", "sub/c.yml", "."} {
		if err := os.Chown(name, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm()&0o005 != 0o005 {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Link("b.yml", "more.yml"); err != nil {
		t.Fatal(err)
	}
	notWritten(t, exitUsage, "portcheck: b.yml: --write replaces a manifest by a new file, and this one has 2 names (hard links)", nil, "a.yml", "b.yml")
	if err := os.Remove("more.yml"); err != nil {
		t.Fatal(err)
	}
	notWritten(t, exitUnknown, "portcheck: the ports in sub/c.yml could not be written: permission denied", asNobody, "a.yml", "sub/c.yml")
	if err := os.Chown("sub", nobody, nobody); err != nil {
		t.Fatal(err)
	}
	notWritten(t, exitUnknown, "portcheck: the ports in sub/root.yml could not be written: its owner and group (0:0) can't be kept: operation not permitted", asNobody, "a.yml", "sub/root.yml")
	if out := mustInDir(t, ".", "leases"); strings.Contains(out, "7100") {
		t.Errorf("a port was leased:\n%s", out)
	}

	// Only the rename shows that a file is one that is mounted.
	mounted := func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"unshare", "--mount", "bash", "-c", `mount --bind b.yml b.yml && exec -a portcheck /proc/$PPID/exe "$@"`, "bash"}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/unshare"
	}
	notWritten(t, exitUnknown, "portcheck: the ports in b.yml could not be written: device or resource busy", mounted, "a.yml", "b.yml", "sub/c.yml")
	mustInDir(t, ".", "release", "--all")
}

// Of two jobs that have both read a manifest, one may replace it before the other takes
// down its text: then the other has to read it again.
func TestManifestIsReplacedAfterItWasRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "portcheck.yml")
	const text = "version: 1\napp: shop\nports:\n  - {name: web, port: auto, range: 3000-3100}\n"
	for name, replace := range map[string]func(){
		"by a new file": func() {
			writeText(t, file+".new", strings.Replace(text, "auto", "3007", 1))
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		},
		"in place": func() { writeText(t, file, strings.Replace(text, "auto", "3007", 1)) },
	} {
		writeText(t, file, text)
		a := &app{env: ci.Env{}, stderr: io.Discard}
		o := &assignOptions{connectOptions: connectOptions{evidence: "full", timeout: patience, sshOptions: sshOptions{client: "auto"}}}
		needs, _, err := a.readAssignNeeds(t.Context(), []string{file}, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.mayWrite(t.Context(), needs, o); err != nil {
			t.Errorf("as it was: %v", err)
		}
		replace()
		if _, err := a.mayWrite(t.Context(), needs, o); err == nil || !strings.Contains(err.Error(), "was edited while it was read") {
			t.Errorf("replaced %s: %v", name, err)
		}
	}
}

// Of jobs that write one manifest at once, one alone replaces what all have read.
func TestWriteAtOnce(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "portcheck.yml")
	for range often(6) {
		writeText(t, file, "version: 1\napp: shop\nports:\n  - {name: web, port: auto, range: 7000-7999}\n  - {name: api, port: auto, range: 7000-7999}\n")
		var jobs sync.WaitGroup
		var got [8]check.Assignment
		for i := range got {
			jobs.Go(func() {
				out, err := inDir(dir, nil, "assign", "-q", "--write", "-f", "json", "--job", fmt.Sprint("j", i))
				switch {
				case err == nil:
					err = json.Unmarshal([]byte(out), &got[i])
				case strings.Contains(err.Error(), "exit status 3") && strings.Contains(err.Error(), "was edited while"),
					strings.Contains(err.Error(), "gets no port"): // it has read another's
					return
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		jobs.Wait()
		// Who comes later reads the ports of the first, and has others instead.
		for _, need := range []int{0, 1} {
			first := -1
			for i, a := range got {
				switch {
				case len(a.Ports) == 0 || a.Ports[need].Declared != 0:
				case first >= 0:
					t.Errorf("jobs %d and %d have both replaced auto: %+v, %+v", first, i, got[first].Ports, a.Ports)
				default:
					first = i
				}
			}
		}
		mustInDir(t, dir, "release", "--all")
	}
}
