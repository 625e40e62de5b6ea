package overssh

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// script writes a shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	file := write(t, "script", "#!/bin/sh\n"+text)
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestRemotePathWithoutAPortcheck checks that a --remote-path which is not a portcheck of
// this version is reported at once, with the step.
func TestRemotePathWithoutAPortcheck(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	in := reach(t, s)
	for _, c := range []struct {
		name, path string
		reason     string // after the path
	}{
		{"ends", "/bin/true", "is not a portcheck executable that answers: it exited at once"},
		{"fails", "/bin/false", "is not a portcheck executable that answers: exit status 1"},
		{"another program", "/bin/cat", "is not a portcheck executable that answers: exit status 1: "},
		{"no file", "/nonexistent/portcheck", "is not a portcheck executable that answers: exit status 127: "},
		{"a directory", "/usr/bin", "is not a portcheck executable that answers: exit status 126: "},
		{"not executable", write(t, "portcheck", "#!/bin/sh\n"), "is not a portcheck executable that answers: exit status 126: "},
		{"a name that is a command", "/bin/true; echo portcheck-ready 4; true '", "is not a portcheck executable that answers: exit status 127: "},
		{"another version", script(t, "echo portcheck-ready 1; exec cat"), `uses version "1" of the probe protocol, and this portcheck version 4: use the same release at both ends`},
		{"an old one", script(t, "echo 'unknown flag: --ready' >&2; exit 2"), "is not a portcheck executable that answers: exit status 2: unknown flag: --ready"},
		{"garbage", script(t, `exec head -c 1000000 /dev/urandom`), "is not a portcheck executable that answers: "},
		{"garbage without end", script(t, `exec cat /dev/urandom`), "is not a portcheck executable that answers: more than 65536 bytes of output without a reply"},
		{"control characters", script(t, `printf '\033[2J\n\033[31m' >&2; exit 3`), "is not a portcheck executable that answers: exit status 3: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := portcheck(t, nil, append([]string{"-t", "ssh://root@127.0.0.1", "-p", "8080", "--remote-path", c.path}, in...)...)
			r.checkUnknown(t, "could not be checked: start: "+c.path+" (--remote-path) "+c.reason)
			if r.took > 8*time.Second {
				t.Errorf("it took %s", r.took)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		r := portcheck(t, nil, append([]string{"-t", "ssh://root@127.0.0.1", "-p", "8080", "--timeout", "2s", "--remote-path", script(t, "exec cat")}, reach(t, s)...)...)
		r.checkUnknown(t, "could not be reached within 2s (--timeout): start: no answer in time")
		nothingLeft(t, "silence")
	})
}

// TestAgentCache checks that the host keeps the executable, and that nothing that
// replaced it is run.
func TestAgentCache(t *testing.T) {
	if !isolated(t) {
		return
	}
	home := t.TempDir()
	store := filepath.Join(home, ".cache/portcheck")
	s := testbed.StartSSHD(t, "", "SetEnv HOME="+home)
	c := startCutter(t, s.Addr, -1, -1)
	defer c.Close()
	args := []string{"-f", "json", "-t", "ssh://root@127.0.0.1:2222", "-p", "8080", "--agent-cache", "-i", s.UserKey, "--known-hosts", s.KnownHosts(t, "[127.0.0.1]:2222")}
	check := func(what string, sends bool) {
		t.Helper()
		before := c.up.Load()
		r := portcheck(t, nil, args...)
		if got := parse(t, r); r.code != 0 || got.Results[0].Method != "bind+table" {
			t.Errorf("%s: exit code %d\n%s%s", what, r.code, r.stdout, r.stderr)
		}
		if sent := c.up.Load() - before; sent > 500_000 != sends {
			t.Errorf("%s: %d bytes were sent", what, sent)
		}
		nothingLeft(t, what)
	}
	check("the first run", true)
	names := keptNames(t, store)
	if len(names) != 1 {
		t.Fatalf("the host keeps %q", names)
	}
	kept := filepath.Join(store, names[0])
	if info, err := os.Stat(kept); err != nil || info.Mode() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := os.Stat(store); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	check("the second run", false)

	// Two sessions at once can leave a stamp that is newer than its directory.
	past := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(kept+".ok", past, past); err != nil {
		t.Fatal(err)
	}
	check("a stamp newer than its directory", false)
	if info, err := os.Stat(kept + ".ok"); err != nil || info.ModTime().Unix() != past.Unix() {
		t.Errorf("the executable was hashed again: %v, %v", info, err)
	}

	good, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	sound := func(what string) {
		t.Helper()
		info, err := os.Lstat(kept)
		text, failed := os.ReadFile(kept)
		if err := errors.Join(err, failed); err != nil || !info.Mode().IsRegular() || string(text) != string(good) {
			t.Errorf("%s: the host keeps %v, %v", what, info, err)
		}
	}
	mark := filepath.Join(home, "was-run")
	evil := script(t, "touch "+mark+"\n")
	elsewhere := filepath.Join(home, "elsewhere")
	for _, x := range []struct {
		what string
		do   func() error
	}{
		{"tampered with", func() error { return os.WriteFile(kept, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700) }},
		{"tampered with, and its date set back", func() error {
			return errors.Join(os.WriteFile(kept, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700), os.Chtimes(kept, past, past))
		}},
		{"replaced by an older file", func() error {
			old := filepath.Join(store, "portcheck-old")
			return errors.Join(os.WriteFile(old, []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o700), os.Chtimes(old, past, past), os.Rename(old, kept))
		}},
		{"a link to another", func() error { return errors.Join(os.Remove(kept), os.Symlink(evil, kept)) }},
		{"a link to the same", func() error { return errors.Join(os.Rename(kept, elsewhere), os.Symlink(elsewhere, kept)) }},
		{"somebody else's", func() error { return os.Chown(kept, 12345, 12345) }},
		{"a directory", func() error { return errors.Join(os.Remove(kept), os.MkdirAll(filepath.Join(kept, "x"), 0o700)) }},
	} {
		if err := x.do(); err != nil {
			t.Fatal(err)
		}
		check(x.what, true)
		sound(x.what)
		check("after one "+x.what, false)
	}
	future := time.Now().Add(24 * time.Hour)
	for i := range 4 { // of other releases, with dates of a clock that was ahead
		other := filepath.Join(store, strings.Repeat(strconv.Itoa(i), 64))
		if err := errors.Join(os.WriteFile(other, nil, 0o700), os.Chtimes(other, future, future)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(kept), syscall.Mkfifo(kept, 0o700)); err != nil {
		t.Fatal(err)
	}
	check("a pipe, and files of the future", true)
	sound("a pipe, and files of the future")
	if names := keptNames(t, store); len(names) != 3 {
		t.Errorf("the host keeps %q", names)
	}
	check("the last run", false)
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was in its place has run (%v)", err)
	}

	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		old := filepath.Join(store, strings.Repeat(fmt.Sprint(i), 64))
		when := time.Now().Add(-time.Duration(i+1) * time.Hour)
		if err := errors.Join(os.WriteFile(old, nil, 0o700), os.Chtimes(old, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	check("with old ones", true)
	names = keptNames(t, store)
	if len(names) != 3 || !slices.Contains(names, strings.Repeat("0", 64)) || !slices.Contains(names, strings.Repeat("1", 64)) {
		t.Errorf("of the old ones the host keeps %q", names)
	}
	// A directory that others may change is not used, nor one behind a link.
	if err := os.Chmod(store, 0o777); err != nil {
		t.Fatal(err)
	}
	check("a directory of mode 777", true)
	if err := errors.Join(os.Chmod(store, 0o700), os.Rename(store, store+".old"), os.Symlink(store+".old", store)); err != nil {
		t.Fatal(err)
	}
	check("a linked directory", true)
	if err := errors.Join(os.Remove(store), os.Rename(store+".old", store)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(store, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	check("somebody else's directory", true)
}

// keptNames returns the names of the executables in a cache directory. A file that
// says that one was hashed is only beside that one.
func keptNames(t *testing.T, store string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name, found := strings.CutSuffix(f.Name(), ".ok"); !found {
			names = append(names, name)
		} else if !slices.Contains(names, name) {
			t.Errorf("%s is left", f.Name())
		}
	}
	return names
}

// TestSudo checks that --sudo does what sudoers allows and reports what it does
// not.
func TestSudo(t *testing.T) {
	if !isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	if _, err := exec.LookPath("sudo"); err != nil {
		testbed.Missing(t, "needs sudo")
	}
	testbed.Python(t, holders)
	dir := root(t)
	users(t, dir, map[string]string{"one": "/bin/bash", "all": "/bin/sh", "none": "/bin/sh"})
	there := install(t, dir)
	replace(t, "/etc/sudoers", "Defaults secure_path=/usr/sbin:/usr/bin\none ALL=(root) NOPASSWD: "+there+" probe --ready --for *\nall ALL=(root) NOPASSWD: ALL\n", 0o440)
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	replace(t, "/etc/hosts", "127.0.0.1 localhost "+name+"\n", 0o644)
	s := testbed.StartSSHD(t, "", "SetEnv LANG=C")
	for _, c := range []struct {
		user   string
		args   []string
		holder bool
		reason string // "" if there is a verdict
	}{
		{"one", nil, false, ""},
		{"one", []string{"--sudo", "--remote-path", there}, true, ""},
		{"one", []string{"--sudo"}, false, "could not be checked: transfer: the portcheck executable could not be run on the host (exit status 1): sudo: a password is required (with --sudo there is no fallback)"},
		{"one", []string{"--sudo", "--remote-path", "/bin/true"}, false, "could not be checked: start: /bin/true (--remote-path) is not a portcheck executable that answers: exit status 1: sudo: a password is required"},
		{"all", []string{"--sudo"}, true, ""},
		{"none", []string{"--sudo"}, false, "could not be checked: transfer: the portcheck executable could not be run on the host (exit status 1): sudo: a password is required (with --sudo there is no fallback)"},
	} {
		what := fmt.Sprintf("%s %q", c.user, c.args)
		args := append(append([]string{"-t", "ssh://" + c.user + "@127.0.0.1", "-p", "8080"}, reach(t, s)...), c.args...)
		if c.reason != "" {
			portcheck(t, nil, args...).checkUnknown(t, c.reason)
		} else {
			r := portcheck(t, nil, append(args, "-f", "json")...)
			got := parse(t, r)
			if named := len(got.Results) == 1 && got.Results[0].Status == "in-use" && got.Results[0].Holders[0].PID > 0; r.code != 1 || named != c.holder {
				t.Errorf("%s: exit code %d, holder %t\n%s%s", what, r.code, named, r.stdout, r.stderr)
			}
		}
		nothingLeft(t, what)
	}

	// A lease of root's keeper outlives sudo, and only root can end it.
	lease := func(code int, command ...string) run {
		t.Helper()
		args := append(command, "-t", "ssh://one@127.0.0.1", "--remote-path", there)
		r := portcheck(t, nil, append(args, reach(t, s)...)...)
		if r.code != code {
			t.Errorf("%q: exit code %d, want %d\n%s%s", command, r.code, code, r.stdout, r.stderr)
		}
		return r
	}
	lease(0, "assign", "--sudo", "--job", "deploy", "-p", "8090")
	nothingLeft(t, "assign by sudo")
	if r := lease(1, "assign", "--job", "deploy", "-p", "8090"); !strings.Contains(r.stderr, "tcp 8090 is leased to deploy (held by pid ") || !strings.Contains(r.stderr, "user root)") {
		t.Error(r.stderr)
	}
	if r := lease(0, "release", "--job", "deploy"); r.stderr != "portcheck: there is no lease of this job that this user may end; `portcheck leases` lists all\n" { // it is another user's
		t.Error(r.stderr)
	}
	lease(0, "release", "--sudo", "--job", "deploy")
	if r := portcheck(t, nil, "leases"); strings.Contains(r.stdout, "deploy") {
		t.Error(r.stdout)
	}
}

// TestAgentDir checks that the executable for another system is taken from
// --agent-dir, or that the report names the directory where it is missing.
func TestAgentDir(t *testing.T) {
	if !isolated(t) {
		return
	}
	other := filepath.Dir(riscvUname(t))
	s := testbed.StartSSHD(t, "", "SetEnv PATH="+other+":/usr/bin:/bin HOME="+t.TempDir())
	binary, err := os.ReadFile(testbed.Program())
	if err != nil {
		t.Fatal(err)
	}
	empty, file, directory, right, broken := t.TempDir(), write(t, "file", ""), t.TempDir(), t.TempDir(), t.TempDir()
	const name = "portcheck-linux-riscv64"
	foreign := append([]byte(nil), binary...)
	foreign[18] = 243 // e_machine: RISC-V
	if err := errors.Join(
		os.Mkdir(filepath.Join(directory, name), 0o755),
		os.WriteFile(filepath.Join(right, name), binary, 0o644),
		os.WriteFile(filepath.Join(broken, name), foreign, 0o644),
	); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, method, reason string }{
		{right, "bind+table", ""},
		{empty, "table", "there is no portcheck executable for linux/riscv64 in " + empty + " (--agent-dir)"},
		{"/nonexistent", "table", "there is no portcheck executable for linux/riscv64 in /nonexistent (--agent-dir)"},
		{file, "table", "(--agent-dir)"},
		{directory, "table", filepath.Join(directory, name) + " is not a regular file"},
		{broken, "table", "the portcheck executable could not be run on the host (exit status 126)"},
	} {
		r := portcheck(t, nil, append([]string{"-f", "json", "-t", "ssh://root@127.0.0.1", "-p", "8900", "--agent-dir", c.dir}, reach(t, s)...)...)
		if got := parse(t, r); r.code != 0 || got.Results[0].Method != c.method || !strings.Contains(r.stdout, c.reason) {
			t.Errorf("%s: exit code %d, want %s for %q\n%s%s", c.dir, r.code, c.method, c.reason, r.stdout, r.stderr)
		}
		nothingLeft(t, c.dir)
	}
}

// TestFilesThatCantBeUsed checks that an error in a file of the flags is reported
// before anything connects to the host.
func TestFilesThatCantBeUsed(t *testing.T) {
	slow(t)
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	public := write(t, "key.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4mbJyLqBFPXUVGIkMf0iEIzoUlLbvVNl4YnQXTaPBx x\n")
	known := write(t, "known_hosts", "")
	pipe := filepath.Join(t.TempDir(), "pipe") // nobody writes to it
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		reason string
	}{
		{[]string{"-i", "/nonexistent/key"}, "authentication: /nonexistent/key can't be read: no such file or directory"},
		{[]string{"-i", filepath.Dir(public)}, "authentication: " + filepath.Dir(public) + " can't be read: is a directory"},
		{[]string{"-i", public}, "authentication: " + public + " is a public key: the private one is needed"},
		{[]string{"--known-hosts", "/nonexistent/known"}, "host key: the known_hosts file /nonexistent/known can't be read: no such file or directory"},
		{[]string{"--known-hosts", filepath.Dir(known)}, "host key: the known_hosts file " + filepath.Dir(known) + " can't be read: is a directory"},
		{[]string{"-i", "/dev/zero"}, "authentication: /dev/zero is larger than 1 MiB"},
		{[]string{"--known-hosts", "/dev/zero"}, "host key: the known_hosts file /dev/zero is larger than 16 MiB"},
		{[]string{"-i", pipe, "--timeout", "1s"}, "the target could not be reached within 1s (--timeout): authentication: the keys " + pipe + " could not be read in time"},
		{[]string{"--known-hosts", pipe, "--timeout", "1s"}, "the target could not be reached within 1s (--timeout): host key: the known_hosts files " + pipe + " could not be read in time"},
	} {
		portcheck(t, []string{"PORTCHECK_SSH_KNOWN_HOSTS=#"}, append([]string{"--ssh", "builtin", "-t", "ssh://" + l.Addr().String(), "-p", "8080"}, c.args...)...).checkUnknown(t, "could not be checked: "+c.reason)
	}
	if from := nextClient(t, l); from != "" {
		t.Errorf("%s connected to the host", from)
	}
}
