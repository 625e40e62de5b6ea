package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// assignments runs assign for one job several times at once, with arguments of each.
func assignments(t *testing.T, dir string, calls ...[]string) []check.Assignment {
	t.Helper()
	all := make([]check.Assignment, len(calls))
	var running sync.WaitGroup
	for i, args := range calls {
		running.Go(func() {
			out, err := inDir(dir, nil, append([]string{"assign", "-f", "json", "--job", "mine"}, args...)...)
			if err == nil {
				err = json.Unmarshal([]byte(out), &all[i])
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	return all
}

// leasesIn returns the leases of the machine.
func leasesIn(t *testing.T, dir string) []check.ListedLease {
	t.Helper()
	var all check.Leases
	if err := json.Unmarshal([]byte(mustInDir(t, dir, "leases", "-f", "json")), &all); err != nil {
		t.Fatal(err)
	}
	return all.Leases
}

// TestOneJobAtOnce starts assign several times at once for one job: it has one set of
// ports.
func TestOneJobAtOnce(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "portcheck.yml"), "version: 1\napp: shop\nports: [{name: web, port: auto, range: 20000-20100}, {name: api, port: 20200}]\n")
	for range often(1) {
		all := assignments(t, dir, nil, nil, nil, nil)
		for _, a := range all {
			if fmt.Sprint(a) != fmt.Sprint(all[0]) {
				t.Errorf("%+v and %+v", all[0], a)
			}
		}
		if l := leasesIn(t, dir); len(l) != 1 {
			t.Errorf("the job has %+v", l)
		}
		mustInDir(t, dir, "release", "--all")
	}

	// Needs that differ: what they have in common has one port.
	all := assignments(t, dir, []string{"-p", "8080"}, []string{"-p", "8080", "-p", "8081"}, []string{"-p", "8081"})
	for i, want := range []string{"[8080]", "[8080 8081]", "[8081]"} {
		var got []uint16
		for _, p := range all[i].Ports {
			got = append(got, p.Port)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%d: %v, want %s", i, got, want)
		}
	}
	ports := 0
	for _, l := range leasesIn(t, dir) {
		ports += len(l.Ports)
	}
	if ports != 2 {
		t.Errorf("the job has %d ports", ports)
	}

	// Two that wait for a port that another job has, and one that does not have to.
	mustInDir(t, dir, "assign", "--job", "other", "-p", "9000")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for _, a := range assignments(t, dir, []string{"--wait", "10m", "-p", "9000"}, []string{"--wait", "10m", "-p", "9000"}) {
			if len(a.Ports) != 1 || a.Ports[0].Port != 9000 {
				t.Errorf("after the wait: %+v", a)
			}
		}
	})
	assignments(t, dir, []string{"-p", "9001"})
	mustInDir(t, dir, "release", "--job", "other")
	waiting.Wait()
	n := 0
	for _, l := range leasesIn(t, dir) {
		for _, p := range l.Ports {
			if p.Port == 9000 {
				n++
			}
		}
	}
	if n != 1 {
		t.Errorf("%d leases have the port", n)
	}
}

// TestOneJobAtOnceAndAgain stops an assignment that has started, and kills it: the next
// one of the job waits for it, and then has what it would have had.
func TestOneJobAtOnceAndAgain(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "portcheck.yml"), "version: 1\napp: shop\nports: [{name: web, port: auto, range: 20000-20100}]\n")
	for i := range 4 {
		// It is at another place each time.
		first := program(nil, "assign", "--job", "mine")
		first.Dir = dir
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 15 * time.Millisecond)
		_ = first.Process.Signal(syscall.SIGSTOP) // it may have ended
		killed := time.AfterFunc(200*time.Millisecond, func() { _ = first.Process.Kill() })
		if all := assignments(t, dir, nil); len(all[0].Ports) != 1 {
			t.Errorf("%+v", all)
		}
		killed.Stop()
		_ = first.Process.Kill()
		_ = first.Wait()
		if l := leasesIn(t, dir); len(l) != 1 {
			t.Errorf("the job has %+v", l)
		}
		mustInDir(t, dir, "release", "--all")
	}
}

// TestOneDirectoryByTwoPaths checks that the job of a directory does not depend on the
// links that led there.
func TestOneDirectoryByTwoPaths(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	parent := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(parent, "tree/.git"), 0o755), os.WriteFile(filepath.Join(parent, "tree/.git/HEAD"), []byte("ref: refs/heads/main\n"), 0o644), os.Mkdir(filepath.Join(parent, "plain"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tree", "plain"} {
		if err := os.Symlink(name, filepath.Join(parent, name+"-link")); err != nil {
			t.Fatal(err)
		}
		var said [2]string
		for i, dir := range []string{name, name + "-link"} {
			cmd := program(nil, "assign", "-p", "8000")
			cmd.Dir = filepath.Join(parent, dir)
			cmd.Env = append(os.Environ(), "PWD="+cmd.Dir) // as a shell says it
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", dir, err, out)
			}
			said[i] = string(out)
		}
		if said[0] != said[1] {
			t.Errorf("%s and\n%s", said[0], said[1])
		}
		mustInDir(t, parent, "release", "--all")
	}
}

// A need that was renamed can't have the port that the job holds under the old name. It is
// told so at once, and how to go on.
func TestRenamedNeed(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	write := func(name, rest string) {
		writeText(t, filepath.Join(dir, "portcheck.yml"), "version: 1\napp: shop\nports:\n  - {name: "+name+", port: 20000"+rest+"}\n")
	}
	write("web", "")
	id := leasedBy(t, dir)
	write("frontend", "")
	_, err := inDir(dir, nil, "assign", "--wait", "5m")
	if err == nil {
		t.Fatal("two needs have one port")
	}
	for _, want := range []string{"shop/frontend gets no port: this job holds tcp 20000 for shop/web (lease " + id + ")", "`portcheck release " + id + "`"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	write("frontend", ", range: 20000-20009")
	if out := mustInDir(t, dir, "assign"); !strings.Contains(out, "instead of 20000: this job holds tcp 20000 for shop/web") {
		t.Error(out)
	}
	mustInDir(t, dir, "release", id)
	write("backend", "")
	mustInDir(t, dir, "assign")
}

// leasedBy assigns in a directory and returns the ID of the lease.
func leasedBy(t *testing.T, dir string) string {
	t.Helper()
	mustInDir(t, dir, "assign")
	return leasesIn(t, dir)[0].ID
}
