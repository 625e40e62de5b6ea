package host

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

func TestNumbers(t *testing.T) {
	if got := numbers(strings.NewReader("12 0 x\n-5 7\n1\n 2a 4194304 ")); !slices.Equal(got, []int{12, 7, 1, 4194304}) {
		t.Errorf("%v", got)
	}
	if got := numbers(strings.NewReader("")); len(got) > 0 {
		t.Errorf("nothing: %v", got)
	}
}

func TestParseUnifiedMount(t *testing.T) {
	for text, want := range map[string]string{
		"28 1 0:25 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n": "/sys/fs/cgroup",
		"40 27 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
			"41 27 0:34 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n" +
			"42 27 0:34 / /mnt rw - cgroup2 none rw\n": "/sys/fs/cgroup/unified",
		"41 27 0:34 / /five - cgroup2 none rw\n":      "/five",
		"41 27 0:34 / - cgroup2 none rw\n":            "",
		"40 27 0:33 / /sys/fs/cgroup rw - cgroup x\n": "",
		"40 27 0:33 / /cgroup2 rw - tmpfs cgroup2\n":  "",
		"41 27 0:34 / /x rw":                          "",
		"":                                            "",
	} {
		if got := parseUnifiedMount(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestParseUnifiedCgroup(t *testing.T) {
	for text, want := range map[string]string{
		"9:name=systemd:/\n0::/system.slice/nginx.service\n": "/system.slice/nginx.service",
		"0::/\n":                  "/",
		"0::/a":                   "/a",
		"9:name=systemd:/x\n":     "-",
		"10::/x\n8:0::/y\n 0::/z": "-",
		"":                        "-",
	} {
		got, found := parseUnifiedCgroup(text)
		if !found {
			got += "-"
		}
		if got != want {
			t.Errorf("%q: %q, %t, want %q", text, got, found, want)
		}
	}
}

// A process that has ended has no relatives, which is known. The relatives of a
// running process are unknown if they can't be listed.
func TestRelativesThatCannotBeListed(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	groups := newCgroups()
	defer groups.close()
	if kin, mates, _, known := relatives(ended.Process.Pid, groups, siblings{}); len(kin)+len(mates) > 0 || !known {
		t.Errorf("ended: %v, %v, known %t", kin, mates, known)
	}
	if all, err := childrenOf(ended.Process.Pid); len(all) > 0 || err != nil {
		t.Errorf("children of an ended process: %v, %v", all, err)
	}
	if mates, known := groups.matesOf(ended.Process.Pid); len(mates) > 0 || !known {
		t.Errorf("cgroup of an ended process: %v, known %t", mates, known)
	}
	if err := unlessEnded(unix.ENOENT, "/proc/self"); err == nil {
		t.Error("an error of a process that runs is dropped")
	}
	if err := unlessEnded(nil, "/proc/none"); err != nil {
		t.Error(err)
	}
	none := &cgroups{fd: -1}
	defer none.close()
	if mates, known := none.matesOf(os.Getpid()); len(mates) > 0 || known {
		t.Errorf("without cgroup v2: %v, known %t", mates, known)
	}
	if got := none.byID(7); len(got) > 0 {
		t.Errorf("without cgroup v2: %v", got)
	}
}

// The processes of the root cgroup have nothing in common.
func TestRootCgroup(t *testing.T) {
	testbed.NeedRoot(t)
	groups := newCgroups()
	defer groups.close()
	if groups.unified == "" {
		testbed.Missing(t, "needs cgroup v2")
	}
	for _, id := range []uint64{0, 1} {
		if got := groups.byID(id); len(got) > 0 {
			t.Errorf("cgroup %d: %d processes", id, len(got))
		}
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if path, _ := parseUnifiedCgroup(string(text)); path == "/" {
		if mates, known := groups.matesOf(os.Getpid()); len(mates) > 0 || !known {
			t.Errorf("root cgroup: %v, known %t", mates, known)
		}
	}
}

// A process that waits in sigwait takes signals that it neither handles nor blocks.
func TestWaitsForSignals(t *testing.T) {
	for wait, want := range map[string]bool{"signal.sigwait({signal.SIGTERM})": true, "signal.pause()": false} {
		cmd, line := testbed.Python(t, `
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
`+wait)
		if line != "ready" {
			t.Fatal(line)
		}
		pid := cmd.Process.Pid
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); waitsForSignals(pid) != want && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if got := conditionOf(pid, stat{}, status).IgnoresTerm; got == want {
			t.Errorf("%s: ignores SIGTERM: %t", wait, got)
		}
	}
}

// A process blocks SIGTERM if no thread takes it and no descriptor gives it out.
func TestMasksTerm(t *testing.T) {
	const block = "import ctypes, signal, threading\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
	for name, c := range map[string]struct {
		script string
		want   bool
	}{
		"by default":             {"import signal\n", false},
		"in its thread":          {block, true},
		"in all threads":         {block + "threading.Thread(target=signal.pause, daemon=True).start()\n", true},
		"in one of two":          {"import signal, threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n", false},
		"with a signalfd":        {block + "assert ctypes.CDLL(None).signalfd(-1, ctypes.byref(ctypes.create_string_buffer((1 << 14).to_bytes(8, 'little') + bytes(120))), 0) >= 0\n", false},
		"in a thread of sigwait": {block + "threading.Thread(target=signal.sigwait, args=({signal.SIGTERM},), daemon=True).start()\n", false},
	} {
		cmd, line := testbed.Python(t, c.script+"print('ready', flush=True)\nsignal.sigwait({signal.SIGUSR1})")
		if line != "ready" {
			t.Fatal(line)
		}
		pid := cmd.Process.Pid
		got := !c.want
		for deadline := time.Now().Add(5 * time.Second); got != c.want && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				t.Fatal(err)
			}
			got = conditionOf(pid, stat{}, status).MasksTerm
		}
		if got != c.want {
			t.Errorf("SIGTERM blocked %s: %t, want %t", name, got, c.want)
		}
	}
}

// A holder in a cgroup of its own is found without a list of all processes, and then
// nothing claims that these were all examined.
func TestHoldersWithoutListOfProcesses(t *testing.T) {
	s := search{descriptorReader: descriptorReader{wanted: map[uint64][]*Socket{}, ctx: t.Context()}, examined: map[int]bool{1: true}, details: newDetails(t.Context(), false)}
	s.readSelf()
	if !s.stoppedEarly() || s.pids != nil {
		t.Errorf("stopped early: false, or %d processes were listed", len(s.pids))
	}
	for _, pid := range s.all() {
		s.examined[pid] = true
	}
	if s.stoppedEarly() {
		t.Error("stopped early, although all were examined")
	}
}
