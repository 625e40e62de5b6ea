package overssh

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

const canary = "canary-7f3a9c"

// TestHostThatCannotBeReached checks that each failure to reach a host is one line
// with the step, within the timeout and with exit code 3, and shows no secret.
func TestHostThatCannotBeReached(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	known := s.KnownHosts(t)
	testbed.Serve(t, "tcp", "127.0.0.1:1001", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) // silent
	testbed.Serve(t, "tcp", "127.0.0.1:1002", func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("\x1b[31mgarbage\x00", 4096)) })
	testbed.Serve(t, "tcp", "127.0.0.1:1003", func(c net.Conn) { // drips
		for {
			if _, err := io.WriteString(c, "S"); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	agent := testbed.ListenUnix(t)
	testbed.Accept(t, agent, func(net.Conn) {}) // closes each connection at once
	public, err := os.ReadFile(s.Key(t, "other") + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	changed := write(t, "known_hosts", "127.0.0.1 "+string(public))
	own, err := os.ReadFile(s.HostKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	revoked := write(t, "known_hosts", "@revoked * "+string(own))
	locked := s.Key(t, "locked", "-N", canary, "-C", canary)
	key := s.Key(t, "stranger", "-C", canary)
	stranger, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, target string
		args, env    []string
		says         []string
	}{
		{
			"unknown host key", "root@127.0.0.1",
			[]string{"-i", s.UserKey, "--known-hosts", write(t, "known_hosts", "")},
			nil,
			[]string{"host key: ", "unknown", "SHA256:", "127.0.0.1 ssh-ed25519 AAAA"},
		},
		{"changed host key", "root@127.0.0.1", []string{"-i", s.UserKey, "--known-hosts", changed}, nil, []string{"host key: ", "changed", "SHA256:", changed + ":1"}},
		{"revoked host key", "root@127.0.0.1", []string{"-i", s.UserKey, "--known-hosts", revoked}, nil, []string{"host key: ", "revoked"}},
		{"wrong user", "nobody-of-that-name@127.0.0.1", []string{"-i", s.UserKey, "--known-hosts", known}, nil, []string{"authentication: ", "nobody-of-that-name"}},
		{"another key", "root@127.0.0.1", []string{"--known-hosts", known}, []string{"PORTCHECK_SSH_KEY=" + string(stranger)}, []string{"authentication: "}},
		{"locked key", "root@127.0.0.1", []string{"-i", locked, "--known-hosts", known}, nil, []string{"authentication: ", "PASSPHRASE"}},
		{"wrong passphrase", "root@127.0.0.1", []string{"-i", locked, "--known-hosts", known}, []string{"PORTCHECK_SSH_PASSPHRASE=not-the-" + canary}, []string{"authentication: ", "passphrase"}},
		{"text that is no key", "root@127.0.0.1", []string{"--known-hosts", known}, []string{"PORTCHECK_SSH_KEY=" + canary}, []string{"authentication: ", "PORTCHECK_SSH_KEY"}},
		{"failing agent", "root@127.0.0.1", []string{"--known-hosts", known}, []string{"SSH_AUTH_SOCK=" + agent.Addr().String(), "HOME=/nonexistent"}, []string{"authentication: ", "agent"}},
		{"silence", "root@127.0.0.1:1001", []string{"-i", s.UserKey, "--known-hosts", known, "--timeout", "2s"}, nil, []string{"the target could not be reached within 2s (--timeout): handshake: "}},
		{"garbage", "root@127.0.0.1:1002", []string{"-i", s.UserKey, "--known-hosts", known}, nil, []string{"handshake: "}},
		{"dripping", "root@127.0.0.1:1003", []string{"-i", s.UserKey, "--known-hosts", known, "--timeout", "2s"}, nil, []string{"the target could not be reached within 2s (--timeout): handshake: "}},
		{"no such name", "root@no-such-host.invalid", []string{"-i", s.UserKey, "--known-hosts", known}, nil, []string{"resolve: ", "no-such-host.invalid"}},
		{"nobody listens", "root@127.0.0.1:1004", []string{"-i", s.UserKey, "--known-hosts", known}, nil, []string{"connect: ", "refused"}},
		{"metadata", "root@169.254.169.254", []string{"-i", s.UserKey, "--known-hosts", known}, nil, []string{"connect: ", "169.254.169.254"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := portcheck(t, c.env, append([]string{"--ssh", "builtin", "-t", "ssh://" + c.target, "-p", "8080"}, c.args...)...)
			lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
			if r.code != 3 || r.stderr != "" || !strings.Contains(lines[0], "could not be checked: "+c.says[0]) {
				t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			for _, word := range c.says {
				if !strings.Contains(lines[0], word) {
					t.Errorf("no word of %q in:\n%s", word, lines[0])
				}
			}
			if r.took > 12*time.Second {
				t.Errorf("it took %s", r.took)
			}
			for _, secret := range []string{canary, "PRIVATE KEY", strings.Split(string(stranger), "\n")[2]} {
				if strings.Contains(r.stdout+r.stderr, secret) {
					t.Errorf("it shows a secret:\n%s%s", r.stdout, r.stderr)
				}
			}
		})
	}
}

// TestHostThatOpenSSHCannotReach checks the same for OpenSSH's client.
func TestHostThatOpenSSHCannotReach(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	none := testbed.StartSSHD(t, "127.0.0.1:1005", "MaxSessions 0")
	known := s.KnownHosts(t)
	testbed.Serve(t, "tcp", "127.0.0.1:1001", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) // silent
	testbed.Serve(t, "tcp", "127.0.0.1:1002", func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("\x1b[31mgarbage\x00", 4096)) })
	key := s.Key(t, "stranger", "-C", canary)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(s.HostKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	changed := write(t, "known_hosts", "127.0.0.1 "+string(public))
	unknown := write(t, "known_hosts", "")
	locked := s.Key(t, "locked", "-N", canary, "-C", canary)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		target, key, known string
		says               []string
	}{
		"unknown host key":  {"root@127.0.0.1", s.UserKey, unknown, []string{"host key: ", "ssh-ed25519 SHA256:", "is unknown", "add this line to " + unknown + ": 127.0.0.1 " + strings.Join(strings.Fields(string(own))[:2], " ")}},
		"changed host key":  {"root@127.0.0.1", s.UserKey, changed, []string{"host key: ", "has changed", "SHA256:", changed + ":1"}},
		"revoked host key":  {"root@127.0.0.1", s.UserKey, write(t, "known_hosts", "@revoked * "+string(own)), []string{"host key: ", "is revoked"}},
		"wrong user":        {"nobody-of-that-name@127.0.0.1", s.UserKey, known, []string{"authentication: ", "nobody-of-that-name@127.0.0.1: Permission denied", "offered: " + s.UserKey}},
		"another key":       {"root@127.0.0.1", key, known, []string{"authentication: ", "offered: " + key}},
		"a locked key":      {"root@127.0.0.1", locked, known, []string{"authentication: ", "offered: " + locked}},
		"no key":            {"root@127.0.0.1", "/nonexistent", known, []string{"authentication: /nonexistent can't be read: no such file or directory"}},
		"no known hosts":    {"root@127.0.0.1", s.UserKey, "/nonexistent", []string{"host key: the known_hosts file /nonexistent can't be read: no such file or directory"}},
		"a pipe":            {"root@127.0.0.1", pipe, known, []string{"authentication: " + pipe + " is not a regular file"}},
		"a kernel's file":   {"root@127.0.0.1", s.UserKey, "/proc/kmsg", []string{"host key: the known_hosts file /proc/kmsg is not a regular file"}},
		"silence":           {"root@127.0.0.1:1001", s.UserKey, known, []string{"the target could not be reached within 2s (--timeout): handshake: "}},
		"garbage":           {"root@127.0.0.1:1002", s.UserKey, known, []string{"handshake: "}},
		"no such name":      {"root@no-such-host.invalid", s.UserKey, known, []string{"resolve: ", "no-such-host.invalid"}},
		"nobody listens":    {"root@127.0.0.1:1004", s.UserKey, known, []string{"connect: host 127.0.0.1 port 1004: Connection refused", "look whether sshd runs"}},
		"no session at all": {"root@127.0.0.1:1005", none.UserKey, none.KnownHosts(t), []string{"session: "}},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := "10s"
			if name == "silence" {
				timeout = "2s"
			}
			r := portcheck(t, nil, "--ssh", "openssh", "-t", "ssh://"+c.target, "-p", "8080", "-i", c.key, "--known-hosts", c.known, "--timeout", timeout)
			for i, word := range c.says {
				if i == 0 {
					word = "could not be checked: " + word
				}
				r.checkUnknown(t, word)
			}
			if strings.Contains(r.stdout+r.stderr, canary) {
				t.Errorf("it shows a secret:\n%s%s", r.stdout, r.stderr)
			}
		})
	}
}

// TestManyTargets checks that a run over many addresses of one sshd is complete
// and in order, and that the executable for --agent-cache is kept only once.
func TestManyTargets(t *testing.T) {
	if !isolated(t) {
		return
	}
	testbed.Python(t, holders)
	overBoth(t, manyTargets)
}

func manyTargets(t *testing.T, client string) {
	store := t.TempDir()
	s := testbed.StartSSHD(t, "0.0.0.0:22", "SetEnv HOME="+store)
	const count = 40
	var targets strings.Builder
	for i := range count {
		fmt.Fprintf(&targets, "  app%03d: \"ssh://root@127.0.1.%d\"\n", i+1, i+1)
	}
	fmt.Fprint(&targets, "  gone: \"ssh://root@127.0.0.1:9\"\n")
	manifest := write(t, "portcheck.yml", "version: 1\napp: shop\nrange: 20000-20010\ntargets:\n"+targets.String()+
		"ports:\n  - {name: web, port: 8080}\n  - {name: spare, port: 8900}\n")
	r := portcheck(t, nil, "-f", "json", "--ssh", client, "--agent-cache", "-i", s.UserKey, "--known-hosts", s.KnownHosts(t, "127.0.1.*"), manifest)
	got := parse(t, r)
	var want, ids []string
	for _, need := range []string{"web", "spare"} {
		for i := range count {
			want = append(want, fmt.Sprintf("shop/%s@app%03d/tcp", need, i+1))
		}
		want = append(want, fmt.Sprintf("shop/%s@gone/tcp", need))
	}
	for _, x := range got.Results {
		ids = append(ids, x.ID)
		status := map[bool]string{true: "in-use", false: "free"}[strings.HasPrefix(x.ID, "shop/web@")]
		if x.Target == "gone" {
			status = "unknown"
		}
		if x.Status != status {
			t.Errorf("%s is %s, want %s: %s", x.ID, x.Status, status, x.Message)
		}
	}
	if strings.Join(ids, " ") != strings.Join(want, " ") || r.code != 1 {
		t.Errorf("exit code %d, results %q\n%s", r.code, ids, r.stderr)
	}
	if kept := keptNames(t, filepath.Join(store, ".cache/portcheck")); len(kept) != 1 {
		t.Errorf("the host keeps %q, want one file", kept)
	}
	if lines := strings.Count(r.stderr, "\n"); lines != count+1 {
		t.Errorf("%d lines of progress, want one a host:\n%s", lines, r.stderr)
	}
}
