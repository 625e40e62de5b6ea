//go:build !linux || filelocks

package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/org/portcheck/port"
)

// mechanismPrograms are the programs of the tests below.
var mechanismPrograms = map[string]func([]string) error{
	// It has the lease of a port, and says what it is given.
	"holder": func(args []string) error {
		root, err := makeDirectory(directory())
		if err != nil {
			return err
		}
		n, err := port.ParseNumber(args[0])
		if err != nil {
			return err
		}
		h, err := place{root}.lock(port.TCP, n)
		if err == nil {
			_, err = h.WriteAt([]byte(args[1]), 0)
		}
		if err == nil {
			err = lockByte(h.File, leasedByte)
		}
		if err != nil {
			return err
		}
		fmt.Println("ready")
		time.Sleep(time.Hour)
		return nil
	},
}

const testProgramEnv = "PORTCHECK_TEST_PROGRAM"

// keepFile starts a keeper of ports for one want each.
func keepFile(r Request, sets ...port.Set) (Reply, error) {
	exe, err := os.Executable()
	if err != nil {
		return Reply{}, err
	}
	for _, s := range sets {
		r.Wants = append(r.Wants, Want{Name: "web", Protocols: []port.Protocol{port.TCP}, Ports: s, Length: 1, Guard: true})
	}
	if r.Expires.IsZero() {
		r.Expires = time.Now().Add(time.Minute)
	}
	r.Job, r.App = "job "+r.ID, "shop"
	return Start(context.Background(), exe, nil, []string{testProgramEnv + "=keeper"}, r)
}

func ports(first, last uint16) port.Set { return port.Set{{First: first, Last: last}} }

// startHolder starts the program "holder" and returns once it has the lease.
func startHolder(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), testProgramEnv+"=holder")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		t.Fatal("the holder has not started", err)
	}
	return cmd
}

// awaitFree waits until a port is not leased.
func awaitFree(t *testing.T, n uint16) {
	t.Helper()
	for deadline := soon(); ; time.Sleep(time.Millisecond) {
		if _, leased := Look(port.TCP, n, deadline); !leased {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("port %d is still leased", n)
		}
	}
}

// fewFiles reports whether the tests have to make do with 20,000 files: .ci/wine sets it.
func fewFiles() bool { return os.Getenv("PORTCHECK_TEST_FEW_FILES") != "" }

// As many callers as there are ports for, beside others that look at them all the time:
// each gets its own, at once. Killed keepers give their ports back, and nobody else's.
func TestManyCallersOfFiles(t *testing.T) {
	if !isolated(t) {
		return
	}
	callers, looks := 64, -1 // without end
	if fewFiles() {
		callers, looks = 32, 3
	}
	const each, killed = 3, 16
	all := ports(20000, 20000+uint16(callers)*each-1)
	var done atomic.Bool
	var lookers, wait sync.WaitGroup
	for range 2 {
		lookers.Go(func() {
			for looked := 0; looked != looks && !done.Load(); looked++ {
				if _, err := List(soon()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	holders := map[uint16]string{}
	var lock sync.Mutex
	for i := range callers {
		wait.Go(func() {
			id := strconv.Itoa(i)
			reply, err := keepFile(Request{ID: id}, all, all, all)
			if err != nil || len(reply.First) != each {
				t.Errorf("caller %d: %+v, %v", i, reply, err)
				return
			}
			lock.Lock()
			defer lock.Unlock()
			for _, n := range reply.First {
				if other, taken := holders[n]; taken {
					t.Errorf("port %d is held by %s and %d", n, other, i)
				}
				holders[n] = id
			}
		})
	}
	wait.Wait()
	done.Store(true)
	lookers.Wait()
	pids := map[string]int{}
	for n, id := range holders {
		l, leased := Look(port.TCP, n, soon())
		if !leased || l.ID != id || l.Job != "job "+id || l.PID <= 0 || l.UID != os.Geteuid() || !l.OwnedBy("job "+id) {
			t.Errorf("port %d: leased %t, %+v, want %s", n, leased, l, id)
		}
		pids[l.ID] = l.PID
	}
	if t.Failed() {
		return
	}
	for i := range killed {
		p, err := os.FindProcess(pids[strconv.Itoa(i)])
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for n, id := range holders {
		if i, _ := strconv.Atoi(id); i < killed {
			awaitFree(t, n)
		} else if _, leased := Look(port.TCP, n, soon()); !leased {
			t.Errorf("port %d of keeper %s is not leased any more", n, id)
		}
	}
	if held, err := List(soon()); err != nil || len(held) != (callers-killed)*each {
		t.Errorf("%d ports are leased, want %d: %v", len(held), (callers-killed)*each, err)
	}
	released := map[string]bool{}
	for n, id := range holders {
		if i, _ := strconv.Atoi(id); i >= killed && !released[id] {
			released[id] = true
			if !Release(port.TCP, n, soon()) {
				t.Errorf("%s is not released", id)
			}
		}
	}
	if held, err := List(soon()); err != nil || len(held) != 0 {
		t.Errorf("still leased: %v, %v", held, err)
	}
}

// 8 callers of 100 ports, of which there are 192: one is served.
func TestCallersForMoreFilesThanThereAre(t *testing.T) {
	if !isolated(t) {
		return
	}
	wanted, room := 100, ports(20000, 20191)
	if fewFiles() {
		wanted, room = 25, ports(20000, 20047)
	}
	var served atomic.Int32
	var lock sync.Mutex
	var got []uint16
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			var sets []port.Set
			for range wanted {
				sets = append(sets, room)
			}
			reply, err := keepFile(Request{ID: strconv.Itoa(i)}, sets...)
			if err != nil {
				t.Error(err)
			} else if reply.Unmet == nil {
				served.Add(1)
				lock.Lock()
				got = reply.First
				lock.Unlock()
			}
		})
	}
	wait.Wait()
	if served.Load() != 1 {
		t.Fatalf("%d were served", served.Load())
	}
	if !Release(port.TCP, got[0], soon()) {
		t.Error("not released")
	}
}

// A lease ends at its time, and with a process.
func TestFileLeasesEnd(t *testing.T) {
	if !isolated(t) {
		return
	}
	process := startHolder(t, "20100", "{}\n")
	for n, r := range map[uint16]Request{
		20000: {ID: "past", Expires: time.Now()},
		20001: {ID: "short", Expires: time.Now().Add(time.Second)},
		20002: {ID: "until", UntilExit: process.Process.Pid},
	} {
		if reply, err := keepFile(r, ports(n, n)); err != nil || len(reply.First) != 1 {
			t.Fatal(reply, err)
		}
	}
	awaitFree(t, 20000)
	awaitFree(t, 20001)
	if l, leased := Look(port.TCP, 20002, soon()); !leased || l.ID != "until" {
		t.Fatalf("leased %t, %+v", leased, l)
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitFree(t, 20002)
	awaitFree(t, 20100)
}

// A file without a lock is no lease, whatever it says. A lock is one, whatever its file
// says.
func TestStaleFilesAndGarbage(t *testing.T) {
	if !isolated(t) {
		return
	}
	if held, err := List(soon()); err != nil || len(held) != 0 {
		t.Fatal("without a directory:", held, err)
	}
	if _, leased := Look(port.TCP, 20000, soon()); leased {
		t.Error("leased without a directory")
	}
	if err := os.Mkdir(directory(), 0o700); err != nil {
		t.Fatal(err)
	}
	stale, err := json.Marshal(written{Lease{ID: "stale", Job: "stale", Expires: soon()}, os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"tcp-20000": string(stale) + "\n" + strings.Repeat("x", 5000), "tcp-x": "", "tcp-0": "", "tcp-70000": "", "sctp-1": "", "assign": ""} {
		if err := os.WriteFile(filepath.Join(directory(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if held, err := List(soon()); err != nil || len(held) != 0 {
		t.Errorf("stale files: %v, %v", held, err)
	}
	if Release(port.TCP, 20000, soon()) {
		t.Error("a stale file was released")
	}
	garbage := []string{"", "no JSON\n", "{", `{"id": "` + strings.Repeat("y", 5000) + `"}` + "\n", strings.Repeat("x", 100_000), `{"job": "\u001b[2J\n", "pid": -1, "since": "no"}` + "\n"}
	for i, text := range garbage {
		n := uint16(20001 + i)
		startHolder(t, strconv.Itoa(int(n)), text)
		if l, leased := Look(port.TCP, n, soon()); !leased || l.ID != "" || l.Job != "" || l.PID != 0 {
			t.Errorf("%.20q: leased %t, %+v", text, leased, l)
		}
		if Release(port.TCP, n, time.Now().Add(time.Second/5)) {
			t.Errorf("%.20q: a keeper that is not known was released", text)
		}
	}
	reply, err := keepFile(Request{ID: "new"}, ports(20000, 20099), ports(20001, 20099))
	if want := uint16(20001 + len(garbage)); err != nil || len(reply.First) != 2 || reply.First[0] != 20000 || reply.First[1] != want {
		t.Fatalf("got %+v, %v, want 20000 and %d", reply, err, want)
	}
	if l, leased := Look(port.TCP, 20000, soon()); !leased || l.ID != "new" {
		t.Errorf("leased %t, %+v", leased, l)
	}
	if !Release(port.TCP, 20000, soon()) {
		t.Error("not released")
	}
}

// The longest names, of characters that JSON writes with more bytes, are in the file.
func TestLongestNamesOfFiles(t *testing.T) {
	if !isolated(t) {
		return
	}
	for i, text := range []string{"<", `"`, "&", "\u2028", "é"} {
		id, n := strings.Repeat(text, 200), uint16(20000+i)
		r := Request{ID: id}
		r.Wants = []Want{{Name: id, Protocols: []port.Protocol{port.TCP}, Ports: ports(n, n), Length: 1}}
		reply, err := keepFile(r)
		if err != nil || len(reply.First) != 1 {
			t.Errorf("%q: %+v, %v", text, reply, err)
			continue
		}
		if l, leased := Look(port.TCP, n, soon()); !leased || l.ID != Name(id) || l.Name != Name(id) || !l.OwnedBy("job "+id) || l.Expires.IsZero() {
			t.Errorf("%q: leased %t, %+v", text, leased, l)
		}
		if !Release(port.TCP, n, soon()) {
			t.Errorf("%q: not released", text)
		}
	}
}

// The directory has to be the user's own, and nothing in it a link.
func TestDirectoryOfLocks(t *testing.T) {
	if !isolated(t) {
		return
	}
	elsewhere := t.TempDir()
	cases := map[string]func(path string) error{
		"it is no directory": func(path string) error { return os.WriteFile(path, nil, 0o600) },
	}
	if runtime.GOOS != "windows" {
		cases["its mode is 0755, not 0700"] = func(path string) error { return os.Mkdir(path, 0o755) }
		cases["it is no directory "] = func(path string) error { return os.Symlink(elsewhere, path) }
		if os.Geteuid() == 0 {
			cases["it is that of another user"] = func(path string) error {
				if err := os.Mkdir(path, 0o700); err != nil {
					return err
				}
				return os.Chown(path, 1234, 1234)
			}
		}
	}
	for want, arrange := range cases {
		path := directory()
		if err := arrange(path); err != nil {
			t.Fatal(err)
		}
		want = strings.TrimSpace(want)
		_, err := keepFile(Request{ID: "a"}, ports(20000, 20000))
		if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v", want, err)
		}
		if held, err := List(soon()); err == nil {
			t.Errorf("%s: listed %v", want, held)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
		t.Errorf("a link was followed: %v, %v", entries, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Mkdir(directory(), 0o700); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(directory(), "victim")
	if err := os.WriteFile(victim, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("victim", filepath.Join(directory(), "tcp-20000")); err != nil {
		t.Fatal(err)
	}
	if _, err := keepFile(Request{ID: "a"}, ports(20000, 20000)); err == nil || !strings.Contains(err.Error(), "tcp-20000 is no regular file") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "text" {
		t.Errorf("the file behind a link is %q, %v", text, err)
	}
}
