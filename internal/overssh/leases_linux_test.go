package overssh

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// pair is two hosts with a port space of their own each.
type pair struct {
	machines []*testbed.Machine
	targets  []string
	flags    []string // to reach both
}

func startPair(t *testing.T) pair {
	t.Helper()
	p := pair{machines: testbed.StartMachines(t, 2)}
	known := ""
	for _, m := range p.machines {
		s := m.StartSSHD(t)
		target := "ssh://root@" + m.Addr
		p.targets = append(p.targets, target)
		p.flags = append(p.flags, "-t", target, "--identity", s.UserKey)
		text, err := os.ReadFile(s.KnownHosts(t))
		if err != nil {
			t.Fatal(err)
		}
		known += string(text)
	}
	p.flags = append(p.flags, "--known-hosts", write(t, "known", known))
	return p
}

// assigned returns the ports that a run has assigned, by need and target.
func assigned(t *testing.T, r run) map[string]int {
	t.Helper()
	var a struct {
		Ports []struct {
			Name, Target string
			Port         int
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &a); err != nil || r.code != 0 {
		t.Fatalf("exit code %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	ports := map[string]int{}
	for _, p := range a.Ports {
		ports[p.Name+" "+p.Target] = p.Port
	}
	return ports
}

// leased lists "TARGET JOB PORTS" of the leases that a run of `leases -f json` has found.
func leased(t *testing.T, r run) []string {
	t.Helper()
	var l struct {
		Leases []struct {
			Target, Job string
			Ports       []struct{ Port int }
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &l); err != nil || r.code != 0 {
		t.Fatalf("exit code %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	all := []string{}
	for _, x := range l.Leases {
		text := x.Target + " " + x.Job
		for _, p := range x.Ports {
			text += fmt.Sprint(" ", p.Port)
		}
		all = append(all, text)
	}
	return all
}

// TestLeasesOnTwoHosts checks that a job gets the same ports on two hosts, all or none,
// that they outlive the connections, and that another job gets others.
func TestLeasesOnTwoHosts(t *testing.T) {
	if !isolated(t) {
		return
	}
	p := startPair(t)
	clients := []string{"openssh"}
	if os.Getenv("PORTCHECK_TEST_LEASES") != "" {
		clients = append(clients, "builtin")
	}
	for i, client := range clients {
		do := func(args ...string) run {
			t.Helper()
			return portcheck(t, nil, append(append(args, "--ssh", client, "--remote-path", testbed.Program()), p.flags...)...)
		}
		shop := write(t, "portcheck.yml", "version: 1\napp: shop\nrange: 8080-8099\nports: [{name: web, port: 8080}, {name: api, port: 8081}, {name: dns, port: 5353, protocol: udp}]\n")
		one := assigned(t, do("assign", "-f", "json", "--job", "one", shop))
		two := assigned(t, do("assign", "-f", "json", "--job", "two", shop))
		again := assigned(t, do("assign", "-f", "json", "--job", "one", shop))
		nothingLeft(t, "assign")
		for _, name := range []string{"web ", "api ", "dns "} {
			here, there := name+p.targets[0], name+p.targets[1]
			if one[here] == 0 || one[here] != one[there] || two[here] != two[there] || one[here] == two[here] || again[here] != one[here] {
				t.Errorf("%s: %v, %v, %v", name, one, two, again)
			}
		}
		if one["web "+p.targets[0]] != 8080 {
			t.Errorf("the declared port is not chosen: %v", one)
		}
		if env := do("assign", "-f", "env", "--job", "one", shop); env.stdout != "WEB_PORT=8080\nAPI_PORT=8081\nDNS_PORT=5353\n" {
			t.Errorf("%d: %s%s", env.code, env.stdout, env.stderr)
		}

		r := do("verify", "--job", "one", "--no-color", shop)
		if r.code != 1 {
			t.Errorf("verify without servers: %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		var servers []func()
		for _, m := range p.machines {
			servers = append(servers, serveOn(t, m))
		}
		if r := do("verify", "--job", "one", "--wait", "10s", "--no-color", shop); r.code != 0 {
			t.Errorf("verify: %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		for _, stop := range servers {
			stop()
		}
		// Another job's need waits on one host, and holds nothing on the other meanwhile.
		m := p.machines[1]
		m.Hold(t, 9000+i)
		taken := fmt.Sprint(9000 + i)
		if r := do("assign", "--job", "three", "-p", taken); r.code != 1 || !strings.Contains(r.stderr, "tcp-"+taken+" gets no port: tcp "+taken+" is in use by python3") {
			t.Errorf("%d: %s%s", r.code, r.stdout, r.stderr)
		}
		three := assigned(t, do("assign", "-f", "json", "--job", "three", "-p", taken, "--range", "9000-9020"))
		if a, b := three["tcp-"+taken+" "+p.targets[0]], three["tcp-"+taken+" "+p.targets[1]]; a != b || fmt.Sprint(a) == taken {
			t.Errorf("%v", three)
		}
		if r := do("release", "--job", "three"); r.code != 0 || strings.Count(r.stderr, "released ") != 2 {
			t.Errorf("%d: %s", r.code, r.stderr)
		}

		var want []string
		for _, target := range p.targets {
			for _, job := range []string{"one", "two"} {
				ports := map[string]map[string]int{"one": one, "two": two}[job]
				numbers := []int{ports["web "+target], ports["api "+target], ports["dns "+target]}
				slices.Sort(numbers)
				want = append(want, fmt.Sprint(target, " ", job, " ", strings.Trim(fmt.Sprint(numbers), "[]")))
			}
		}
		got := leased(t, do("leases", "-f", "json"))
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("leases %q, want %q", got, want)
		}
		for _, job := range []string{"one", "two"} {
			if r := do("release", "--job", job); r.code != 0 {
				t.Errorf("%d: %s", r.code, r.stderr)
			}
		}
		if got := leased(t, do("leases", "-f", "json")); len(got) > 0 {
			t.Errorf("left: %q", got)
		}
		nothingLeft(t, "release")
	}
}

// serveOn starts a server on the ports 8080 and 8081, and 5353 for udp, of a machine. It
// returns a function that ends it.
func serveOn(t *testing.T, m *testbed.Machine) func() {
	t.Helper()
	words := m.Words("/usr/bin/python3", "-u", "-c", `
import socket, time
keep = []
for n, kind in ((8080, socket.SOCK_STREAM), (8081, socket.SOCK_STREAM), (5353, socket.SOCK_DGRAM)):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", n))
    if kind == socket.SOCK_STREAM: s.listen()
    keep.append(s)
print("ready")
time.sleep(1000)`)
	cmd, _ := testbed.Start(t, words[0], words[1:]...)
	return func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	}
}

// TestLeasesByEveryWayToStart checks that a keeper outlives its session, whichever way
// the program gets to the host.
func TestLeasesByEveryWayToStart(t *testing.T) {
	if !isolated(t) {
		return
	}
	home := t.TempDir()
	s := testbed.StartSSHD(t, "", "SetEnv HOME="+home)
	for name, flags := range map[string][]string{
		"sent":    nil,
		"kept":    {"--agent-cache"},
		"present": {"--remote-path", testbed.Program(), "--ssh", "builtin"},
	} {
		flags := append(append([]string{"-t", "ssh://root@127.0.0.1"}, flags...), reach(t, s)...)
		if r := portcheck(t, nil, append([]string{"assign", "--job", name, "-p", "8080"}, flags...)...); r.code != 0 {
			t.Fatalf("%s: %d: %s%s", name, r.code, r.stdout, r.stderr)
		}
		nothingLeft(t, name)
		if got := leased(t, portcheck(t, nil, "leases", "-f", "json")); len(got) != 1 || got[0] != "local "+name+" 8080" {
			t.Errorf("%s: %q", name, got)
		}
		if r := portcheck(t, nil, "release", "--job", name); r.code != 0 || r.stderr != "portcheck: released 8080/tcp\n" {
			t.Errorf("%s: %d: %s", name, r.code, r.stderr)
		}
	}
}

// TestDirectoryIsAJobOfItsMachine checks that the job of a directory is not the same as
// that of another machine's directory of that name.
func TestDirectoryIsAJobOfItsMachine(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	flags := append([]string{"-t", "ssh://root@127.0.0.1", "-p", "8080", "--remote-path", testbed.Program()}, reach(t, s)...)
	if r := portcheck(t, []string{"CI="}, append([]string{"assign"}, flags...)...); r.code != 0 {
		t.Fatalf("%d: %s%s", r.code, r.stdout, r.stderr)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	out := portcheck(t, nil, "leases").stdout
	if !strings.Contains(out, filepath.Dir(filepath.Dir(here))) || !strings.Contains(out, " on "+name) {
		t.Errorf("the job is not named by its directory and machine:\n%s", out)
	}
	if r := portcheck(t, []string{"CI="}, append([]string{"check", "--no-color"}, flags...)...); r.code != 0 {
		t.Errorf("the job's own port is not free for it: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := portcheck(t, []string{"CI="}, "assign", "-p", "8080"); r.code != 1 {
		t.Errorf("%d: %s%s", r.code, r.stdout, r.stderr)
	}
	portcheck(t, nil, "release", "--all")
}

// TestNoLeaseWithoutAProgram checks the error for a host of which only files can be read.
func TestNoLeaseWithoutAProgram(t *testing.T) {
	if !isolated(t) {
		return
	}
	bin := t.TempDir()
	for _, tool := range []string{"sh", "cat", "uname", "id"} {
		if err := os.Symlink("/bin/"+tool, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	s := testbed.StartSSHD(t, "127.0.0.1:2022", "SetEnv PATH="+bin)
	flags := []string{"-t", "ssh://root@127.0.0.1:2022", "--identity", s.UserKey, "--known-hosts", s.KnownHosts(t, "[127.0.0.1]:2022")}
	for _, command := range [][]string{{"assign", "-p", "8080"}, {"leases"}} {
		r := portcheck(t, nil, append(command, flags...)...)
		if r.code != 3 || !strings.Contains(r.stderr, "no port can be held on this host, since portcheck can't run there: the host has no ") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %d: %s%s", command[0], r.code, r.stdout, r.stderr)
		}
	}
}

// TestCutConnectionLeavesNoLease checks that a lease is there only if assign says so,
// wherever its connection is cut.
func TestCutConnectionLeavesNoLease(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	args := []string{"assign", "--job", "one", "-p", "8080", "-t", "ssh://root@127.0.0.1:2222", "--remote-path", testbed.Program(), "--identity", s.UserKey, "--known-hosts", s.KnownHosts(t, "[127.0.0.1]:2222")}
	whole := startCutter(t, s.Addr, -1, -1)
	if r := portcheck(t, nil, args...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	whole.Close()
	portcheck(t, nil, "release", "--all")
	down := whole.down.Load()
	cut, held := 0, 0
	step := int64(1000)
	if os.Getenv("PORTCHECK_TEST_LEASES") != "" {
		step = 100
	}
	for part := down - 4000; part < down; part += step {
		c := startCutter(t, s.Addr, -1, part)
		r := portcheck(t, nil, args...)
		c.Close()
		nothingLeft(t, "a cut connection")
		if r.code == 0 {
			held++
			portcheck(t, nil, "release", "--all")
			continue
		}
		cut++
		var left []string
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			if left = leased(t, portcheck(t, nil, "leases", "-f", "json")); len(left) == 0 || time.Now().After(deadline) {
				break
			}
		}
		if strings.Contains(r.stderr, "may be left there until") { // only the reply to the last request was cut
			portcheck(t, nil, "release", "--all")
		} else if len(left) > 0 {
			t.Errorf("cut after %d of %d bytes, exit code %d: left %q\n%s", part, down, r.code, left, r.stderr)
		}
	}
	t.Log(down, cut, held)
	if cut == 0 {
		t.Error("nothing was cut")
	}
}
