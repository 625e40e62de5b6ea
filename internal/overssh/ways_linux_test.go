package overssh

import (
	"errors"
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

// checkVerdict fails the test unless port 8080 is in use and 8900 is free, both
// found by the given method.
func checkVerdict(t *testing.T, target, method, reason string, env []string, args ...string) {
	t.Helper()
	r := portcheck(t, env, append([]string{"-f", "json", "-t", target, "-p", "8080", "-p", "8900"}, args...)...)
	got := parse(t, r)
	if r.code != 1 || len(got.Results) != 2 || !strings.Contains(r.stdout, reason) {
		t.Errorf("exit code %d, want one conflict and %q\n%s%s", r.code, reason, r.stdout, r.stderr)
		return
	}
	for i, want := range []string{"in-use", "free"} {
		if x := got.Results[i]; x.Status != want || x.Method != method {
			t.Errorf("want %s by %s: %+v", want, method, x)
		}
	}
}

// TestWaysThere checks a certificate, hashed names and a plain IPv6 address.
func TestWaysThere(t *testing.T) {
	if !isolated(t) {
		return
	}
	testbed.Python(t, holders)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	keygen(t, "-q", "-t", "ed25519", "-N", "", "-f", ca)
	four := testbed.StartSSHD(t, "127.0.0.2:2202", "TrustedUserCAKeys "+ca+".pub")
	six := testbed.StartSSHD(t, "[::1]:2203")
	hashed := four.KnownHosts(t)
	keygen(t, "-q", "-H", "-f", hashed)
	if text, err := os.ReadFile(hashed); err != nil || !strings.HasPrefix(string(text), "|1|") {
		t.Fatalf("%q, %v", text, err)
	}
	for client, passphrase := range map[string]string{"builtin": canary, "openssh": ""} {
		certified := four.Key(t, "for-"+client, "-N", passphrase)
		keygen(t, "-q", "-s", ca, "-I", "id of "+client, "-n", "root", certified+".pub")
		args := []string{"--ssh", client, "--known-hosts", hashed, "-i", certified}
		checkVerdict(t, "ssh://root@127.0.0.2:2202", "bind+table", "", []string{"PORTCHECK_SSH_PASSPHRASE=" + passphrase}, args...)
		if text, err := os.ReadFile(four.Log); err != nil || !strings.Contains(string(text), "ID id of "+client) {
			t.Errorf("no certificate of %s in sshd's log (%v):\n%s", client, err, text)
		}
		checkVerdict(t, "ssh://root@[::1]:2203", "bind+table", "", nil, append(reach(t, six), "--ssh", client)...)
	}
	nothingLeft(t, "all ways")
}

// TestReachableBlockOfAllPorts checks that a host connects to each port of the
// largest block, whose answer is larger than what is read from a host at once.
func TestReachableBlockOfAllPorts(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	manifest := write(t, "portcheck.yml", "version: 1\napp: shop\nports: [{name: all, port: 1-65535, expect: reachable, remote: 127.0.0.1}]\n")
	r := portcheck(t, nil, append([]string{"-f", "json", "-t", "ssh://root@127.0.0.1", "--timeout", "5m", manifest}, reach(t, s)...)...)
	got := parse(t, r)
	if r.code != 1 || len(got.Results) != 1 || got.Results[0].Status != "unreachable" || strings.Count(r.stdout, `"outcome": "ok"`) != 1 || strings.Count(r.stdout, `"ECONNREFUSED"`) != 65534 ||
		!strings.Contains(r.stdout, "127.0.0.1 ports 1-65535: 65534 of 65535 not reached: 1-21,23-65535 (connection refused: nothing listens there)") {
		t.Errorf("exit code %d\n%.3000s%s", r.code, r.stdout, r.stderr)
	}
	nothingLeft(t, "after all ports")
}

// TestAddressesThatAreRefused checks that nothing connects to a forbidden address,
// however the target leads there.
func TestAddressesThatAreRefused(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "127.0.0.1:2201")
	l, err := net.Listen("tcp", ":22")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, a := range []string{"169.254.169.254/32", "100.100.100.200/32", "fe80::1/64", "fd00:ec2::254/128", "fd20:ce::254/128", "2002:a9fe:a9fe::1/128"} {
		if out, err := exec.Command("ip", "addr", "add", a, "dev", "lo", "nodad").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		addr, _, _ := strings.Cut(a, "/")
		if strings.HasPrefix(addr, "fe80") {
			addr += "%lo"
		}
		c, err := net.Dial("tcp", net.JoinHostPort(addr, "22"))
		for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			c, err = net.Dial("tcp", net.JoinHostPort(addr, "22")) // the route may not be there yet
		}
		if err != nil {
			t.Fatal(err) // without a connection the test would prove nothing
		}
		_ = c.Close()
		if c, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	replace(t, "/etc/hosts", "127.0.0.1 localhost\n169.254.169.254 meta.example\nfd00:ec2::254 meta6.example\n169.254.1.1 local.example\n::ffff:169.254.169.254 mapped.example\n", 0o644)
	args := []string{"-p", "8080", "-i", s.UserKey, "--known-hosts", s.KnownHosts(t)}
	for target, reason := range map[string]string{
		"169.254.169.254":          "169.254.169.254 is refused: it is a cloud's metadata service",
		"100.100.100.200":          "100.100.100.200 is refused: it is a cloud's metadata service",
		"[fd00:ec2::254]":          "fd00:ec2::254 is refused: it is a cloud's metadata service",
		"[::ffff:169.254.169.254]": "169.254.169.254 is refused: it is a cloud's metadata service",
		"[64:ff9b::a9fe:a9fe]":     "64:ff9b::a9fe:a9fe is refused: it is a cloud's metadata service",
		"[fd20:ce::254]":           "fd20:ce::254 is refused: it is a cloud's metadata service",
		"[2002:a9fe:a9fe::1]":      "2002:a9fe:a9fe::1 is refused: it is a cloud's metadata service",
		"[fe80::1]":                "fe80::1 is refused: it is link-local",
		"meta.example":             "169.254.169.254 is refused",
		"meta6.example":            "fd00:ec2::254 is refused",
		"mapped.example":           "169.254.169.254 is refused",
		"local.example":            "169.254.1.1 is refused: it is link-local",
	} {
		r := portcheck(t, nil, append([]string{"--ssh", "builtin", "-t", "ssh://" + target}, args...)...)
		r.checkUnknown(t, "could not be checked: connect: ")
		r.checkUnknown(t, reason)
	}
	// A service that a need expects to be reachable is connected to from the target.
	for remote, reason := range map[string]string{
		"169.254.169.254":   "169.254.169.254 is refused: it is a cloud's metadata service",
		"fd20:ce::254":      "fd20:ce::254 is refused: it is a cloud's metadata service",
		"2002:a9fe:a9fe::1": "2002:a9fe:a9fe::1 is refused: it is a cloud's metadata service",
		"meta.example":      "169.254.169.254 is refused",
		"meta6.example":     "fd00:ec2::254 is refused",
	} {
		manifest := write(t, "portcheck.yml", "version: 1\nports: [{name: meta, port: 22, expect: reachable, remote: \""+remote+"\"}]\n")
		for _, target := range []string{"local", "ssh://root@127.0.0.1:2201"} {
			r := portcheck(t, nil, "-t", target, "-i", s.UserKey, "--known-hosts", s.KnownHosts(t), manifest)
			r.checkUnknown(t, "can't connect from this target: "+reason)
		}
	}
	if from := nextClient(t, l); from != "" {
		t.Errorf("%s connected to an address that is refused", from)
	}
}

// TestHostsThatLackSomething checks that the report names what a host lacks, and
// that the run works around it where possible.
func TestHostsThatLackSomething(t *testing.T) {
	if !isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	testbed.Python(t, holders)
	tools := []string{"sh", "cat", "id", "uname", "mktemp", "head", "gzip", "sha256sum", "chmod", "rm", "mkdir", "mv", "ls", "grep", "tail"}
	without := func(missing string) string {
		dir := root(t)
		for _, tool := range slices.DeleteFunc(slices.Clone(tools), func(s string) bool { return s == missing }) {
			path, err := exec.LookPath(tool)
			if err == nil {
				err = os.Symlink(path, filepath.Join(dir, tool))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return "SetEnv PATH=" + dir + " HOME=" + root(t)
	}
	dir := root(t)
	users(t, dir, map[string]string{"homeless": "/bin/sh", "poor": "/bin/sh", "nologin": "/usr/sbin/nologin", "false": "/bin/false"})
	if err := errors.Join(os.Remove(filepath.Join(dir, "homeless")), os.Chown(filepath.Join(dir, "poor"), 0, 0)); err != nil {
		t.Fatal(err)
	}
	banner := write(t, "banner", strings.Repeat("portcheck-hello Plan9 mips\n", 400))
	if err := os.Chmod(filepath.Dir(banner), 0o755); err != nil {
		t.Fatal(err)
	}
	riscv := "SetEnv HOME=" + root(t) + " PATH=" + filepath.Dir(riscvUname(t)) + ":/usr/bin:/bin"
	const whole, table = "bind+table", "table"
	for _, c := range []struct {
		name, user string
		settings   []string
		args       []string
		method     string // "" for the status unknown
		reason     string
	}{
		{"no head", "root", []string{without("head")}, nil, table, `the host has no \"head\" command`},
		{"no gzip", "root", []string{without("gzip")}, nil, table, `the host has no \"gzip\" command`},
		{"no mktemp", "root", []string{without("mktemp")}, nil, table, `the host has no \"mktemp\" command`},
		{"no uname", "root", []string{without("uname")}, nil, table, "the host's system is unknown: uname does not run there"},
		{"no sha256sum", "root", []string{without("sha256sum")}, []string{"--agent-cache"}, whole, ""},
		{"no home", "homeless", []string{"SetEnv LANG=C"}, []string{"--agent-cache"}, whole, ""},
		{"a home of somebody else's", "poor", []string{"SetEnv LANG=C"}, []string{"--agent-cache"}, whole, ""},
		{"one session at a time", "root", []string{"MaxSessions 1"}, nil, whole, ""},
		{"one session at a time, by its files", "root", []string{"MaxSessions 1", riscv}, nil, table, "there is no portcheck executable for linux/riscv64"},
		{"a banner", "root", []string{"Banner " + banner, "PrintMotd yes"}, nil, whole, ""},
		{"no login", "nologin", []string{"SetEnv LANG=C"}, nil, "", "start: the host does not run portcheck's commands"},
		{"no shell", "false", []string{"SetEnv LANG=C"}, nil, "", "start: the host does not run portcheck's commands"},
		{"files alone", "root", []string{"ForceCommand internal-sftp"}, nil, "", "start: the host does not run portcheck's commands"},
		{"no session at all", "root", []string{"MaxSessions 0"}, nil, "", "session: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testbed.StartSSHD(t, "127.0.0.1:2200", c.settings...)
			target := "ssh://" + c.user + "@127.0.0.1:2200"
			if args := append(reach(t, s), c.args...); c.method != "" {
				checkVerdict(t, target, c.method, c.reason, nil, args...)
			} else {
				r := portcheck(t, nil, append([]string{"-t", target, "-p", "8080"}, args...)...)
				r.checkUnknown(t, "could not be checked: "+c.reason)
				if r.took > 8*time.Second {
					t.Errorf("it took %s", r.took)
				}
			}
			nothingLeft(t, c.name)
		})
	}
	t.Run("TMPDIR noexec", func(t *testing.T) {
		noexec := t.TempDir()
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", noexec).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		defer func() {
			if out, err := exec.Command("umount", noexec).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}()
		s := testbed.StartSSHD(t, "127.0.0.1:2200", "SetEnv TMPDIR="+noexec+" HOME="+root(t))
		checkVerdict(t, "ssh://root@127.0.0.1:2200", whole, "", nil, reach(t, s)...)
		if left, err := os.ReadDir(noexec); err != nil || len(left) > 0 {
			t.Errorf("%v, %v", left, err)
		}
		s.Stop()
	})
}

// riscvUname writes a uname(1) of another architecture and returns its file.
func riscvUname(t *testing.T) string {
	t.Helper()
	file := filepath.Join(root(t), "uname")
	if err := os.WriteFile(file, []byte("#!/bin/sh\ncase $1 in -m) ;; *) printf 'Linux ';; esac\necho riscv64\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
