package overssh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestHostThatRunsNothingOfOurs checks that the verdict comes from the files of a
// host where portcheck can't run, and that the report has the reason.
func TestHostThatRunsNothingOfOurs(t *testing.T) {
	if !isolated(t) {
		return
	}
	testbed.Python(t, holders)
	other := filepath.Dir(riscvUname(t))
	small := mount(t, "size=64k", "full")
	whole := mount(t, "size=16k", "whole")
	if err := os.WriteFile(filepath.Join(whole, "ballast"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	noexec := mount(t, "noexec", "noexec")
	only := filepath.Join(t.TempDir(), "only-cat")
	if err := os.WriteFile(only, []byte("#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in \"cat /proc/\"*) exec $SSH_ORIGINAL_COMMAND;; *) echo not allowed >&2; exit 1;; esac\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		setting string
		reason  string
		logins  int
	}{
		{"another architecture", "SetEnv PATH=" + other + ":/usr/bin:/bin HOME=/nonexistent", "there is no portcheck executable for linux/riscv64", 1},
		{"noexec", homes(noexec), "mounted noexec", 1},
		{"a full disk", homes(whole), "full", 1},
		{"a disk that fills up", homes(small), "could not be unpacked on the host: gzip: stdout: No space left on device", 1},
		{"a forced command", "ForceCommand " + only, "the host does not run portcheck's commands: not allowed", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testbed.StartSSHD(t, "127.0.0.1:2200", c.setting)
			temp := root(t)
			r := portcheck(t, []string{"TMPDIR=" + temp}, append([]string{"-f", "json", "-t", "ssh://root@127.0.0.1:2200", "--range", "20000-20010", "-p", "8080", "-p", "8900"}, reach(t, s)...)...)
			got := parse(t, r)
			if r.code != 1 || len(got.Results) != 2 {
				t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			for i, want := range []string{"in-use", "free"} {
				x := got.Results[i]
				if x.Status != want || x.Method != "table" || len(x.Alternatives) > 0 {
					t.Errorf("%+v", x)
				}
			}
			if !strings.Contains(r.stdout, c.reason) || !strings.Contains(r.stdout, "degraded") {
				t.Errorf("no word of %q:\n%s", c.reason, r.stdout)
			}
			if got := logins(t, s); len(got) != c.logins {
				t.Errorf("%d logins, want %d", len(got), c.logins)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left here: %v, %v", left, err)
			}
			nothingLeft(t, c.name)
		})
	}
	t.Run("a forced command, and a ControlPath", func(t *testing.T) {
		s := testbed.StartSSHD(t, "127.0.0.1:2200", "ForceCommand "+only)
		// With flags for keys and known hosts, a ControlPath has no effect.
		config := write(t, "config", fmt.Sprintf("ControlPath %s\nIdentityFile %s\nUserKnownHostsFile %s\n", filepath.Join(t.TempDir(), "c"), s.UserKey, s.KnownHosts(t)))
		r := portcheck(t, nil, "--ssh-config", config, "-t", "ssh://root@127.0.0.1:2200", "-p", "8900")
		if got := logins(t, s); r.code != 0 || len(got) < 3 {
			t.Errorf("exit code %d, %d logins: a master of our own was started\n%s%s", r.code, len(got), r.stdout, r.stderr)
		}
	})
	t.Run("and no /proc/net", func(t *testing.T) {
		s := testbed.StartSSHD(t, "127.0.0.1:2200", "ForceCommand /bin/false")
		r := portcheck(t, nil, append([]string{"-t", "ssh://root@127.0.0.1:2200", "-p", "8080"}, reach(t, s)...)...)
		if r.code != 3 || !strings.Contains(r.stdout, "could not be checked: start: the host does not run portcheck's commands") {
			t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	})
}

// homes returns a setting that puts all directories for our program on one disk.
func homes(dir string) string {
	return "SetEnv TMPDIR=" + dir + " HOME=" + dir
}

// mount mounts a tmpfs and also binds it to /var/tmp.
func mount(t *testing.T, options, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-t", "tmpfs", "-o", options, "tmpfs", dir}, {"--bind", dir, "/var/tmp"}} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "/var/tmp", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return dir
}
