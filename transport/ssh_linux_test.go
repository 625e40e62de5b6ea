package transport

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/internal/testbed"
)

// hashOfFile returns the SHA-256 of a file.
func hashOfFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return (&sendable{File: f}).hash()
}

// TestMain makes the test binary a portcheck that can be sent to a host.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "probe" {
		os.Exit(m.Run())
	}
	if err := serveProbe(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveProbe(args []string) error {
	flags := flag.NewFlagSet("probe", flag.ContinueOnError)
	lifetime := flags.Duration("for", 0, "")
	ready := flags.Bool("ready", false, "")
	unlink := flags.Bool("unlink", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *lifetime)
	defer cancel()
	if *unlink {
		if err := os.RemoveAll(filepath.Dir(executable())); err != nil {
			return err
		}
	}
	if *ready {
		fmt.Printf("\nportcheck-ready %d\n", wire.Version)
	}
	return wire.Serve(ctx, host.Local{}, os.Stdin, os.Stdout)
}

func executable() string {
	file, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return file
}

const sshTarget = "ssh://root@127.0.0.1"

// sshOptions returns options that reach a server. The server sets PATH and HOME.
func sshOptions(t *testing.T, s *testbed.SSHD, adjust func(*SSHOptions)) Options {
	t.Helper()
	o := SSHOptions{Identities: []string{s.UserKey}, KnownHosts: s.KnownHosts(t)}
	if adjust != nil {
		adjust(&o)
	}
	return Options{Lifetime: time.Minute, SSH: NewSSH(o, map[string]string{"HOME": t.TempDir()})}
}

// room creates a directory that every user can enter.
func room(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// program writes a script of /bin/sh and returns its path.
func program(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(room(t), name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// tools creates a directory with links to the programs that a host needs, except for
// one.
func tools(t *testing.T, missing string) string {
	t.Helper()
	dir := room(t)
	for _, tool := range []string{"sh", "cat", "id", "uname", "mktemp", "head", "gzip", "sha256sum", "chmod", "rm", "mkdir", "mv", "ls", "grep", "tail"} {
		path, err := exec.LookPath(tool)
		if err == nil && tool != missing {
			err = os.Symlink(path, filepath.Join(dir, tool))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSSHRunsWhatItSends(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	home := room(t)
	s := testbed.StartSSHD(t, "", "MaxSessions 1", "SetEnv HOME="+home+" TMPDIR="+home)
	o := sshOptions(t, s, nil)
	for range 2 {
		facts, err := probe(t, sshTarget, o)
		if err != nil || facts.Machine.BootID != (host.Local{}).Machine().BootID || facts.Machine.OS != "linux" {
			t.Errorf("%v, machine %+v", err, facts.Machine)
		}
	}
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("left on the host: %v, %v", left, err)
	}

	hash, err := hashOfFile(executable())
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(home, ".cache/portcheck", hash)
	o = sshOptions(t, s, func(o *SSHOptions) { o.AgentCache = true })
	for _, what := range []string{"new", "kept", "changed"} {
		old, _ := os.Stat(kept)
		if what == "changed" {
			if err := os.WriteFile(kept, []byte("#!/bin/sh\necho portcheck-evil\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := probe(t, sshTarget, o); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := hashOfFile(kept); err != nil || got != hash {
			t.Errorf("%s: the host keeps %s, %v", what, got, err)
		}
		if info, err := os.Stat(kept); err != nil || os.SameFile(info, old) != (what == "kept") {
			t.Errorf("%s: want the same file only if it was kept: %v", what, err)
		}
	}
}

func TestSSHRunsWhatIsInstalled(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	home := room(t)
	sudo := program(t, "sudo", `test "$1" = -n && shift && SUDO=yes exec "$@"`)
	s := testbed.StartSSHD(t, "", "SetEnv HOME="+home+" PATH="+filepath.Dir(sudo)+":/usr/bin:/bin")
	here := executable()
	calls := filepath.Join(room(t), "calls")
	for name, c := range map[string]struct {
		path string
		sudo bool
		want []string
	}{
		"ours":            {"exec " + here + ` "$@"`, false, nil},
		"by sudo":         {"test $SUDO && exec " + here + ` "$@"`, true, nil},
		"after a banner":  {"head -c 60000 /dev/zero | tr '\\000' x; echo; exec " + here + ` "$@"`, false, nil},
		"it ends":         {"exit 0", false, []string{"start: PATH (--remote-path) is not a portcheck executable that answers: it exited at once"}},
		"it fails":        {"echo 'no such flag' >&2; exit 2", false, []string{"start: PATH (--remote-path) is not a portcheck executable that answers: exit status 2: no such flag"}},
		"another version": {"echo portcheck-ready 1; exec cat", false, []string{`start: PATH (--remote-path) uses version "1" of the probe protocol, and this portcheck version ` + fmt.Sprint(wire.Version)}},
		"much else":       {"exec yes", false, []string{"start: PATH (--remote-path) is not a portcheck executable that answers: more than 65536 bytes of output without a reply"}},
		"another reply":   {"echo portcheck-hello Linux; exec cat", false, []string{`start: PATH (--remote-path) is not a portcheck executable that answers: unexpected reply "hello Linux"`}},
		"it dies later":   {fmt.Sprintf("echo portcheck-ready %d; read a; read a; read a; read a; read request; echo 'out of\n memory' >&2; exit 1", wire.Version), false, []string{"probe: the probe ended without an answer; stderr of the host: out of memory"}},
	} {
		installed := program(t, "port'check", `echo "$@" > `+calls+"\n"+c.path)
		_, err := probe(t, sshTarget, sshOptions(t, s, func(o *SSHOptions) { o.RemotePath, o.Sudo = installed, c.sudo }))
		for i := range c.want {
			c.want[i] = strings.ReplaceAll(c.want[i], "PATH", installed)
		}
		checkError(t, name, err, c.want...)
		if args, err := os.ReadFile(calls); err != nil || string(args) != "probe --ready --for 61s\n" {
			t.Errorf("%s: called with %q, %v", name, args, err)
		}
	}
	o := sshOptions(t, s, func(o *SSHOptions) { o.RemotePath = here })
	h, err := Open(t.Context(), sshTarget, o)
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Probe(canceled, host.Request{}); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("canceled: %v", err)
	}
	none := testbed.StartSSHD(t, "127.0.0.2:22", "MaxSessions 0")
	_, err = probe(t, "ssh://root@127.0.0.2", sshOptions(t, none, func(o *SSHOptions) { o.RemotePath = here }))
	if err == nil || !strings.HasPrefix(err.Error(), "session: can't open a session") {
		t.Errorf("no session: %v", err)
	}
}

// A host that never answers does not outlast the context.
func TestSSHHostsThatAreSilent(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "", "ForceCommand exec cat > /dev/null", "SetEnv HOME="+room(t))
	for name, path := range map[string]string{"sent": "", "installed": "/opt/portcheck"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := sshOptions(t, s, func(o *SSHOptions) { o.RemotePath = path })
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // enough for the login
			defer cancel()
			began := time.Now()
			_, err := Open(ctx, sshTarget, o)
			checkError(t, name, err, "start: no answer in time")
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// If no portcheck can run on a host, its files are read. The facts have the reason.
func TestSSHReadsFiles(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	noexec := room(t)
	if err := unix.Mount("tmpfs", noexec, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(noexec, unix.MNT_DETACH) })
	if err := unix.Mount(noexec, "/var/tmp", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	riscv := filepath.Dir(program(t, "uname", `test "$1" = -m && echo riscv64 || echo Linux riscv64`))
	broken := filepath.Join(room(t), "portcheck-linux-riscv64")
	if err := os.WriteFile(broken, []byte("\x7fELF\npath\tgithub.com/org/portcheck\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	badGzip := filepath.Dir(program(t, "gzip", "echo corrupt >&2; exit 1"))
	for i, c := range []struct {
		name, settings string
		adjust         func(*SSHOptions)
		arch           string
		reason         string
	}{
		{"another system", "MaxSessions 1\nSetEnv HOME=/nonexistent PATH=" + riscv + ":/usr/bin:/bin", func(o *SSHOptions) { o.AgentDir = "/nonexistent" }, "riscv64", "there is no portcheck executable for linux/riscv64 in /nonexistent (--agent-dir)"},
		{"an executable that is broken", "SetEnv HOME=/nonexistent PATH=" + riscv + ":/usr/bin:/bin", func(o *SSHOptions) { o.AgentDir = filepath.Dir(broken) }, "riscv64", "the portcheck executable could not be run on the host (exit status 12"},
		{"no head", "SetEnv HOME=/nonexistent PATH=" + tools(t, "head"), nil, "", `the host has no "head" command`},
		{"no uname", "SetEnv HOME=/nonexistent PATH=" + tools(t, "uname"), nil, "", "the host's system is unknown: uname does not run there"},
		{"no room", "SetEnv HOME=" + noexec + " TMPDIR=" + noexec + " PATH=/usr/bin:/bin", nil, "", "no directory of the host is writable and allows execution"},
		{"no gzip that works", "SetEnv HOME=/nonexistent PATH=" + badGzip + ":/usr/bin:/bin", nil, "", "the portcheck executable could not be unpacked on the host: corrupt"},
		{"a forced command", "ForceCommand " + program(t, "only", "case $SSH_ORIGINAL_COMMAND in cat*|id*) exec $SSH_ORIGINAL_COMMAND;; esac; echo not allowed >&2; exit 1"), nil, "", "the host does not run portcheck's commands: not allowed"},
	} {
		addr := fmt.Sprintf("127.0.0.%d:22", i+1)
		s := testbed.StartSSHD(t, addr, c.settings)
		o := sshOptions(t, s, c.adjust)
		facts, err := probe(t, fmt.Sprintf("ssh://root@127.0.0.%d", i+1), o)
		if err != nil || !strings.Contains(gaps(facts), c.reason) {
			t.Errorf("%s: %v, gaps %s", c.name, err, gaps(facts))
		}
		if facts.Machine.OS != "linux" || facts.Machine.UID != 0 || c.arch != "" && facts.Machine.Arch != c.arch {
			t.Errorf("%s: machine %+v", c.name, facts.Machine)
		}
		if c.adjust == nil {
			c.adjust = func(*SSHOptions) {}
		}
		o = sshOptions(t, s, func(o *SSHOptions) { c.adjust(o); o.Sudo = true })
		_, err = probe(t, fmt.Sprintf("ssh://root@127.0.0.%d", i+1), o)
		checkError(t, c.name+", by sudo", err, c.reason, "(with --sudo there is no fallback)")
	}
	for i, c := range []struct{ settings, want string }{
		{"ForceCommand exit 3", "start: the host does not run portcheck's commands: a forced command, no shell, or a startup file that exits, and the fallback, /proc/net/tcp, can't be read (exit status 3)"},
		{"ForceCommand exit 0", "start: the host does not run portcheck's commands: a forced command, no shell, or a startup file that exits, and the fallback, /proc/net/tcp, can't be read (its first line is missing)"},
		{"ForceCommand internal-sftp", "start: the host does not run portcheck's commands"},
		{"MaxSessions 0", "session: can't open a session"},
	} {
		s := testbed.StartSSHD(t, fmt.Sprintf("127.0.1.%d:22", i+1), c.settings)
		_, err := probe(t, fmt.Sprintf("ssh://root@127.0.1.%d", i+1), sshOptions(t, s, nil))
		checkError(t, c.settings, err, c.want)
	}
}

// If a host hangs up during the transfer, the error names that step.
func TestSSHHostsThatHangUp(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	command := program(t, "command", "")
	s := testbed.StartSSHD(t, "", "ForceCommand "+command)
	sent := sshOptions(t, s, func(o *SSHOptions) { o.Sudo = true })
	cached := sshOptions(t, s, func(o *SSHOptions) { o.Sudo, o.AgentCache = true, true })
	hello := `echo; echo "portcheck-hello $(uname -sm)"; `
	for _, c := range []struct{ script, want string }{
		{hello + "exit 1", "transfer: the host does not run portcheck's commands"},
		{hello + "read a; read a; read a; read a; read verb; echo portcheck-missing; exit 1", "transfer: "},
		{hello + "read a; read a; read a; read a; read verb; echo portcheck-missing; read verb; echo portcheck-send; exit 1", "transfer: "},
		{hello + "read a; read a; read a; read a; read verb; echo portcheck-run; echo refused >&2; exit 126", "transfer: the portcheck executable could not be run on the host (exit status 126): refused"},
		{hello + "read a; read a; read a; read a; read verb; echo portcheck-run; echo portcheck-end 7; exit 1", "transfer: the portcheck executable could not be run on the host (exit status 7)"},
	} {
		if err := os.WriteFile(command, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		for cache, o := range map[bool]Options{true: cached, false: sent} {
			for range 2 { // either a read or a write may notice that
				_, err := Open(t.Context(), sshTarget, o)
				want := c.want
				if !cache {
					want = "transfer: " // the script gets other lines then
				}
				checkError(t, fmt.Sprintf("%s, cache %v", c.script, cache), err, want, "(with --sudo there is no fallback)")
			}
		}
	}
}

// A line that can't be sent is an error.
func TestSendAfterTheEnd(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "", "SetEnv HOME="+room(t))
	target, err := config.ParseTarget(sshTarget)
	if err != nil {
		t.Fatal(err)
	}
	link, err := sshOptions(t, s, nil).SSH.dialer.Dial(t.Context(), target.SSH)
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	session, err := link.Start(t.Context(), "echo broken pipe >&2")
	if err == nil {
		err = session.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	b := newBootstrap(link, session, "")
	err = b.send(t.Context(), "kept x")
	checkError(t, "send", err, "the host does not run portcheck's commands: broken pipe")
	if !errors.As(err, new(cannotRunError)) {
		t.Errorf("%T: the files of the host are not read instead", err)
	}
	bin := &binary{func() (string, error) { return "x", nil }, func() ([]byte, error) { return []byte("x"), nil }}
	for _, keep := range []bool{true, false} {
		checkError(t, "run", b.runBinary(t.Context(), bin, keep), "the host does not run portcheck's commands: broken pipe")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.send(ctx, "kept x"); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
}
