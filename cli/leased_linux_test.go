package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// reportOf runs a check and returns its report by the names of the needs.
func reportOf(t *testing.T, env []string, args ...string) map[string]check.Result {
	t.Helper()
	out, err := inDir(".", env, append([]string{"check", "-f", "json"}, args...)...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var r check.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	results := map[string]check.Result{}
	for _, x := range r.Results {
		results[fmt.Sprintf("%s/%s", x.Name, x.Protocol)] = x
	}
	return results
}

// TestLeasedPorts checks how others and the job itself see leased ports.
func TestLeasedPorts(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	manifest := filepath.Join(dir, "portcheck.yml")
	writeText(t, manifest, "version: 1\napp: shop\nrange: 8080-8083\nports: [{name: web, port: 8080}, {name: dns, port: 5300, protocol: udp}]\n")
	mustInDir(t, dir, "assign", "--job", "one")
	l, _ := lease.Look(port.TCP, 8080, time.Now().Add(10*time.Second))

	for name, x := range reportOf(t, nil, manifest) {
		if x.Status != check.Leased || x.OK || x.Lease == nil || x.Lease.Job != "one" || x.Lease.PID != l.PID || x.Lease.App != "shop" || x.Lease.Expires.IsZero() {
			t.Errorf("another job: %s is %+v", name, x)
		}
		if want := fmt.Sprintf("is leased to one (held by pid %d, user root) until ", l.PID); !strings.Contains(x.Message, want) {
			t.Errorf("%s: %q, want %q", name, x.Message, want)
		}
		for _, e := range x.Endpoints {
			if e.Outcome != "not-tried" {
				t.Errorf("%s was bound: %+v", name, e)
			}
		}
		for _, p := range x.Alternatives {
			if p == 8080 && x.Protocol == port.TCP {
				t.Errorf("%s: a leased port is suggested", name)
			}
		}
	}
	for name, x := range reportOf(t, []string{"PORTCHECK_JOB=one"}, manifest) {
		if x.Status != check.Free || x.Lease != nil || len(x.Notices) > 0 || len(x.Holders) > 0 {
			t.Errorf("the job itself: %s is %+v", name, x)
		}
	}
	if out := mustInDir(t, dir, "free", "--range", "8080-8083"); out != "8081\n" {
		t.Errorf("free: %s", out)
	}
	if out := mustInDir(t, dir, "free", "--range", "5300-5301", "--protocol", "udp"); out != "5301\n" {
		t.Errorf("free: %s", out)
	}

	// A job that got another port is told which.
	if out := mustInDir(t, dir, "assign", "--job", "two", "--range", "5300-5310"); strings.Contains(out, "this job has") {
		t.Errorf("assign tells as news what it has chosen: %s", out)
	}
	for job, want := range map[string]bool{"two": true, "three": false} {
		x := reportOf(t, []string{"PORTCHECK_JOB=" + job}, manifest)["web/tcp"]
		if x.Status != check.Leased || strings.Contains(x.Message, "; this job has 53") != want {
			t.Errorf("job %s: %+v", job, x)
		}
		if want := []uint16{8081, 8082}; !slices.Equal(x.Alternatives, want) {
			t.Errorf("job %s: alternatives %d, want %d: a port beyond the range is none", job, x.Alternatives, want)
		}
	}
	mustInDir(t, dir, "release", "--job", "two")

	// The port that the job has is its first alternative.
	mustInDir(t, dir, "assign", "--job", "two", "--range", "8082")
	for job, want := range map[string][]uint16{"two": {8082, 8081, 8083}, "three": {8081, 8083}} {
		if x := reportOf(t, []string{"PORTCHECK_JOB=" + job}, manifest)["web/tcp"]; !slices.Equal(x.Alternatives, want) {
			t.Errorf("job %s: alternatives %d, want %d", job, x.Alternatives, want)
		}
	}
	mustInDir(t, dir, "release", "--job", "two")

	server, err := net.Listen("tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	x := reportOf(t, nil, manifest)["web/tcp"]
	if x.Status != check.InUse || x.Lease == nil || x.Lease.Job != "one" || len(x.Holders) != 1 || x.Holders[0].PID != os.Getpid() {
		t.Errorf("a server listens: %+v", x)
	}
	if !strings.Contains(x.Message, ", and leased to one ") {
		t.Errorf("a server listens: %q", x.Message)
	}
	if x := reportOf(t, []string{"PORTCHECK_JOB=one"}, manifest)["web/tcp"]; x.Status != check.InUse || x.Lease != nil {
		t.Errorf("the job's own server listens: %+v", x)
	}
}

// TestReleaseAtOnce checks that a lease which somebody else ends at the same moment has
// ended for both.
func TestReleaseAtOnce(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	for range 12 {
		mustInDir(t, dir, "assign", "--job", "mine", "-p", "8000", "-p", "8001")
		var both sync.WaitGroup
		for range 3 {
			both.Go(func() {
				if out, err := inDir(dir, nil, "release", "--job", "mine"); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
		both.Wait()
		if out := mustInDir(t, dir, "leases"); strings.Contains(out, "8000") {
			t.Fatalf("a lease is left:\n%s", out)
		}
	}
}

// processIs waits until a process is in a state of proc_pid_stat(5).
func processIs(t *testing.T, pid int, state string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && strings.Contains(string(stat), ") "+state+" ") {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("process %d is not in state %s: %s, %v", pid, state, stat, err)
		}
	}
}

// TestFlagsOfVerify checks that no flag is taken that changes nothing.
func TestFlagsOfVerify(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "portcheck.yml"), "version: 1\napp: shop\nports: [{name: web, port: 8080}, {name: db, port: 5432, expect: listening}]\n")
	mustInDir(t, dir, "assign", "--job", "mine")
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	db, err := net.Listen("tcp", ":5433")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, args := range [][]string{{"--set", "web=8080"}, {"--set", "shop/web=8080", "--set", "db=5433"}, {"--offset", "1"}} {
		if out, err := inDir(dir, nil, append([]string{"verify", "--job", "mine"}, args...)...); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(out, "verify checks web on the port that the job holds for it") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	mustInDir(t, dir, "verify", "--job", "mine", "--set", "db=5433")
	mustInDir(t, dir, "verify", "--job", "mine", "--offset", "1", "--only", "db")
}

// TestFreeLeavesOutOwnLeases checks that a port which free prints is for something new.
func TestFreeLeavesOutOwnLeases(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	mustInDir(t, ".", "assign", "--job", "mine", "-p", "36000", "-p", "36000/udp")
	for _, protocol := range []string{"tcp", "udp", "tcp,udp"} {
		out, err := inDir(".", []string{"PORTCHECK_JOB=mine"}, "free", "--range", "36000-36001", "--protocol", protocol)
		if err != nil || out != "36001\n" {
			t.Errorf("%s: %q, %v", protocol, out, err)
		}
	}
}

// TestWhyNoPortIsFree checks that free and assign name the cause if no port would do, and
// that the advice fits it.
func TestWhyNoPortIsFree(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "away.yml"), "version: 1\nports: [{name: web, port: 8080, address: 10.9.9.9}]\n")
	writeText(t, filepath.Join(dir, "both.yml"), "version: 1\nports: [{name: web, port: 8080}, {name: api, port: 8080}]\n")
	mustInDir(t, dir, "assign", "--job", "other", "-p", "8081")
	for _, c := range []struct {
		args []string
		code string
		want []string
	}{
		{[]string{"free", "--range", "8000-8009", "--address", "10.9.9.9"}, "1", []string{"10.9.9.9 can't be bound: the address is not on this host\n", "8000-8009 has no free tcp port\n"}},
		{[]string{"assign", "away.yml"}, "1", []string{"the address is not on this host\nno other port would help: give the need an address"}},
		{[]string{"assign", "both.yml"}, "1", []string{"another need of this run, has 8080\ngive one of the two needs another port"}},
		{[]string{"assign", "-p", "8081"}, "1", []string{"\nend what has the port, give others"}},
	} {
		_, err := inDir(dir, nil, c.args...)
		if err == nil || !strings.Contains(err.Error(), "exit status "+c.code) {
			t.Errorf("%v: %v", c.args, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: no %q in %v", c.args, want, err)
			}
		}
	}
	if out := mustInDir(t, dir, "free", "--range", "8000-8009"); out != "8000\n" {
		t.Errorf("free: %q", out)
	}
}

// TestNamesOfJobs checks that a job can't be named by nothing that can be seen, and that
// what a keeper says can't go on with a sentence or a table.
func TestNamesOfJobs(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	for _, c := range []struct{ env, args []string }{{nil, []string{"assign", "-p", "8000", "--job", " "}}, {[]string{"PORTCHECK_JOB=  "}, []string{"assign", "-p", "8000"}}, {nil, []string{"release", "--job", " "}}} {
		if _, err := inDir(".", c.env, c.args...); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "which nobody can see") {
			t.Errorf("%v %v: %v", c.env, c.args, err)
		}
	}
	mustInDir(t, ".", "assign", "-p", "8000", "--job", "root-job (held by pid 1, uid 0) until 2099-01-01T00:00:00Z; run x")
	const quoted = `"root-job (held by pid 1, uid 0) until 2099-01-01T00:00:00Z; run x"`
	if x := reportOf(t, nil, "-p", "8000")["tcp-8000/tcp"]; !strings.Contains(x.Message, "is leased to "+quoted+" (held by pid ") || x.Lease == nil || x.Lease.Job != strings.Trim(quoted, `"`) {
		t.Errorf("check: %+v", x)
	}
	if out := mustInDir(t, ".", "leases"); !strings.Contains(out, "  "+quoted+"  ") {
		t.Errorf("leases:\n%s", out)
	}
	mustInDir(t, ".", "release", "--all")

	// A lease that ends with a process.
	mustInDir(t, ".", "assign", "-p", "8000", "--job", "mine", "--until-exit", fmt.Sprint(os.Getpid()))
	if x, want := reportOf(t, nil, "-p", "8000")["tcp-8000/tcp"], fmt.Sprintf(" until process %d ends, ", os.Getpid()); !strings.Contains(x.Message, want) {
		t.Errorf("%q, want %q", x.Message, want)
	}
}

// TestLeaseUntilAZombieExits checks that a process which has ended, and that nobody has
// waited for, is none that a lease could end with.
func TestLeaseUntilAZombieExits(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	zombie := exec.Command("/bin/true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = zombie.Wait() }()
	processIs(t, zombie.Process.Pid, "Z")
	if _, err := inDir(".", nil, "assign", "-p", "8000", "--until-exit", fmt.Sprint(zombie.Process.Pid)); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "there is no such process here") {
		t.Error(err)
	}
}

// TestPortsThatCanNotBeWritten checks that it is said how to release what is leased and
// could not be written.
func TestPortsThatCanNotBeWritten(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		testbed.Missing(t, err.Error())
		return
	}
	defer full.Close()
	for _, c := range []struct {
		stdout *os.File
		args   []string
	}{{full, nil}, {nil, []string{"-o", "dotenv=/dev/full"}}} {
		code, stderr := runsInto(t, c.stdout, nil, append([]string{"assign", "-p", "8000", "--job", "mine"}, c.args...)...)
		l, leased := lease.Look(port.TCP, 8000, time.Now().Add(10*time.Second))
		if want := "portcheck: the ports stay leased to mine until "; code != exitUnknown || !leased || !strings.Contains(stderr, want) || !strings.Contains(stderr, ", or until `portcheck release "+l.ID+"`\n") {
			t.Errorf("%v: exit code %d, leased: %t\n%s", c.args, code, leased, stderr)
		}
		mustInDir(t, ".", "release", l.ID)
	}
}

// A job that has leased very many ports knows and releases them, also where a stranger has
// the names of as many others.
func TestLeasesOfVeryManyPorts(t *testing.T) {
	t.Parallel()
	testbed.NeedUsers(t)
	if !testbed.Isolated(t) {
		return
	}
	for n := 10000; n < 14500; n++ { // they are listed before those of the job
		l, err := net.Listen("unix", fmt.Sprintf("@portcheck/1/tcp/%d", n))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	usersMayRun(t)
	as := func(args ...string) (string, error) {
		cmd := exec.Command("setpriv", append([]string{"--reuid", "1234", "--clear-groups", "portcheck"}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for range 2 {
		if out, err := as("assign", "-q", "--job", "many", "-p", "30000-35199"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := as("release", "--all"); err != nil || !strings.Contains(out, "and 5190 more") || strings.Count(out, "released") != 1 {
		t.Errorf("release: %v: %s", err, out)
	}
	if out, err := as("release", "--job", "many"); err != nil || !strings.Contains(out, "there is no lease") {
		t.Errorf("release again: %v: %s", err, out)
	}
}
