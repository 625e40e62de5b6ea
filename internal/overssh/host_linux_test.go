package overssh

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/internal/testbed"
)

// everyKind is a manifest with needs of all kinds, fulfilled and not.
const everyKind = `version: 1
app: shop
range: 20000-20020
ports:
  - {name: web, port: 8080}
  - {name: spare, port: 8081, range: 8082-8090}
  - {name: both, port: 8200, protocol: [tcp, udp]}
  - {name: dns, port: 5353, protocol: udp, address: 127.0.0.1}
  - {name: own, port: 9000, owner: {process: "python3*"}}
  - {name: block, port: 8100-8103}
  - {name: sharing, port: 9000, address: 127.0.0.1, socket: {reuse_port: true}}
  - {name: elsewhere, port: 8300, address: 192.0.2.1}
  - {name: six, port: 8400, address: any6}
  - {name: low, port: 81}
  - {name: as-user, port: 82, run_as: "65534"}
  - {name: up, port: 9000, expect: listening}
  - {name: up-other, port: 9000, expect: listening, owner: {process: nginx}}
  - {name: down, port: 9001, expect: listening}
  - {name: near, port: 9100, expect: reachable, remote: 127.0.0.1}
  - {name: far, port: 9001, expect: reachable, remote: 127.0.0.1}
  - {name: near-block, port: 9099-9101, expect: reachable, remote: 127.0.0.1}
  - {name: rival, port: 8500, severity: warning}
  - {name: rival-too, port: 8500, address: 127.0.0.1}
  - {name: chosen, port: auto:2, protocol: [tcp, udp], range: 8080-8089}
  - {name: none, port: auto, range: 8080}
`

const holders = `
import socket, threading, time
keep = []
def hold(family, kind, address, listen=True, reuse=True):
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    s.bind(address)
    if kind == socket.SOCK_STREAM and listen: s.listen()
    keep.append(s)
i4, i6, tcp, udp = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
hold(i4, tcp, ("0.0.0.0", 8080))
hold(i4, tcp, ("127.0.0.1", 8081), listen=False, reuse=False)
hold(i4, udp, ("0.0.0.0", 8200), reuse=False)
hold(i4, udp, ("127.0.0.1", 5353), reuse=False)
hold(i4, tcp, ("0.0.0.0", 9000))
hold(i4, tcp, ("127.0.0.1", 8102))
hold(i4, tcp, ("127.0.0.1", 20001))
hold(i4, tcp, ("127.0.0.1", 9100))
def answer(s):
    while True: keep.append(s.accept())
threading.Thread(target=answer, args=(keep[-1],), daemon=True).start()
print("ready")
time.sleep(1000)
`

// TestHostEqualsLocal checks that the report of a host equals that of a run on the
// host itself, except for the target's name.
func TestHostEqualsLocal(t *testing.T) {
	if !isolated(t) {
		return
	}
	if _, err := exec.LookPath("sudo"); err != nil {
		testbed.Missing(t, "needs sudo")
	}
	testbed.Python(t, holders)
	s := testbed.StartSSHD(t, "", "SetEnv HOME="+t.TempDir())
	manifest := write(t, "portcheck.yml", everyKind)
	here := portcheck(t, nil, "-f", "json", "-t", "local", manifest)
	if want := parse(t, here); here.code != 1 || len(want.Results) != 23 || want.Summary["errors"] < 8 || want.Summary["ok"] < 5 {
		t.Fatalf("the local run shows too little: exit code %d, %v\n%s", here.code, want.Summary, here.stdout)
	}
	local := withoutTime(here.stdout)
	target := "ssh://root@127.0.0.1"
	for _, how := range [][]string{nil, {"--agent-cache"}, {"--agent-cache"}, {"--sudo"}, {"--remote-path", testbed.Program()}} {
		there := portcheck(t, nil, append(append([]string{"-f", "json", "-t", target, manifest}, reach(t, s)...), how...)...)
		if there.code != here.code {
			t.Errorf("%q: exit code %d, want %d\n%s", how, there.code, here.code, there.stderr)
		}
		got := strings.NewReplacer("on "+target+": ", "", "@"+target+"/", "@local/", fmt.Sprintf("%q", target), `"local"`).Replace(withoutTime(there.stdout))
		if got != local {
			t.Errorf("%q: the host's report (-) is not the local one (+):\n%s", how, cmp.Diff(strings.Split(got, "\n"), strings.Split(local, "\n")))
		}
		nothingLeft(t, fmt.Sprintf("after %q", how))
	}
}

// withoutTime returns a JSON report without the line with its time.
func withoutTime(text string) string {
	before, rest, _ := strings.Cut(text, "  \"generated\": ")
	_, after, _ := strings.Cut(rest, "\n")
	return before + after
}
