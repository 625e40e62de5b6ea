//go:build linux

package acceptance

import (
	"crypto/rand"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// others maps each architecture of the image to the other architecture for which it
// has an executable, and to uname's name of that.
var others = map[string]struct{ arch, machine string }{
	"amd64": {"arm64", "aarch64"},
	"arm64": {"amd64", "x86_64"},
}

// sshHost is this machine as an SSH host for containers.
type sshHost struct {
	network    string // of the engine; GitHub creates one for each job
	url        string
	key        string // text of a private key, encrypted
	passphrase string
	known      string // line of known_hosts
	tmp        string // directory for temporary files on the host
}

// serveSSH starts sshd at an address that only containers of one network reach.
// path is the PATH of its sessions.
func serveSSH(t *testing.T, path string) sshHost {
	t.Helper()
	imageUnderTest(t)
	h := sshHost{network: "portcheck-acceptance-" + strings.ToLower(rand.Text()[:12]), passphrase: "canary-" + rand.Text(), tmp: temp(t)}
	docker(t, "network", "create", h.network)
	t.Cleanup(func() { docker(t, "network", "rm", h.network) })
	gateway := docker(t, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", h.network)
	s := testbed.StartSSHD(t, net.JoinHostPort(gateway, fmt.Sprint(freePorts(t, 1)[0])), "SetEnv HOME="+temp(t)+" TMPDIR="+h.tmp+" PATH="+path)
	h.url = "ssh://root@" + s.Addr
	h.known = read(t, s.KnownHosts(t))
	if out, err := shell("ssh-keygen", "-q", "-p", "-P", "", "-N", h.passphrase, "-f", s.UserKey); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	h.key = read(t, s.UserKey)
	return h
}

// variables returns the variables with which a job can log in to the host.
func (h sshHost) variables() map[string]string {
	return map[string]string{"PORTCHECK_SSH_KEY": h.key, "PORTCHECK_SSH_PASSPHRASE": h.passphrase, "PORTCHECK_SSH_KNOWN_HOSTS": h.known}
}

// secrets returns parts of the key and the passphrase that must not be shown.
func (h sshHost) secrets() []string {
	lines := strings.Split(strings.TrimSpace(h.key), "\n")
	return append(lines[1:len(lines)-1], h.passphrase)
}

// keeps fails the test if a text has a secret.
func (h sshHost) keeps(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range h.secrets() {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows the key or its passphrase:\n%s", where, text)
			return
		}
	}
}

// empty fails the test if portcheck has left a file on the host.
func (h sshHost) empty(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(h.tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left on the host: %v (%v)", left, err)
	}
}

// shop returns a manifest with a taken port, and the PID of that port's holder on
// the host.
func shop(t *testing.T) (text string, pid int) {
	t.Helper()
	p := freePorts(t, 3)
	pid, _ = listen(t, nil, fmt.Sprint(p[0]))
	return fmt.Sprintf("version: 1\napp: shop\nrange: %d-%d\nports:\n", p[2], p[2]+40) + need("web", p[0], "") + need("spare", p[1], ""), pid
}

// checked fails the test unless the report has the right verdicts for shop.
func (h sshHost) checked(t *testing.T, o outcome, pid int) check.Result {
	t.Helper()
	if target := o.target(t); target.Name != h.url || target.Namespace.Kind != "host" {
		t.Errorf("target %+v", target)
	}
	web := o.status(t, "web", check.InUse)
	if h := holder(t, web); h.PID != pid || h.Process != "server" {
		t.Errorf("holder %+v, want pid %d", h, pid)
	}
	if len(web.Alternatives) != 3 {
		t.Errorf("alternatives %v, want 3", web.Alternatives)
	}
	for _, a := range web.Alternatives {
		if err := bindable(int(a)); err != nil {
			t.Errorf("alternative %d: %v", a, err)
		}
	}
	if spare := o.status(t, "spare", check.Free); spare.Method != check.BindTable {
		t.Errorf("spare: method %s", spare.Method)
	}
	h.empty(t)
	return web
}

// TestGitHubSSH checks a host by SSH with credentials from a workflow's secrets.
// They appear neither in the output nor in requests to the engine, which starts a
// helper for the other target.
func TestGitHubSSH(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	h := serveSSH(t, os.Getenv("PATH"))
	text, pid := shop(t)
	var traffic recorder
	socket := filepath.Join(temp(t), "docker.sock")
	testbed.Serve(t, "unix", socket, func(c net.Conn) { forward(asked{c.(closesWriting), &traffic}, engineSocket) })
	s := step{image: v.image, manifest: text, socket: socket, flags: []string{"--network", h.network}}
	s.inputs = map[string]string{
		"target": h.url, "ssh-key": h.key, "ssh-passphrase": h.passphrase, "ssh-known-hosts": h.known,
		"output": "json=report.json\nhtml=report.html\njunit=junit.xml",
	}
	o := s.run(t).want(t, 1)
	web := h.checked(t, o, pid)

	var alternatives map[string][]uint16
	if err := json.Unmarshal([]byte(o.outputs["alternatives"]), &alternatives); err != nil {
		t.Fatalf("output alternatives: %v", err)
	}
	if o.outputs["ok"] != "false" || o.outputs["conflicts"] != "1" || o.outputs["report"] != "report.json" || !slices.Equal(alternatives[web.ID], web.Alternatives) {
		t.Errorf("outputs %v", o.outputs)
	}
	h.keepsAll(t, o)

	s.inputs["target"] = "runner\n" + h.url
	o = s.run(t).want(t, 1)
	if len(o.report.Targets) != 2 || len(o.report.Results) != 4 {
		t.Errorf("targets %+v, %d results\n%s", o.report.Targets, len(o.report.Results), o)
	}
	for _, r := range o.report.Results {
		if want := map[string]check.Status{"web": check.InUse, "spare": check.Free}[r.Name]; r.Status != want {
			t.Errorf("%s is %s, want %s", r.ID, r.Status, want)
		}
	}
	h.keepsAll(t, o)
	h.empty(t)
	if !traffic.has(deadlineLabel) {
		t.Error("no request for a helper")
	}
	for _, secret := range h.secrets() {
		if traffic.has(secret) {
			t.Error("a request to the engine has the key or its passphrase")
			break
		}
	}
}

// asked is a connection that records requests and not answers, because the engine's
// answers contain the environment of the step.
type asked struct {
	closesWriting
	keep io.Writer
}

func (a asked) Read(p []byte) (int, error) {
	n, err := a.closesWriting.Read(p)
	_, _ = a.keep.Write(p[:n]) // a recorder never fails
	return n, err
}

// keepsAll fails the test if a step shows a secret, except in the commands at its
// start that make the runner mask the secrets.
func (h sshHost) keepsAll(t *testing.T, o outcome) {
	t.Helper()
	var masked []string
	rest := o.stderr
	for {
		line, after, _ := strings.Cut(rest, "\n")
		word, found := strings.CutPrefix(line, "::add-mask::")
		if !found {
			break
		}
		masked, rest = append(masked, word), after
	}
	for _, secret := range h.secrets() {
		if !slices.Contains(masked, secret) {
			t.Errorf("the log does not begin with commands that mask each line of the key, and its passphrase\n%s", o)
		}
	}
	said := o.stdout + rest + o.summary + fmt.Sprint(o.outputs)
	for _, name := range []string{"report.json", "report.html", "junit.xml"} {
		said += read(t, filepath.Join(o.workspace, name))
	}
	h.keeps(t, "the step", said)
}

// TestGitHubSSHWithoutInputs checks that the error names the missing input as
// workflows spell it.
func TestGitHubSSHWithoutInputs(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	h := serveSSH(t, os.Getenv("PATH"))
	for forgotten, want := range map[string]string{
		"ssh-key":         "there is no key to offer: set the input ssh-key",
		"ssh-passphrase":  "the input ssh-key is encrypted: set the input ssh-passphrase",
		"ssh-known-hosts": "then add this line to the input ssh-known-hosts: " + strings.Fields(h.known)[0] + " ",
	} {
		t.Run(forgotten, func(t *testing.T) {
			s := step{image: image, socket: "-", flags: []string{"--network", h.network}}
			s.inputs = map[string]string{"port": "8080", "target": h.url, "ssh-key": h.key, "ssh-passphrase": h.passphrase, "ssh-known-hosts": h.known}
			delete(s.inputs, forgotten)
			s.run(t).want(t, 3).reason(t, want)
			h.empty(t)
		})
	}
}

// TestOtherCISSH checks SSH hosts in GitLab and Jenkins. The key is in variables,
// or in files that they name, and the job may run as any user.
func TestOtherCISSH(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	h := serveSSH(t, os.Getenv("PATH"))
	text, pid := shop(t)
	files := temp(t)
	write(t, filepath.Join(files, "portcheck.yml"), text)
	write(t, filepath.Join(files, "key"), h.key)
	write(t, filepath.Join(files, "known_hosts"), h.known)
	for name, c := range map[string]struct {
		names []string // of the variables to set
		args  []string
	}{
		"variables": {[]string{"PORTCHECK_SSH_KEY", "PORTCHECK_SSH_PASSPHRASE", "PORTCHECK_SSH_KNOWN_HOSTS"}, nil},
		"files":     {[]string{"PORTCHECK_SSH_PASSPHRASE"}, []string{"--identity", "key", "--known-hosts", "known_hosts"}},
	} {
		for _, user := range []string{"0", "12345"} {
			t.Run(name+" as user "+user, func(t *testing.T) {
				args := []string{"run", "--rm", "--network", h.network, "--user", user, "-v", files + ":/builds/shop:ro", "-w", "/builds/shop"}
				for _, variable := range c.names {
					args = append(args, "-e", variable)
				}
				args = append(args, image, "portcheck", "--target", h.url, "-f", "json")
				cmd := exec.Command("docker", append(args, c.args...)...)
				cmd.Env = os.Environ()
				for variable, value := range h.variables() {
					cmd.Env = append(cmd.Env, variable+"="+value)
				}
				o := outcomeOf(t, cmd, files).want(t, 1)
				o.report = readReport(t, o.stdout)
				h.checked(t, o, pid)
				h.keeps(t, "portcheck", o.stdout+o.stderr)
			})
		}
	}
}

// TestOtherArchitectureSSH checks that a host of the other architecture gets the
// executable for it. This host only prints that architecture, so that the
// executable fails and the verdict comes from the host's files.
func TestOtherArchitectureSSH(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	other := others[runtime.GOARCH]
	file := filepath.Join(temp(t), "portcheck")
	id := docker(t, "create", image)
	defer docker(t, "rm", id)
	copyFrom(t, id, "/usr/local/lib/portcheck/portcheck-linux-"+other.arch+".gz", file)
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]string{}
	for _, s := range info.Settings {
		built[s.Key] = s.Value
	}
	if info.Path != "github.com/org/portcheck" || built["GOOS"] != "linux" || built["GOARCH"] != other.arch || built["CGO_ENABLED"] != "0" {
		t.Errorf("the image's executable for %s:\n%s", other.arch, info)
	}

	programs := temp(t)
	uname := filepath.Join(programs, "uname")
	write(t, uname, "#!/bin/sh\ncase $1 in -sm) echo Linux "+other.machine+" ;; *) echo "+other.machine+" ;; esac\n")
	if err := os.Chmod(uname, 0o755); err != nil {
		t.Fatal(err)
	}
	h := serveSSH(t, programs+":"+os.Getenv("PATH"))
	text, _ := shop(t)
	s := step{image: image, manifest: text, socket: "-", flags: []string{"--network", h.network}}
	s.inputs = map[string]string{"target": h.url, "ssh-key": h.key, "ssh-passphrase": h.passphrase, "ssh-known-hosts": h.known}
	o := s.run(t).want(t, 1)
	web, spare := o.status(t, "web", check.InUse), o.status(t, "spare", check.Free)
	for _, r := range []check.Result{web, spare} {
		if r.Method != check.Table || len(r.Holders) > 0 && r.Holders[0].PID != 0 || len(r.Alternatives) > 0 {
			t.Errorf("%s is not judged by the table alone: %+v", r.Name, r)
		}
		if why := degraded(r.Notices, o.target(t).Notices); !strings.Contains(why, "the portcheck executable could not be run on the host (exit status 126)") {
			t.Errorf("%s: degraded: %q", r.Name, why)
		}
	}
	h.empty(t)
}
