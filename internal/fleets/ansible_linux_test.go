package fleets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/report"
)

const manifest = `version: 1
app: shop
range: 20000-20009
targets: {app1: local, app2: local, app3: local}
ports:
  - {name: web, port: 8080}
  - {name: workers, port: 8100-8102, protocol: [tcp, udp], range: 20100-20119}
  - {name: metrics, port: 9102, severity: warning}
  - {name: agent, port: 9000, expect: listening}
  - {name: registry, port: 22, expect: reachable, remote: 10.0.0.1}
  - {name: admin, port: 8443}
`

// fleet is three machines and a directory of the controller.
type fleet struct {
	dir       string
	portcheck string // the binary
	inventory string
	machines  []*testbed.Machine
	servers   []*testbed.SSHD
}

// needAnsible skips a test that runs Ansible.
func needAnsible(t *testing.T) {
	t.Helper()
	testbed.Slow(t, "runs Ansible")
	for _, name := range []string{"ansible-playbook", "ssh"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, "needs ansible-core and openssh-client")
		}
	}
}

// newFleet starts the machines. A port of the range that one of them holds is not
// an alternative on any of them. The reports don't name an sshd as a holder,
// because it forks for each connection, and the child has the listening socket
// open for a moment.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // t.TempDir's name may be too long for the sockets of ssh
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fleet{dir: dir, machines: testbed.StartMachines(t, 3)}
	f.portcheck = f.path("bin/portcheck_linux_" + runtime.GOARCH)
	if out, err := exec.Command("go", "build", "-o", f.portcheck, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.write(t, "portcheck.yml", manifest)
	f.inventory = "[app]\n"
	known := ""
	for i, m := range f.machines {
		name := fmt.Sprintf("app%d", i+1)
		// With this HOME no shell reads root's startup files.
		settings := []string{"Subsystem sftp internal-sftp", "SetEnv HOME=" + f.dir + " TMPDIR=" + f.tmp(t, name)}
		if i > 0 {
			settings = append(settings, "AuthorizedKeysFile "+f.servers[0].UserKey+".pub")
		}
		s := m.StartSSHD(t, settings...)
		f.servers = append(f.servers, s)
		f.inventory += name + " ansible_host=" + m.Addr + "\n"
		keys, err := os.ReadFile(s.KnownHosts(t))
		if err != nil {
			t.Fatal(err)
		}
		known += string(keys)
	}
	f.write(t, "known_hosts", known)
	f.inventory += "[app:vars]\nansible_user=root\nansible_python_interpreter=/usr/bin/python3\n"
	f.machines[0].Hold(t, 8080, 9000, 20000, 8101)
	f.machines[1].Hold(t, 9000, 20001, 20100, 20105)
	f.machines[2].Hold(t, 8080, 9000, 20002, 9102)
	return f
}

func (f *fleet) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fleet) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tmp returns the directory for temporary files of a machine or of the controller.
func (f *fleet) tmp(t *testing.T, name string) string {
	t.Helper()
	dir := f.path("tmp-" + name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// play runs the example on the hosts of an inventory with variables of the role.
// It returns the output and the exit code.
func (f *fleet) play(t *testing.T, inventory string, variables map[string]any, args ...string) (string, int) {
	t.Helper()
	here := t.TempDir()
	hosts, extra := filepath.Join(here, "inventory.ini"), filepath.Join(here, "extra.json")
	for key, value := range map[string]any{"portcheck_manifest": f.path("portcheck.yml"), "portcheck_binaries": f.path("bin"), "portcheck_controller": f.portcheck} {
		if _, given := variables[key]; !given {
			variables[key] = value
		}
	}
	text, err := json.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(hosts, []byte(inventory), 0o600), os.WriteFile(extra, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	// A file, because the connections that Ansible keeps alive would hold a pipe
	// open.
	out, err := os.Create(filepath.Join(here, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ansible-playbook", append([]string{"-i", hosts, "-e", "@" + extra, "check.yml"}, args...)...)
	cmd.Dir = "../../examples/ansible"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(cmd.Environ(),
		"HOME="+f.dir, "TMPDIR="+f.tmp(t, "controller"), "ANSIBLE_LOCAL_TEMP="+f.path("ansible"), "ANSIBLE_REMOTE_TMP="+f.path("remote"),
		"ANSIBLE_PRIVATE_KEY_FILE="+f.servers[0].UserKey, "ANSIBLE_SSH_COMMON_ARGS=-o UserKnownHostsFile="+f.path("known_hosts"),
		"ANSIBLE_SSH_CONTROL_PATH_DIR="+f.path("cp"), "ANSIBLE_PIPELINING=1", "ANSIBLE_NOCOLOR=1", "ANSIBLE_TIMEOUT=30", "LC_ALL=C.UTF-8")
	err = cmd.Run()
	said, failed := os.ReadFile(out.Name())
	if failed != nil {
		t.Fatal(failed)
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) || ctx.Err() != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return string(said), cmd.ProcessState.ExitCode()
}

// checkClean fails the test if a file is left on a machine or on the controller.
func (f *fleet) checkClean(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(f.path("tmp-*/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// asJSON returns a report in the format of the merged report.
func asJSON(t *testing.T, r check.Report) string {
	t.Helper()
	r.Generated = time.Time{} // they were written one after another
	var b bytes.Buffer
	if err := report.Formats["json"](&b, r, report.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// onEach runs portcheck on each machine and returns the merged report.
func (f *fleet) onEach(t *testing.T) check.Report {
	t.Helper()
	var parts []check.Part
	for i, m := range f.machines {
		words := m.Words(f.portcheck, "check", "-t", "local", "-f", "json", "--candidates", "64", "portcheck.yml")
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = f.dir
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		r, err := new(report.Reader).Read(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		part := check.Part{File: m.Addr, Report: r}
		if err := part.Rename(fmt.Sprintf("app%d", i+1)); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	merged, clashes, err := check.Merge(t.Context(), parts, parts[0].Tool, 3)
	if err != nil || len(clashes) > 0 {
		t.Fatal(err, clashes)
	}
	return merged
}

func (f *fleet) merged(t *testing.T) check.Report {
	t.Helper()
	text, err := os.ReadFile(f.path("merged.json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := new(report.Reader).Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func contains(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("there is no %q in:\n%s", part, out)
		}
	}
}

// fanOut returns the report of one portcheck that connects to all hosts itself.
func (f *fleet) fanOut(t *testing.T) check.Report {
	t.Helper()
	args := []string{"check", "-f", "json", "--identity", f.servers[0].UserKey, "--known-hosts", f.path("known_hosts")}
	for i, m := range f.machines {
		args = append(args, "--target", fmt.Sprintf("app%d=ssh://root@%s", i+1, m.Addr))
	}
	cmd := exec.Command(f.portcheck, append(args, "portcheck.yml")...)
	cmd.Dir = f.dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v\n%s%s", err, out, &errs)
	}
	r, err := new(report.Reader).Read(bytes.NewReader(out))
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &errs)
	}
	return r
}

// TestAnsible compares Ansible's merged report with those of runs on each host, and
// with that of one run over all hosts.
func TestAnsible(t *testing.T) {
	needAnsible(t)
	if !testbed.Isolated(t) {
		return
	}
	f := newFleet(t)
	t.Cleanup(func() { f.checkClean(t) })

	t.Run("conflicts", func(t *testing.T) {
		t.Parallel()
		out, code := f.play(t, f.inventory, map[string]any{"portcheck_merge_flags": []string{"-o", "json=" + f.path("merged.json")}})
		if code == 0 {
			t.Error("the play does not fail")
		}
		contains(t, out, "portcheck.yml:6:23: error: web@app1: tcp 8080 is in use by python3", "web@app3", "use instead: 20003, 20005, 20007",
			"24 ports of 18 needs checked on 3 targets: 14 ok, 3 conflicts, 1 warning", "FAILED!")
		if recaps := regexp.MustCompile(`app\d +: ok=\d+ +changed=0 +unreachable=0`).FindAllString(out, -1); len(recaps) != 3 {
			t.Errorf("want three hosts on which nothing was changed:\n%s", out)
		}
		if diff := cmp.Diff(asJSON(t, f.onEach(t)), asJSON(t, f.merged(t))); diff != "" {
			t.Errorf("the merged report differs (-each host +merged):\n%s", diff)
		}
		if diff := cmp.Diff(asJSON(t, f.fanOut(t)), asJSON(t, f.merged(t))); diff != "" {
			t.Errorf("one run over the hosts has another report (-over SSH +by Ansible):\n%s", diff)
		}
	})

	f.write(t, "quiet.yml", "version: 1\nports: [{name: web, port: 8090}]\n")
	quiet := func() map[string]any { return map[string]any{"portcheck_manifest": f.path("quiet.yml")} }

	t.Run("none, in check mode", func(t *testing.T) {
		t.Parallel()
		out, code := f.play(t, f.inventory, quiet(), "--check", "--diff", "--limit", "app1,app2")
		if code != 0 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		contains(t, out, "2 ports checked on 2 targets: 2 ok")
	})

	t.Run("a host that can't be reached, one that can't be checked", func(t *testing.T) {
		t.Parallel()
		f.write(t, "bin/broken", "#!/bin/sh\necho no such luck >&2\nexit 126\n")
		inventory := strings.Replace(f.inventory, "app2 ", "app2 portcheck_binary="+f.path("bin/broken")+" ", 1)
		out, code := f.play(t, strings.Replace(inventory, "app3 ", "app3 ansible_port=1 ", 1), quiet())
		if code == 0 {
			t.Error("the play does not fail")
		}
		contains(t, out, "1 port checked on app1", "1 ok; not checked: app2, app3", "no such luck")
	})
}

func TestAnsibleSyntax(t *testing.T) {
	needAnsible(t)
	cmd := exec.Command("ansible-playbook", "-i", "inventory.ini", "--syntax-check", "check.yml")
	cmd.Dir = "../../examples/ansible"
	cmd.Env = append(cmd.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("WARNING")) {
		t.Errorf("%v\n%s", err, out)
	}
}
