package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/internal/testbed"
)

const nobody = 65534

// threadUIDs lists the effective uid of every thread of this process.
func threadUIDs(t *testing.T) map[string]int {
	t.Helper()
	paths, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	uids := map[string]int{}
	for _, path := range paths {
		status, err := os.ReadFile(path)
		if os.IsNotExist(err) || err != nil && strings.Contains(err.Error(), "no such process") {
			continue // ended meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		if uids[path], err = parseEffectiveUID(status); err != nil {
			t.Fatal(err)
		}
	}
	return uids
}

// A bind as another user has that user's rights, and leaves this process as it
// was: every thread, the main one included.
func TestRunAs(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	req := tries(t, "tcp any 80 as=nobody", "tcp any 80", "tcp any 80 as=65534", "tcp any 8080 as=nobody", "udp any4 80 as=nobody", "tcp any 80 as=root")
	wants := []string{"denied(bind EACCES)", "ok", "denied(bind EACCES)", "ok", "denied(bind EACCES)", "ok"}
	uids := []int{nobody, 0, nobody, nobody, nobody, 0}
	// There are many at the same time, so that the main thread runs some of them.
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 25 {
				facts, err := Local{}.Probe(t.Context(), req)
				if err != nil {
					t.Error(err)
					return
				}
				for i, tried := range facts.Tried {
					// The probes of this test may meet on port 8080 for a moment.
					if got := outcomes(tried.Attempts); got != wants[i] || tried.UID != uids[i] {
						t.Errorf("%s as %q: %s with uid %d, want %s with %d", req.Tries[i].Ports, req.Tries[i].RunAs, got, tried.UID, wants[i], uids[i])
						return
					}
				}
			}
		})
	}
	wait.Wait()
	// A thread ends a moment after its goroutine.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		uids := threadUIDs(t)
		for path, uid := range uids {
			if uid == 0 {
				delete(uids, path)
			}
		}
		if len(uids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("threads of another user: %v", uids)
		}
	}
}

// Only sockets of one user share a port by SO_REUSEPORT. Beside a listener, no bind
// is made for another user either.
func TestRunAsReusePort(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	holder(t, sock{Protocol: "tcp", Addr: "127.0.0.1:8080", ReusePort: true, Listen: true})
	facts := probeHere(t, tries(t, "tcp any 8080 shared as=nobody", "tcp any 8080 shared"))
	for i, uid := range []int{nobody, 0} {
		if got := outcomes(facts.Tried[i].Attempts); got != "not-tried" || facts.Tried[i].UID != uid {
			t.Errorf("%s with uid %d, want not-tried with %d", got, facts.Tried[i].UID, uid)
		}
	}
}

func TestRunAsUnknownUser(t *testing.T) {
	if !inParallel(t) {
		return
	}
	facts := probeHere(t, tries(t, "tcp loopback 8080 as=portcheck-no-such-user", "tcp any 8080", "tcp any 8080 as=portcheck-no-such-user look"))
	tried := facts.Tried[0]
	if len(tried.Attempts) != 2 || tried.UID != -1 {
		t.Fatalf("%+v", tried)
	}
	for _, a := range tried.Attempts {
		if a.Outcome != Failed || a.Op != "look up user" || !strings.Contains(a.Errno, "portcheck-no-such-user") {
			t.Errorf("%+v", a)
		}
	}
	if got := outcomes(facts.Tried[1].Attempts); got != "ok" {
		t.Errorf("the other try: %s", got)
	}
	if got := outcomes(facts.Tried[2].Attempts); got != "not-tried" || facts.Tried[2].Attempts[0].Op != "" {
		t.Errorf("a try without a bind: %+v", facts.Tried[2])
	}
}

func TestUnprivileged(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	pid := holder(t, tcpListener("127.0.0.1:8080")).Process.Pid
	mine := holderWith(t, testbed.Faults{UID: nobody}, tcpListener("127.0.0.1:8081")).Process.Pid
	facts := probeWith(t, testbed.Faults{UID: nobody}, tries(t,
		"tcp any 80", "tcp any 80 as=root", "tcp any 80 as=nobody", "tcp any 8080", "tcp any 8081", "tcp any 8082"))
	for i, want := range []string{"denied(bind EACCES)", "failed(setresuid EPERM)", "denied(bind EACCES)", "in-use", "in-use", "ok"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
	}
	if m := facts.Machine; m.UID != nobody || m.Elevated {
		t.Errorf("%+v", m)
	}
	if len(facts.Sockets) != 2 {
		t.Fatalf("sockets %s", describe(facts.Sockets))
	}
	roots, own := facts.Sockets[0], facts.Sockets[1]
	if roots.Port != 8080 || roots.UID == nil || *roots.UID != 0 || len(roots.Holders) > 0 || roots.Complete {
		t.Errorf("root's socket (pid %d): %s", pid, encode(roots))
	}
	if own.ForksUnseen {
		t.Errorf("the process that started ours can't be examined, but has not forked it: %s", encode(own))
	}
	if own.Port != 8081 || own.UID == nil || *own.UID != nobody || !slices.Equal(pidsOf(own), []int{mine}) || own.Complete {
		t.Errorf("our own user's socket (pid %d): %s", mine, encode(own))
	}
	wantGap(t, facts, Gap{Op: "readlink /proc/PID/fd", Errno: "EACCES", Kind: GapHolders})
	if text := encode(facts.Gaps); !strings.Contains(text, "run as root to see every holder") {
		t.Errorf("gaps %s", text)
	}
}

// Of a server without rights, the copies are seen that have kept them.
func TestForksUnseen(t *testing.T) {
	testbed.NeedUsers(t)
	for name, drop := range map[string]string{"a worker": "become()", "a worker of root": ""} {
		t.Run(name, func(t *testing.T) {
			if !inParallel(t) {
				return
			}
			testbed.StartWith(t, func(*exec.Cmd) {}, "/usr/bin/python3", "-c", `
import ctypes, os, socket, time
def become():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) # PR_SET_DUMPABLE: its user may examine it
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
`+drop+`
if os.fork() == 0:
    os.geteuid() or become()
    print("ready", flush=True)
time.sleep(600)`)
			s := onlySocket(t, probeWith(t, testbed.Faults{UID: nobody}, tries(t, "tcp any 8080")))
			if len(s.Holders) == 0 || s.ForksUnseen != (drop == "") {
				t.Errorf("%s", encode(s))
			}
		})
	}
}

// A worker whose master /proc hides is not taken for a process of its own.
func TestMasterUnseen(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	testbed.StartWith(t, func(*exec.Cmd) {}, "/usr/bin/python3", "-c", `
import ctypes, os, socket, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
if os.fork() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) # PR_SET_DUMPABLE: its user may examine it
    print("ready", flush=True)
time.sleep(600)`)
	for hidden, faults := range map[bool]testbed.Faults{false: {UID: nobody}, true: {UID: nobody, HidePID: true}} {
		s := onlySocket(t, probeWith(t, faults, tries(t, "tcp any 8080")))
		if len(s.Holders) != 1 || s.Holders[0].Master <= 1 || s.Holders[0].MasterUnseen != hidden || !s.ForksUnseen {
			t.Errorf("hidden %t: %s", hidden, encode(s))
		}
	}
}

// If the change of user fails, the attempt has the system call that failed.
func TestRunAsFails(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	for _, c := range []struct {
		call uintptr
		want string
	}{
		{sysSetgroups, "failed(setgroups EPERM)"},
		{sysSetresgid, "failed(setresgid EPERM)"},
		{sysSetresuid, "failed(setresuid EPERM)"},
		{unix.SYS_CAPSET, "failed(capset EPERM)"},
	} {
		deny := testbed.Denial{Call: c.call, Arg: -1, Errno: unix.EPERM}
		facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{deny}}, tries(t, "tcp any 8080 as=nobody", "tcp any 8080"))
		if got := outcomes(facts.Tried[0].Attempts); got != c.want || facts.Tried[0].UID != -1 {
			t.Errorf("%s with uid %d, want %s", got, facts.Tried[0].UID, c.want)
		}
		if got := outcomes(facts.Tried[1].Attempts); got != "ok" {
			t.Errorf("%s: our own user: %s", c.want, got)
		}
	}
}

// A panic on a thread of another user reaches the caller.
func TestRunAsPanic(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	uid := -1
	p := panics.Catch(func() {
		_, _ = asUser("nobody", func(id int) { uid = id; panic("broken") })
	})
	if uid != nobody || p == nil || p.Value != "broken" {
		t.Errorf("uid %d, caught %v", uid, p)
	}
	if os.Geteuid() != 0 {
		t.Errorf("uid %d afterwards", os.Geteuid())
	}
}

// Details of a process that another user may not read are listed as unseen.
func TestUnseenDetails(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	pid := holder(t, tcpListener("127.0.0.1:8080")).Process.Pid
	var h Holder
	var ok bool
	if _, err := asUser("nobody", func(int) { h, ok = newDetails(t.Context(), false).of(pid) }); err != nil {
		t.Fatal(err)
	}
	if !ok || h.Executable != "" || !slices.Equal(h.Unseen, []string{"executable"}) || h.UID != 0 || h.User == "" || h.Process == "" {
		t.Errorf("%t: %+v", ok, h)
	}
}

// wantGap checks that there is a gap like this, with any text.
func wantGap(t *testing.T, facts Facts, want Gap) {
	t.Helper()
	for _, g := range facts.Gaps {
		if g.What != "" {
			g.What = ""
			if g == want {
				return
			}
		}
	}
	t.Errorf("gaps %s, want %+v", encode(facts.Gaps), want)
}

// A /proc that hides other users' processes hides holders, and there is a gap.
func TestHidePID(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	holder(t, tcpListener("127.0.0.1:8080"))
	facts := probeWith(t, testbed.Faults{HidePID: true, UID: nobody}, tries(t, "tcp any 8080"))
	if s := onlySocket(t, facts); len(s.Holders) > 0 || s.Complete {
		t.Errorf("%s", encode(s))
	}
	wantGap(t, facts, Gap{Kind: GapHolders})
}

func TestElevated(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	if m := probeHere(t, Request{}).Machine; m.UID != 0 || !m.Elevated {
		t.Errorf("%+v", m)
	}
}

// A user may be a number that no database has.
func TestRunAsNumber(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedUsers(t)
	const uid = 48123
	tried := probeHere(t, tries(t, fmt.Sprintf("tcp any 8080 as=%d", uid))).Tried[0]
	if got := outcomes(tried.Attempts); got != "ok" || tried.UID != uid {
		t.Errorf("%s with uid %s, want ok with %d", got, strconv.Itoa(tried.UID), uid)
	}
}
