package advice

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// foreigner holds a port in Perl: the protocol, the address and, with a fourth argument,
// SO_REUSEPORT.
const foreigner = `
use Socket;
my ($protocol, $address, $port, $shared) = @ARGV;
socket(S, PF_INET, $protocol eq "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0) or die $!;
if ($shared) { setsockopt(S, SOL_SOCKET, 15, 1) or die $!; }
bind(S, sockaddr_in($port, inet_aton($address))) or die $!;
if ($protocol eq "tcp") { listen(S, 5) or die $!; }
$| = 1; print "ready\n"; sleep 600;`

// sharing is a server in Python with SO_REUSEPORT.
const sharing = `
import socket, sys, time
s = socket.socket(type=socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind((sys.argv[2], 8080))
if sys.argv[1] == "tcp":
    s.listen()
print("ready", flush=True)
time.sleep(600)`

// perl starts a foreigner and returns its PID.
func perl(t *testing.T, args ...string) int {
	t.Helper()
	cmd, line := testbed.Start(t, "perl", append([]string{"-e", foreigner}, args...)...)
	if line != "ready" {
		t.Fatal(line)
	}
	return cmd.Process.Pid
}

// The remedy for a port that the need's owner has beside another process ends the other
// one alone.
func TestRemedyLeavesTheOwnerAlone(t *testing.T) {
	const owner = `owner: {process: "python3*"}`
	for _, c := range []struct {
		name  string
		need  string
		start func(t *testing.T) (own, other int)
		want  check.Status
		after check.Status
	}{
		{"another address", "", func(t *testing.T) (int, int) {
			return python(t, sharing, "tcp", "127.0.0.1"), perl(t, "tcp", "127.0.0.2", "8080")
		}, check.InUse, check.Owned},
		{"another address, of a port that has to be served", "expect: listening, ", func(t *testing.T) (int, int) {
			return python(t, sharing, "tcp", "127.0.0.1"), perl(t, "tcp", "127.0.0.2", "8080")
		}, check.WrongOwner, check.Listening},
		{"a group of SO_REUSEPORT", "socket: {reuse_port: true}, ", func(t *testing.T) (int, int) {
			return python(t, sharing, "tcp", "127.0.0.1"), perl(t, "tcp", "127.0.0.1", "8080", "shared")
		}, check.Shadowed, check.Owned},
		{"a group of UDP", "protocol: udp, expect: listening, ", func(t *testing.T) (int, int) {
			return python(t, sharing, "udp", "127.0.0.1"), perl(t, "udp", "127.0.0.1", "8080", "shared")
		}, check.WrongOwner, check.Listening},
		{"a program that has inherited the owner's socket", "", func(t *testing.T) (int, int) {
			own := python(t, "import os, subprocess, sys, time\nimport socket\ns = socket.create_server(('', 8080))\nchild = subprocess.Popen(['sleep', '600'], pass_fds=[s.fileno()])\nprint('ready', flush=True)\nchild.wait()\ntime.sleep(600)")
			return own, childrenOf(t, own)[0]
		}, check.InUse, check.Owned},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			own, other := c.start(t)
			manifest := filepath.Join(t.TempDir(), "portcheck.yml")
			writeManifest(t, manifest, "{name: web, port: 8080, "+c.need+owner+"}")
			r := place{}.check(t, manifest)[0]
			if r.Status != c.want {
				t.Fatalf("%s: %s", r.Status, r.Message)
			}
			h := remedy(t, r)
			wants(t, h.Text, "`kill "+strconv.Itoa(other)+"`")
			if out, err := exec.Command("sh", "-ec", h.Command).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if r := (place{}).check(t, manifest, "--wait", "10s")[0]; r.Status != c.after {
				t.Errorf("after `%s`: %s: %s", h.Command, r.Status, r.Message)
			}
			if err := syscall.Kill(own, 0); err != nil {
				t.Errorf("the owner: %v", err)
			}
		})
	}
}

// A worker that does not match is not ended where its master, the owner, would replace it.
func TestRemedyForTheOwnersWorkers(t *testing.T) {
	if !isolated(t) {
		return
	}
	worker := strings.Replace(copies, "os.closerange(0, 3)", "os.setuid(65534)\n        os.write(1, b'')", 1)
	pid := python(t, handling+worker)
	manifest := filepath.Join(t.TempDir(), "portcheck.yml")
	writeManifest(t, manifest, "{name: web, port: 8080, owner: {user: root}}")
	r := place{}.check(t, manifest)[0]
	if r.Status != check.InUse {
		t.Fatalf("%s: %s", r.Status, r.Message)
	}
	wants(t, remedy(t, r).Text, "let `owner` match python3", "as well", "not", "kill", "pid "+strconv.Itoa(pid)+")")
}
