package host

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// crowd starts a process with count listeners from port 10000 on, and children that
// inherit them, and returns the PIDs.
func crowd(t *testing.T, count, children int) []int {
	t.Helper()
	_, line := testbed.Python(t, `
import ctypes, os, resource, signal, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
sockets = []
for i in range(`+strconv.Itoa(count)+`):
    s = socket.socket()
    s.bind(("127.0.0.1", 10000 + i))
    s.listen()
    sockets.append(s)
pids = [os.getpid()]
for _ in range(`+strconv.Itoa(children)+`):
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL) # PR_SET_PDEATHSIG
        time.sleep(1000)
    pids.append(pid)
print(*pids, flush=True)
time.sleep(1000)
`)
	return pidsIn(t, line)
}

func pidsIn(t *testing.T, line string) (pids []int) {
	t.Helper()
	for word := range strings.FieldsSeq(line) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func hasGap(gaps []Gap, text string) bool {
	return slices.ContainsFunc(gaps, func(g Gap) bool { return g.Kind == GapHolders && strings.Contains(g.What, text) })
}

// Anybody can give thousands of sockets to hundreds of processes. Each socket has a
// holder then, and those that are left out are a gap.
func TestCrowdOfHolders(t *testing.T) {
	testbed.Slow(t, "hundreds of processes")
	if !inParallel(t) {
		return
	}
	const count, children = 250, 100
	crowd(t, count, children)
	ask := try(t, "tcp 127.0.0.1 10000-10249")
	owners := ask
	owners.Owners = true
	for name, req := range map[string]Request{
		"check": {Tries: []Try{ask}}, "owners": {Tries: []Try{owners}}, "list": {Listeners: true},
	} {
		facts := probeHere(t, req)
		total, more := 0, 0
		for _, s := range facts.Sockets {
			total += len(s.Holders)
			if s.MoreHolders {
				more++
			}
			if len(s.Holders) == 0 {
				t.Errorf("%s: port %d has no holder", name, s.Port)
			}
			if s.Complete && len(s.Holders) <= children {
				t.Errorf("%s: port %d is complete with %d holders of %d", name, s.Port, len(s.Holders), children+1)
			}
			if !s.MoreHolders && len(s.Holders) <= children && name != "check" {
				t.Errorf("%s: port %d has %d holders, and none were left out", name, s.Port, len(s.Holders))
			}
		}
		t.Logf("%s: %d sockets, %d holders, %d sockets with more", name, len(facts.Sockets), total, more)
		if len(facts.Sockets) != count || total > MostHolders+count {
			t.Errorf("%s: %d sockets with %d holders, want %d with at most %d", name, len(facts.Sockets), total, count, MostHolders+count)
		}
		if name != "check" && (more == 0 || !hasGap(facts.Gaps, "more holders")) {
			t.Errorf("%s: %d sockets with more holders, gaps %+v", name, more, facts.Gaps)
		}
	}
}

// Of a socket with more holders than are listed, that is said.
func TestHoldersOfOneSocket(t *testing.T) {
	testbed.Slow(t, "a thousand processes")
	if !inParallel(t) {
		return
	}
	ask := try(t, "tcp 127.0.0.1 10000")
	ask.Owners = true
	crowd(t, 1, holdersOfSocket) // with the parent one more
	facts := probeHere(t, Request{Tries: []Try{ask}})
	if s := onlySocket(t, facts); len(s.Holders) != holdersOfSocket || !s.MoreHolders || s.Complete || !hasGap(facts.Gaps, "more holders") {
		t.Errorf("%d holders, more %t, complete %t, gaps %+v", len(s.Holders), s.MoreHolders, s.Complete, facts.Gaps)
	}
}

// noTimeLeft is a context of which too little time is left for a search.
type noTimeLeft struct{ context.Context }

func (noTimeLeft) Deadline() (time.Time, bool) { return time.Now().Add(time.Nanosecond), true }

// A search for holders ends before its context, and what it has not seen is a gap.
func TestHoldersWithoutTime(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8080"))
	ports := new(port.Bits)
	ports.Add(8080)
	for _, every := range []bool{false, true} {
		sockets, err := readDiag(t.Context(), query{protocol: port.TCP, ports: ports}, newDevices())
		if err != nil || len(sockets) != 1 {
			t.Fatalf("%v, %v: want the listener", sockets, err)
		}
		gaps := findHolders(noTimeLeft{t.Context()}, []*Socket{&sockets[0]}, holderQuery{every: every, most: MostHolders})
		if s := sockets[0]; len(s.Holders) > 0 || !s.MoreHolders || s.Complete || !hasGap(gaps, "took too long") {
			t.Errorf("every %t: %+v, gaps %+v", every, s, gaps)
		}
	}
}

// Relatives of a holder that have many descriptors are not examined, unless every
// holder matters.
func TestRelativesWithManyDescriptors(t *testing.T) {
	if !inParallel(t) {
		return
	}
	var stat unix.Stat_t
	if err := unix.Stat("/proc/self/fd", &stat); err != nil || stat.Size == 0 {
		testbed.Missing(t, "needs Linux 6.2, which has the number of descriptors")
	}
	_, line := testbed.Python(t, `
import ctypes, os, resource, signal, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
end, ready = os.pipe()
def child(run):
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL) # PR_SET_PDEATHSIG
        run()
        time.sleep(1000)
    return pid
def many():
    for _ in range(`+strconv.Itoa(descriptorsOfRelatives)+`):
        os.dup(s.fileno())
    os.write(ready, b"%dx" % os.getpid())
def few():
    child(many)
few_pid = child(few)
os.set_blocking(end, True)
got = b""
while not got.endswith(b"x"):
    got += os.read(end, 100)
print(few_pid, os.getpid(), got[:-1].decode(), flush=True)
time.sleep(1000)
`)
	pids := pidsIn(t, line) // the middle one of three generations, the first, the last, which has many
	want := map[bool][]int{false: pids[:2], true: pids}
	ask := try(t, "tcp any 8080")
	for _, owners := range []bool{false, true} {
		ask.Owners = owners
		facts := probeHere(t, Request{Tries: []Try{ask}})
		slices.Sort(want[owners])
		s := onlySocket(t, facts)
		if got := pidsOf(s); !slices.Equal(got, want[owners]) {
			t.Errorf("owners %t: holders %v, want %v", owners, got, want[owners])
		}
		if s.MoreHolders || !owners && (s.Complete || len(facts.Gaps) > 0) {
			t.Errorf("owners %t: more %t, complete %t, gaps %+v", owners, s.MoreHolders, s.Complete, facts.Gaps)
		}
	}
}

// Of a command line with megabytes, the start is shown.
func TestLongCommand(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.Python(t, `
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
print("ready")
time.sleep(1000)
`, "first", strings.Repeat("x", 100_000))
	req := tries(t, "tcp any 8080")
	req.ShowCommand = true
	s := onlySocket(t, probeHere(t, req))
	if len(s.Holders) != 1 {
		t.Fatalf("%d holders, want 1", len(s.Holders))
	}
	command := s.Holders[0].Command
	if text := strings.Join(command, " "); len(text) > commandLimit+len("…") || !strings.Contains(text, " first xxx") || !strings.HasSuffix(text, "x…") {
		t.Errorf("%d bytes: %.300s", len(text), text)
	}
}
