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

// TestCancelled checks that a cancelled step leaves nothing, whenever it is
// cancelled.
func TestCancelled(t *testing.T) {
	t.Parallel()
	const (
		rounds  = 25 // for each signal
		timeout = time.Second
		wait    = 300 * time.Millisecond
		settled = 200 * time.Millisecond // no helper may be seen for this long
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
			_ = s.cmd.Process.Signal(syscall.SIGINT) // it may have ended already
			o := s.wait(t)
			codes[o.code]++
			// If PID 1 gets a signal before its main starts, Go's runtime ends it
			// with exit code 2.
			beforeMain := o.code == 2 && o.stdout+o.stderr == ""
			// After the end of its container Docker's client no longer catches signals.
			afterEnd := o.code == -1 && strings.Contains(o.stdout, "0 ok, 1 conflict")
			if o.code != 130 && o.code != 1 && !beforeMain && !afterEnd {
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
		// The engine may still start a helper that was requested before.
		var left []string
		for last := killed; time.Since(last) < settled; time.Sleep(10 * time.Millisecond) {
			left = v.helpers(t, "status=running")
			if len(left) > 0 {
				ranOn++
				last = time.Now()
				alive = max(alive, last.Sub(killed))
			}
			if time.Since(killed) > 5*time.Second {
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

// early returns a random moment. Early ones are more likely, because helpers are
// created then.
func early(random *rand.Rand, limit time.Duration) time.Duration {
	f := random.Float64()
	return time.Duration(f * f * float64(limit))
}

// newRandom returns a random source and logs its seed.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// sweepAll waits for the deadlines of the helpers that are left, runs steps that
// sweep them, and fails the test if a helper stays.
func sweepAll(t *testing.T, v variant) {
	t.Helper()
	// A busy engine may still create a helper that was requested before. The next
	// turn sweeps it.
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
		t.Errorf("helpers were created without a request: %s", describe(t, left))
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

// engineAPI is a client of the engine. docker's own takes 20 ms to start.
var engineAPI = &http.Client{
	Timeout: patience,
	Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", engineSocket)
	}},
}

// state is the engine's state of a container, zero if the container does not exist.
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

// post sends a request about a container, which may be gone.
func post(t *testing.T, name, what string) {
	t.Helper()
	answer, err := engineAPI.Post("http://engine/containers/"+name+"/"+what, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
}

// TestEngineStops checks that a step does not exceed its timeout if the engine
// stops answering, and that no helper runs on.
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
		args := slices.DeleteFunc(s.args(t), func(a string) bool { return a == "--rm" }) // its state is read later
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
			t.Errorf("no reason in the log\n%s", logs)
		}
		if took > timeout+slack {
			t.Errorf("took %s with a timeout of %s\n%s", took, timeout, logs)
		}
		time.Sleep(time.Second) // the engine may still start a helper
		if left := v.helpers(t, "status=running"); len(left) > 0 {
			t.Errorf("a helper runs on: %s", describe(t, left))
		}
	}
	t.Parallel() // only a sweep is left, which does not disturb other tests
	sweepAll(t, v)
}

// dockerd returns a function that signals the engine that .ci/run has started.
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
