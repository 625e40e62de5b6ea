//go:build linux

package acceptance

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// TestCallersByHelper checks that a helper sees NAT rules of the machine, and has no
// CAP_NET_ADMIN any more when it answers.
func TestCallersByHelper(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	if _, err := exec.LookPath("nft"); err != nil {
		testbed.Missing(t, err.Error())
	}
	p := freePorts(t, 3)
	table := fmt.Sprintf("portcheck_acceptance_%d", p[0])
	rules := fmt.Sprintf("table ip %s {\n chain pre { type nat hook prerouting priority -100\n tcp dport %d redirect to :%d comment \"blue\"\n }\n}\n", table, p[0], p[1])
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = shell("nft", "delete", "table", "ip", table) })
	_, _ = listen(t, nil, fmt.Sprint(p[1]))
	holder, _ := listen(t, nil, fmt.Sprint(p[2]))
	s := step{image: v.image, manifest: manifest(need("web", p[0], ""), need("busy", p[2], ", wait: 60s"))}
	s.start(t)
	var helper int
	until(t, func() bool {
		for _, id := range v.helpers(t, "status=running") {
			helper, _ = strconv.Atoi(docker(t, "inspect", "--format", "{{.State.Pid}}", id))
		}
		return helper > 0
	})
	until(t, func() bool { return len(heldSets(t, helper, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP)) == 0 })
	if held := heldSets(t, helper, unix.CAP_SYS_PTRACE); len(held) == 0 {
		t.Error("the helper can't read other processes")
	}
	if err := unix.Kill(holder, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	o := s.wait(t).want(t, 1)
	o.status(t, "busy", check.Free)
	web := o.status(t, "web", check.Redirected)
	if !strings.Contains(web.Message, fmt.Sprintf(":%d of server (pid ", p[1])) || web.Redirect == nil || web.Redirect.Comment != "blue" {
		t.Errorf("%s, %+v", web.Message, web.Redirect)
	}
	// A need that waits is met once the rule has gone.
	s = step{image: v.image, manifest: manifest(need("web", p[0], ", wait: 60s"))}
	s.start(t)
	helper = 0
	until(t, func() bool {
		for _, id := range v.helpers(t, "status=running") {
			helper, _ = strconv.Atoi(docker(t, "inspect", "--format", "{{.State.Pid}}", id))
		}
		return helper > 0 && len(heldSets(t, helper, unix.CAP_NET_ADMIN)) == 0
	})
	if out, err := shell("nft", "delete", "table", "ip", table); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.wait(t).want(t, 0).status(t, "web", check.Free)
	basic := step{image: v.image, manifest: manifest(need("web", p[0], "")), inputs: map[string]string{"evidence": "basic"}}.run(t).want(t, 0)
	if why := degraded(basic.target(t).Notices); !strings.Contains(why, "NAT rules can't be read") || !strings.Contains(why, "evidence: basic") {
		t.Errorf("degraded: %q", why)
	}
}

// until waits for a condition.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true")
		}
	}
}

// heldSets returns the sets of threads of a process that have one of the
// capabilities. There are none if the process has ended.
func heldSets(t *testing.T, pid int, capabilities ...int) []string {
	t.Helper()
	var held []string
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.Open(file)
		if err != nil {
			continue // the thread has ended
		}
		for lines := bufio.NewScanner(text); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ":")
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			for _, c := range capabilities {
				if strings.HasPrefix(name, "Cap") && err == nil && set>>c&1 == 1 {
					held = append(held, file+" "+name)
				}
			}
		}
		_ = text.Close()
	}
	return held
}

// TestAllocated checks that a port which the engine has given to a container is the
// container's, even if the process that held it has been killed.
func TestAllocated(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	name := "portcheckacceptance_" + strconv.Itoa(p[0])
	serve(t, []string{"--name", name, "-p", fmt.Sprintf("%d:80", p[0])}, 80)
	run := func(code int, more string) check.Result {
		return step{image: v.image, manifest: manifest(need("web", p[0], more))}.run(t).want(t, code).result(t, "web")
	}
	if r := run(0, ", expect: listening, owner: {container: "+name+"}"); r.Status != check.Listening {
		t.Errorf("with its proxy: %s: %s", r.Status, r.Message)
	}
	killProxies(t, p[0])
	until(t, func() bool { return bindable(p[0]) == nil })
	if r := run(1, ""); r.Status != check.InUse || !strings.Contains(r.Message, "container "+name) {
		t.Errorf("without its proxy: %s: %s", r.Status, r.Message)
	}
	if r := run(0, ", owner: {container: "+name+"}"); r.Status != check.Owned {
		t.Errorf("without its proxy, owner: %s: %s", r.Status, r.Message)
	}
	if r := run(0, ", expect: listening, owner: {container: "+name+"}"); r.Status != check.Listening {
		t.Errorf("without its proxy, listening: %s: %s", r.Status, r.Message)
	}
}

// killProxies kills the processes that hold a port for a container.
func killProxies(t *testing.T, port int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		words := strings.Split(string(text), "\x00")
		at := slices.Index(words, "-host-port")
		if err != nil || at < 0 || path.Base(words[0]) != "docker-proxy" || words[at+1] != strconv.Itoa(port) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil {
			err = unix.Kill(pid, unix.SIGKILL)
		}
		if err != nil {
			t.Fatal(err)
		}
		killed++
	}
	if killed == 0 {
		t.Fatalf("no docker-proxy holds %d", port)
	}
}
