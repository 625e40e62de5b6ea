package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// In a cgroup namespace that is rooted in what a user owns, the cgroups that he names
// like units and containers prove nothing. Units of the system remain known if the
// top of the tree can be told from the path.
func TestForgedOwnersInCgroupNamespace(t *testing.T) {
	t.Parallel()
	t.Run("own processes", func(t *testing.T) {
		if testbed.Isolated(t) {
			testCgroupNamespace(t, false)
		}
	})
	t.Run("all processes", func(t *testing.T) {
		if pids, err := namespaceInode("/proc/self/ns/pid"); err != nil || pids != initialPIDNamespace {
			testbed.Missing(t, "needs the initial PID namespace")
		}
		testCgroupNamespace(t, true)
	})
}

// testCgroupNamespace probes from a cgroup namespace. top is true if the top of the
// tree can be told there.
func testCgroupNamespace(t *testing.T, top bool) {
	testbed.NeedUsers(t)
	const nobody = 65534
	id := fmt.Sprintf("%064x", os.Getpid())
	manager := testbed.Cgroup(t, fmt.Sprintf("user-%d.slice/user@%d.service", nobody, nobody), nobody)
	system := testbed.Cgroup(t, "postgresql.service", 0)
	ours := manager + "/app.slice/portcheck.scope"
	if err := os.MkdirAll(ours, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(ours), ours} {
		if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chown(dir+"/cgroup.procs", nobody, nobody)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name        string
		uid         uint32
		start, join string // the cgroups in which the process starts, and which it then makes
		want        Holder
	}{
		{"beside us", nobody, manager, manager + "/app.slice/postgresql.service", Holder{Unseen: []string{"unit", "container"}}},
		{"outside of what we are in", nobody, manager, manager + "/postgresql.service", Holder{Unseen: []string{"unit", "container"}}},
		{"a container beside us", nobody, manager, manager + "/app.slice/docker-" + id + ".scope", Holder{Container: id, Unseen: []string{"unit"}}},
		{"a container of an engine", nobody, manager, manager + "/docker/" + id, Holder{Container: id, Unseen: []string{"unit"}}},
		{"below us", nobody, manager, ours + "/postgresql.service", Holder{Unseen: []string{"unit", "container"}}},
		{"a service", 0, system, system, map[bool]Holder{
			false: {Unseen: []string{"unit", "container"}},
			true:  {Unit: "postgresql.service", Vouched: []string{"unit"}},
		}[top]},
	} {
		if c.name == "below us" && !top {
			continue // there the user would own the container that portcheck is in
		}
		in := func(cgroup string, uid uint32) func(*exec.Cmd) {
			return func(cmd *exec.Cmd) {
				dir, err := os.Open(cgroup)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = dir.Close() }) // only read from
				cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
				cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
			}
		}
		const listen = "import socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\nprint(s.getsockname()[1], flush=True)\ntime.sleep(600)"
		cmd, number := testbed.StartWith(t, in(c.start, c.uid), "sh", "-ec", testbed.JoinCgroup, c.join, "/usr/bin/python3", "-c", listen)
		_, line := testbed.StartWith(t, func(cmd *exec.Cmd) {
			in(ours, 0)(cmd)
			cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWCGROUP
			cmd.Env = append(os.Environ(), testbed.ProgramEnv+"=probe")
		}, "/proc/self/exe", encode(tries(t, "tcp 127.0.0.1 "+number)))
		var facts Facts
		if err := json.Unmarshal([]byte(line), &facts); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		holders := onlySocket(t, facts).Holders
		if len(holders) != 1 || holders[0].PID != cmd.Process.Pid {
			t.Fatalf("%s: holders %s", c.name, encode(holders))
		}
		got := holders[0]
		if c.want.Unit != "" {
			got.Unseen = nil // cgroup v1 may have other roots
		}
		if got.Unit != c.want.Unit || got.Container != c.want.Container || !slices.Equal(got.Unseen, c.want.Unseen) || !slices.Equal(got.Vouched, c.want.Vouched) {
			t.Errorf("%s: %s, want %s", c.name, encode(got), encode(c.want))
		}
		if c.want.Container != "" && !slices.Contains(got.Parents, os.Getpid()) {
			t.Errorf("%s: parents %v", c.name, got.Parents)
		}
	}
}
