//go:build linux

package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
)

// leasing is a workflow that starts a server on a port of its own. It ends when all
// workflows have come to their last step.
const leasing = `name: NAME
on: push
jobs:
  e2e:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./assign
        id: ports
        with:
          command: assign
          export-env: true
      - run: |
          trap "" HUP # act runs a step on a terminal, and hangs up
          "$SERVER" "$WEB_PORT" >/dev/null 2>&1 &
          echo $! >"$MEET/NAME.pid"
          echo "web is on ${{ fromJSON(steps.ports.outputs.ports)[0].port }}, $WEB_PORT"
      - uses: ./assign
        with:
          command: verify
          wait: 20s
      - run: |
          touch "$MEET/NAME"
          until [ -e "$MEET/end" ]; do sleep 0.1; done
          END
`

// TestActLeases runs workflows with the same manifest at the same time on one machine:
// one that succeeds, one that fails, and one that is cancelled. Each gets a port of its
// own, verifies it, and leaves nothing.
func TestActLeases(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	binary, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	first := freePorts(t, 1)[0]
	app := "shop-" + strings.TrimPrefix(v.image, "portcheck-acceptance:")
	files := map[string]string{
		"portcheck.yml": fmt.Sprintf("version: 1\napp: %s\nrange: %d-%d\nports:\n%s", app, first, first+50, need("web", first, "")),
	}
	ends := map[string]string{"succeeds": "true", "fails": "false", "cancelled": "sleep 60"}
	for name, end := range ends {
		files[".github/workflows/"+name+".yml"] = strings.NewReplacer("NAME", name, "END", end).Replace(leasing)
	}
	repository := newActRepository(t, v, "assign", files)
	t.Cleanup(func() { docker(t, "image", "rm", "act-assign-dockeraction:latest") })
	meet := temp(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	leased := func() (leases []check.ListedLease) {
		var all check.Leases
		out := docker(t, "run", "--rm", "--network", "host", v.image, "portcheck", "leases", "-f", "json")
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, l := range all.Leases {
			if l.App == app {
				leases = append(leases, l)
			}
		}
		return leases
	}

	logs, runs := map[string]*bytes.Buffer{}, map[string]*exec.Cmd{}
	ended := make(chan string, len(ends))
	for name := range ends {
		log := &bytes.Buffer{}
		cmd := repository.push(ctx, name, "-W", ".github/workflows/"+name+".yml", "-P", "ubuntu-latest=-self-hosted")
		cmd.Env = append(cmd.Env, "SERVER="+binary, "MEET="+meet)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		logs[name], runs[name] = log, cmd
		go func() {
			_ = cmd.Wait() // its exit code is checked below
			ended <- name
		}()
	}
	t.Cleanup(func() {
		for name := range ends {
			text, err := os.ReadFile(filepath.Join(meet, name+".pid"))
			if err != nil {
				continue
			}
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended already
			}
		}
	})
	met := func() bool {
		for name := range ends {
			if _, err := os.Stat(filepath.Join(meet, name)); err != nil {
				return false
			}
		}
		return true
	}
	over := map[string]bool{}
	for !met() && ctx.Err() == nil && len(over) == 0 {
		select {
		case name := <-ended:
			over[name] = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	if len(over) == 0 && ctx.Err() == nil {
		if all := leased(); len(all) != len(ends) {
			t.Errorf("leases %+v, want %d", all, len(ends))
		}
		_ = runs["cancelled"].Process.Signal(syscall.SIGINT)
	}
	write(t, filepath.Join(meet, "end"), "")
	for len(over) < len(ends) {
		over[<-ended] = true
	}

	ports, said := map[string]string{}, regexp.MustCompile(`\| web is on (\d+), (\d+)`)
	for name, log := range logs {
		if code := runs[name].ProcessState.ExitCode(); (code == 0) != (name == "succeeds") {
			t.Errorf("%s: exit code %d\n%s", name, code, log)
		}
		m := said.FindStringSubmatch(log.String())
		if m == nil || m[1] != m[2] || ports[m[1]] != "" || !strings.Contains(log.String(), "portcheck: released "+m[1]+"/tcp") {
			t.Errorf("%s: ports %v, of others: %v\n%s", name, m, ports, log)
			continue
		}
		ports[m[1]] = name
	}
	if all := leased(); len(all) > 0 {
		t.Errorf("leases are left: %+v", all)
	}
	v.noKeepers(t, "after the jobs")
}
