package advice

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// inheriting runs a command with a listening socket of its own. If the first argument is
// "end", the command takes its place.
const inheriting = `
import os, socket, subprocess, sys
s = socket.create_server(("", 8080))
s.set_inheritable(True)
if sys.argv[1] == "end":
    os.execv(sys.argv[2], sys.argv[2:])
print(os.getpid(), flush=True)
sys.exit(subprocess.run(sys.argv[2:], close_fds=False).returncode)`

// inherited runs portcheck with a listening socket, and returns the PID of what has started
// it, empty if that ends with the argument "end", and portcheck's output.
func inherited(t *testing.T, how string, args ...string) (pid, out string) {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", append([]string{"-c", inheriting, how, testbed.Program()}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if out = string(text); how != "end" {
		pid, out, _ = strings.Cut(out, "\n")
	}
	if out == "" {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return pid, out
}

// portcheck that a server has started with its socket is no holder beside the server.
func TestPortcheckWithASocketOfItsParent(t *testing.T) {
	if !isolated(t) {
		return
	}
	manifest := filepath.Join(t.TempDir(), "portcheck.yml")
	writeManifest(t, manifest, `{name: web, port: 8080, owner: {process: "python3*"}}`)
	for how, status := range map[string]check.Status{"stay": check.Owned, "end": check.InUse} {
		pid, out := inherited(t, how, "check", "-f", "json", manifest)
		var r check.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Results) != 1 || len(r.Results[0].Holders) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		result := r.Results[0]
		if result.Status != status || pid != "" && strconv.Itoa(result.Holders[0].PID) != pid {
			t.Errorf("%s: %s: %s", how, result.Status, result.Message)
		}
		if how == "end" {
			wants(t, result.Message, "portcheck itself")
			wants(t, remedy(t, result).Text, "portcheck itself has been started with this socket", "not", "kill")
		}
	}
	pid, out := inherited(t, "stay", "list", "-f", "json")
	var l check.Listing
	if err := json.Unmarshal([]byte(out), &l); err != nil || len(l.Sockets) != 1 || strconv.Itoa(l.Sockets[0].PID) != pid {
		t.Errorf("list: %v: %s, want pid %s alone", err, out, pid)
	}
}

// A command of exec still gets the descriptors with which portcheck was started, and no
// signal that is ignored.
func TestExecPassesDescriptorsAndSignals(t *testing.T) {
	if !isolated(t) {
		return
	}
	_, out := inherited(t, "stay", "exec", "-p", "8081", "--", "sh", "-c", "ls -l /proc/self/fd; kill -PIPE $$; echo survived")
	wants(t, out, "socket:", "not", "survived")
}
