package overssh

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// TestChoiceOfTheClient checks which client connects, from the version that it sends,
// and what an error says where an alias can't be resolved.
func TestChoiceOfTheClient(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	versions := make(chan string, 1)
	testbed.Serve(t, "tcp", "127.0.0.1:1001", func(c net.Conn) {
		_, _ = c.Write([]byte("SSH-2.0-x\r\n"))
		line, _ := bufio.NewReader(c).ReadString('\n')
		versions <- line
	})
	fake := root(t)
	if err := os.WriteFile(filepath.Join(fake, "ssh"), []byte("#!/bin/sh\necho Dropbear v2022.83 >&2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	manifest := write(t, "portcheck.yml", "version: 1\ntargets: {app: \"ssh://root@127.0.0.1:1001\"}\nports: [{name: web, port: 8080}]\n")
	flag := []string{"-t", "ssh://root@127.0.0.1:1001", "-p", "8080"}
	untrusted := []string{"GITHUB_ACTIONS=true", "GITHUB_EVENT_NAME=pull_request"}
	for name, c := range map[string]struct {
		env, args []string
		openssh   bool
		because   string // in the error for an alias
	}{
		"by default":           {nil, flag, true, ""},
		"auto":                 {nil, append([]string{"--ssh", "auto"}, flag...), true, ""},
		"a manifest":           {nil, []string{manifest}, true, ""},
		"builtin":              {nil, append([]string{"--ssh", "builtin"}, flag...), false, "--ssh is builtin, reads no ssh_config(5): name the host by its full name or address, or use --ssh openssh"},
		"known hosts as text":  {[]string{"PORTCHECK_SSH_KNOWN_HOSTS=#"}, flag, false, "PORTCHECK_SSH_KNOWN_HOSTS holds a text"},
		"no ssh on PATH":       {[]string{"PATH=" + t.TempDir()}, flag, false, "there is no ssh on PATH, reads no ssh_config(5): name the host by its full name or address, or install OpenSSH's ssh"},
		"another ssh":          {[]string{"PATH=" + fake + ":" + os.Getenv("PATH")}, flag, false, fake + `/ssh is not OpenSSH: its version is "Dropbear`},
		"a pull request":       {untrusted, flag, false, "this job is for a pull request (GITHUB_EVENT_NAME=pull_request)"},
		"one with a manifest":  {untrusted, []string{"--allow-manifest-targets", manifest}, false, ""},
		"known hosts in files": {[]string{"PORTCHECK_SSH_KNOWN_HOSTS=#"}, append([]string{"--known-hosts", write(t, "known", "")}, flag...), true, ""},
	} {
		r := portcheck(t, c.env, c.args...)
		if r.code != 3 {
			t.Errorf("%s: exit code %d\n%s%s", name, r.code, r.stdout, r.stderr)
		}
		if got := <-versions; strings.HasPrefix(got, "SSH-2.0-OpenSSH_") != c.openssh || strings.HasPrefix(got, "SSH-2.0-portcheck") == c.openssh {
			t.Errorf("%s: %q", name, got)
		}
		if c.because != "" {
			args := slices.Clone(c.args)
			args[slices.Index(args, "-t")+1] = "ssh://nowhere.invalid"
			if r := portcheck(t, c.env, args...); !strings.Contains(r.stdout, "could not be checked: resolve: ") || !strings.Contains(r.stdout, c.because) {
				t.Errorf("%s: want %q:\n%s", name, c.because, r.stdout)
			}
		}
	}
	config := write(t, "config", "")
	for _, c := range []struct {
		env, args []string
		code      int
		says      string
	}{
		{untrusted, []string{"--ssh", "openssh"}, 2, "--ssh openssh is refused, because this job is for a pull request (GITHUB_EVENT_NAME=pull_request), and only the built-in client checks the addresses that it dials"},
		{[]string{"PORTCHECK_SSH_KEY=x"}, []string{"--ssh", "openssh"}, 2, "--ssh openssh can't use the text in PORTCHECK_SSH_KEY"},
		{nil, []string{"--ssh", "dropbear"}, 2, `--ssh "dropbear": want auto, openssh or builtin`},
		{nil, []string{"--ssh", "builtin", "--ssh-config", config}, 2, "--ssh-config has no effect on the built-in client, which reads no ssh_config(5): use --ssh openssh"},
		{untrusted, []string{"--ssh-config", config}, 3, "config: --ssh-config needs OpenSSH's ssh, but this job is for a pull request"},
		{[]string{"PATH=" + fake}, []string{"--ssh-config", config}, 3, "config: --ssh-config needs OpenSSH's ssh, but " + fake + "/ssh is not OpenSSH"},
		{[]string{"PATH=" + t.TempDir()}, []string{"--ssh", "openssh"}, 3, "config: there is no ssh on PATH"},
		{nil, []string{"--ssh-config", "/nonexistent"}, 3, "config: --ssh-config: "},
		{nil, []string{"--ssh-config", "/proc/kmsg"}, 3, "config: --ssh-config: /proc/kmsg is not a regular file"},
		{nil, []string{"--ssh-config", "/dev/zero"}, 3, "config: --ssh-config: /dev/zero is not a regular file"},
	} {
		if r := portcheck(t, c.env, append(c.args, flag...)...); r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.says) {
			t.Errorf("%q: exit code %d, want %q\n%s%s", c.args, r.code, c.says, r.stdout, r.stderr)
		}
	}
}

// TestSSHThatHangs checks that an ssh without an answer costs seconds, not the run.
func TestSSHThatHangs(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	hangs := root(t)
	if err := os.WriteFile(filepath.Join(hangs, "ssh"), []byte("#!/bin/sh\nsleep 1234.6\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := portcheck(t, []string{"PATH=" + hangs + ":" + os.Getenv("PATH")}, "-t", "ssh://nowhere.invalid", "-p", "8080")
	r.checkUnknown(t, "could not be checked: resolve: ")
	r.checkUnknown(t, "which is used because '"+hangs+"/ssh -V' did not end within 4s, reads no ssh_config(5)")
	if r.took > 9*time.Second {
		t.Errorf("it took %s", r.took)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // it was killed, and ends soon
		if out, err := exec.Command("pgrep", "-fx", "sleep 1234.6").Output(); err != nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("a child stays: %s", out)
		}
	}
}
