//go:build linux

package advice

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

func TestMain(m *testing.M) { testbed.MainWithProgram(m) }

// isolated is testbed.Isolated for a test that runs the program as root.
func isolated(t *testing.T) bool {
	t.Helper()
	testbed.Slow(t, "runs portcheck beside real servers")
	if !testbed.Isolated(t) {
		return false
	}
	testbed.NeedUsers(t)
	return true
}

// place is where portcheck and the commands that it suggests run.
type place struct {
	prefix []string // of their command lines
	env    []string
}

// check runs portcheck check and returns the results.
func (p place) check(t *testing.T, args ...string) []check.Result {
	t.Helper()
	words := append(slices.Clone(p.prefix), testbed.Program(), "check", "-f", "json")
	cmd := exec.Command(words[0], append(words[1:], args...)...)
	cmd.Env = append(os.Environ(), p.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	var r check.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || len(r.Results) == 0 {
		t.Fatalf("portcheck %q: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	return r.Results
}

// taken checks a port that is held, and returns its result.
func (p place) taken(t *testing.T, spec string) check.Result {
	t.Helper()
	r := p.check(t, "--port", spec)[0]
	if r.Status != check.InUse {
		t.Fatalf("%s is %s: %s", spec, r.Status, r.Message)
	}
	return r
}

// remedy returns the result's remedy.
func remedy(t *testing.T, r check.Result) check.Hint {
	t.Helper()
	i := slices.IndexFunc(r.Hints, func(h check.Hint) bool { return h.Kind == check.HintRemedy })
	if i < 0 {
		t.Fatalf("no remedy for %s", r.Message)
	}
	if h := r.Hints[i]; h.Command != "" && !strings.Contains(h.Text, "`"+h.Command+"`") {
		t.Errorf("the command %q is not in %q", h.Command, h.Text)
	}
	return r.Hints[i]
}

// follow runs the command of the result's remedy, and wants its ports to be free then.
func (p place) follow(t *testing.T, spec string, r check.Result) {
	t.Helper()
	h := remedy(t, r)
	if h.Command == "" {
		t.Fatalf("no command in %q", h.Text)
	}
	words := append(slices.Clone(p.prefix), "sh", "-ec", h.Command)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", h.Command, err, out)
	}
	if r := p.check(t, "--port", spec, "--wait", "10s")[0]; r.Status != check.Free {
		t.Errorf("after `%s` %s is %s: %s", h.Command, spec, r.Status, r.Message)
	}
}

// bystander starts a process like the others that has to survive.
func bystander(t *testing.T) {
	t.Helper()
	cmd, _ := testbed.Python(t, listenScript, "9999")
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("another process has ended: %v", err)
		}
	})
}

// listenScript listens at the ports of its arguments until it is killed.
const listenScript = `
import socket, sys, time
all = []
for port in sys.argv[1:]:
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", int(port)))
    s.listen()
    all.append(s)
print("ready", flush=True)
time.sleep(600)`

// wants fails unless a text has each of the parts, and none of those after "not".
func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	without := false
	for _, part := range parts {
		switch {
		case part == "not":
			without = true
		case strings.Contains(text, part) == without:
			t.Errorf("has %q: %v, in %s", part, without, text)
		}
	}
}

// allHints returns the texts of the hints, a line each.
func allHints(r check.Result) string {
	var lines []string
	for _, h := range r.Hints {
		lines = append(lines, h.Text)
	}
	return strings.Join(lines, "\n")
}

// writeManifest writes a manifest of needs, in YAML's short form.
func writeManifest(t *testing.T, path string, needs ...string) {
	t.Helper()
	text := "version: 1\napp: x\nports: [" + strings.Join(needs, ", ") + "]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
