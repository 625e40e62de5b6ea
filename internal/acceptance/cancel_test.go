//go:build linux

package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// Whenever a step is cancelled, nothing of it stays.
func TestCancelled(t *testing.T) {
	t.Parallel()
	const (
		rounds  = 25 // of each signal
		timeout = time.Second
		wait    = 300 * time.Millisecond
		settled = 200 * time.Millisecond // without a helper
	)
	v := newVariant(t)
	p := freePorts(t, 1)
	listen(t, nil, fmt.Sprint(p[0]))
	random := newRandom(t)
	codes := map[int]int{}
	var alive time.Duration
	ranOn := 0
	for i := range 2 * rounds {
		s := step{
			image:    v.image,
			manifest: manifest(need("web", p[0], "")),
			inputs:   map[string]string{"timeout": timeout.String(), "wait": wait.String()},
		}
		s.start(t)
		awaitRunning(t, s.name)
		moment := early(random, 700*time.Millisecond)
		time.Sleep(moment)
		if i < rounds { // as the runner cancels
			_ = s.cmd.Process.Signal(syscall.SIGINT) // it may have ended
			o := s.wait(t)
			codes[o.code]++
			// A process that is PID 1 and gets a signal before its main begins is
			// ended by Go's runtime, which says 2.
			unborn := o.code == 2 && o.stdout+o.stderr == ""
			if o.code != 130 && o.code != 1 && !unborn {
				t.Errorf("SIGINT after %s: exit code %d, want 130, or 1 of a run that had finished\n%s", moment, o.code, o)
			}
			if left := v.helpers(t); len(left) > 0 {
				t.Errorf("SIGINT after %s: a helper is left: %s", moment, describe(t, left))
			}
			continue
		}
		post(t, s.name, "kill?signal=KILL")
		killed := time.Now()
		s.wait(t)
		// The engine may still be about to start one that was asked for.
		var left []string
		for last := killed; time.Since(last) < settled; time.Sleep(10 * time.Millisecond) {
			if left = v.helpers(t, "status=running"); len(left) > 0 {
				ranOn++
				last = time.Now()
				alive = max(alive, last.Sub(killed))
			}
			if time.Since(killed) > 2*time.Second {
				break
			}
		}
		if len(left) > 0 {
			t.Errorf("SIGKILL after %s: a helper runs %s later: %s", moment, time.Since(killed), describe(t, left))
		}
	}
	t.Logf("SIGINT: exit codes (code:times) %v", codes)
	t.Logf("SIGKILL: a helper was last seen after %s; %d looks saw one", alive, ranOn)
	sweepAll(t, v)
}

// early is a random moment, more often one of the first: there helpers are made.
func early(random *rand.Rand, limit time.Duration) time.Duration {
	f := random.Float64()
	return time.Duration(f * f * float64(limit))
}

// newRandom is a source whose seed is in the log.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// sweepAll has steps sweep what is left, after its deadline, and fails the test
// if they leave anything.
func sweepAll(t *testing.T, v variant) {
	t.Helper()
	// A busy engine may make one more that was asked for before: that has the next
	// turn.
	for turn := range 3 {
		left := v.helpers(t)
		t.Logf("turn %d: %d helpers wait for their sweep", turn, len(left))
		if len(left) == 0 {
			return
		}
		awaitDeadlines(t, left)
		step{image: v.image, inputs: map[string]string{"port": fmt.Sprint(freePorts(t, 1)[0])}}.run(t).want(t, 0)
		now := v.helpers(t)
		if stayed := slices.DeleteFunc(now, func(id string) bool { return !slices.Contains(left, id) }); len(stayed) > 0 {
			t.Errorf("after a sweep there is still %s", describe(t, stayed))
			return
		}
	}
	if left := v.helpers(t); len(left) > 0 {
		t.Errorf("helpers are made that nobody asked for: %s", describe(t, left))
	}
}

// awaitDeadlines waits until helpers may be swept.
func awaitDeadlines(t *testing.T, helpers []string) {
	t.Helper()
	var latest time.Time
	for _, id := range helpers {
		seconds, err := strconv.ParseInt(docker(t, "inspect", "--format", `{{index .Config.Labels "`+deadlineLabel+`"}}`, id), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if at := time.Unix(seconds, 0); at.After(latest) {
			latest = at
		}
	}
	due := time.Until(latest.Add(sweepGrace + time.Second))
	if due > 45*time.Second {
		t.Fatalf("the last helper is swept in %s only", due)
	}
	time.Sleep(due)
}

func describe(t *testing.T, ids []string) string {
	t.Helper()
	var all []string
	for _, id := range ids {
		out, err := try("inspect", "--format", "{{.Name}} {{.State.Status}} {{.Args}}", id)
		if err != nil {
			out = "gone since: " + id
		}
		all = append(all, out)
	}
	return strings.Join(all, "; ")
}

// engineAPI asks the engine without the 20 ms that a client takes to start.
var engineAPI = &http.Client{
	Timeout: patience,
	Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", engineSocket)
	}},
}

// state is what the engine says of a container; zero if there is none.
type state struct {
	Status                string
	Running               bool
	ExitCode              int
	StartedAt, FinishedAt time.Time
}

func stateOf(t *testing.T, name string) state {
	t.Helper()
	answer, err := engineAPI.Get("http://engine/containers/" + name + "/json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var container struct{ State state }
	if err := json.NewDecoder(answer.Body).Decode(&container); err != nil {
		t.Fatal(err)
	}
	return container.State
}

func awaitRunning(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !stateOf(t, name).Running; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not run", name)
		}
	}
}

// post has the engine do something with a container, unless that is gone.
func post(t *testing.T, name, what string) {
	t.Helper()
	answer, err := engineAPI.Post("http://engine/containers/"+name+"/"+what, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
}

// An engine that stops answering in the middle costs no more than the timeout,
// and no helper outlasts that.
func TestEngineStops(t *testing.T) {
	v := newVariant(t)
	daemon := dockerd(t)
	const (
		rounds  = 4
		timeout = time.Second
		slack   = 3 * time.Second
	)
	p := freePorts(t, 1)
	listen(t, nil, fmt.Sprint(p[0]))
	random := newRandom(t)
	for range rounds {
		s := step{
			image:    v.image,
			manifest: manifest(need("web", p[0], "")),
			inputs:   map[string]string{"timeout": timeout.String()},
		}
		s.prepare(t)
		args := slices.DeleteFunc(s.args(t), func(a string) bool { return a == "--rm" }) // its state is to be read
		id := docker(t, append([]string{"create"}, args...)...)
		post(t, id, "start")
		moment := early(random, 200*time.Millisecond)
		time.Sleep(moment)
		daemon(syscall.SIGSTOP)
		time.Sleep(timeout + slack + time.Second/2)
		daemon(syscall.SIGCONT)
		code := docker(t, "wait", id)
		state := stateOf(t, id)
		took := state.FinishedAt.Sub(state.StartedAt)
		logs, err := shell("docker", "logs", id)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("stopped after %s: exit code %s, took %s", moment, code, took)
		docker(t, "rm", id)
		switch {
		case code == "1":
		case code != "3":
			t.Errorf("exit code %s, want 3, or 1 of a run that had finished\n%s", code, logs)
		case !strings.Contains(logs, engineSocket) && !strings.Contains(logs, "no answer"):
			t.Errorf("it does not say why\n%s", logs)
		}
		if took > timeout+slack {
			t.Errorf("took %s with a timeout of %s\n%s", took, timeout, logs)
		}
		time.Sleep(time.Second) // for what the engine had still to do
		if left := v.helpers(t, "status=running"); len(left) > 0 {
			t.Errorf("a helper runs on: %s", describe(t, left))
		}
	}
	t.Parallel() // only a sweep is left, and that hinders nobody
	sweepAll(t, v)
}

// dockerd signals the engine, which the caller has started.
func dockerd(t *testing.T) func(syscall.Signal) {
	t.Helper()
	text := os.Getenv("PORTCHECK_DOCKERD_PID")
	pid, err := strconv.Atoi(text)
	if err != nil || pid <= 1 {
		testbed.Missing(t, "set PORTCHECK_DOCKERD_PID to the pid of a dockerd that may be stopped for a while")
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || strings.TrimSpace(string(name)) != "dockerd" {
		t.Fatalf("PORTCHECK_DOCKERD_PID=%d is %q: %v", pid, name, err)
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { signal(syscall.SIGCONT) })
	return signal
}
