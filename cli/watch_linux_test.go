package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// watchRun is a `portcheck watch` of a test.
type watchRun struct {
	t      *testing.T
	out    *os.File // its stdout
	lines  *bufio.Reader
	errs   *safeBuffer
	cancel func()
	code   chan int
}

// safeBuffer is a bytes.Buffer that may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// startWatch starts a watch, and returns when it knows what there is.
func startWatch(t *testing.T, args ...string) *watchRun {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	run := &watchRun{t: t, out: r, lines: bufio.NewReader(r), errs: &safeBuffer{}, code: make(chan int, 1)}
	run.cancel = func() { cancel(signalError{syscall.SIGTERM}) }
	go func() {
		defer w.Close()
		run.code <- Run(ctx, append([]string{"watch", "--interval", "100ms", "-t", "local"}, args...), os.Environ(), strings.NewReader(""), w, run.errs)
	}()
	t.Cleanup(func() { run.cancel(); _ = r.Close() })
	for !strings.Contains(run.errs.String(), "listeners now") {
		select {
		case code := <-run.code:
			t.Fatalf("exit code %d\n%s", code, run.errs)
		case <-time.After(time.Millisecond):
		}
	}
	return run
}

// line returns the next line of stdout.
func (r *watchRun) line() string {
	r.t.Helper()
	if err := r.out.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	text, err := r.lines.ReadString('\n')
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.errs)
	}
	return strings.TrimSuffix(text, "\n")
}

// event returns the next event.
func (r *watchRun) event() check.Event {
	r.t.Helper()
	var e check.Event
	if err := json.Unmarshal([]byte(r.line()), &e); err != nil {
		r.t.Fatal(err)
	}
	return e
}

// end sends SIGTERM and returns the exit code.
func (r *watchRun) end() int {
	r.cancel()
	return <-r.code
}

func listenOn(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it
	return l
}

// TestWatch follows a real port: taken, freed, and the need on it.
func TestWatch(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	listenOn(t, "127.0.0.1:7070")
	run := startWatch(t, "-f", "json", "-p", "8080")
	if e := run.event(); e.Event != check.Met || e.Need != "tcp-8080@local/tcp" || e.Target != "local" || e.Version != 1 || e.Time.IsZero() {
		t.Errorf("%+v", e)
	}
	testbed.Python(t, "import os, socket\ns = socket.socket()\ns.bind(('127.0.0.1', 8080))\ns.listen()\nprint('ready')\nimport time\ntime.sleep(1000)")
	e := run.event()
	if e.Event != check.Taken || e.Protocol != port.TCP || e.Address != "127.0.0.1" || e.Port != 8080 || len(e.Holders) != 1 || !strings.HasPrefix(e.Holders[0].Process, "python3") || len(e.Before) > 0 || e.Need == "" {
		t.Errorf("%+v", e)
	}
	holder := e.Holders[0]
	if e = run.event(); e.Event != check.Unmet || e.Address != "any" || len(e.Holders) != 1 || e.Holders[0].PID != holder.PID {
		t.Errorf("%+v", e)
	}
	if err := syscall.Kill(holder.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e = run.event(); e.Event != check.Freed || len(e.Holders) > 0 || len(e.Before) != 1 || e.Before[0].PID != holder.PID {
		t.Errorf("%+v", e)
	}
	if e = run.event(); e.Event != check.Met || e.Before[0].PID != holder.PID {
		t.Errorf("%+v", e)
	}
	if code := run.end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if text := run.errs.String(); !regexp.MustCompile(`watched for \d+s in \d+ rounds: 1 taken, 1 freed, 0 changed; needs: 1 ok\n`).MatchString(text) || !strings.Contains(text, "listeners now: 1, needs: 1") {
		t.Errorf("stderr: %s", text)
	}
}

// TestWatchText checks the lines for people, and that a port which flaps has one with a
// count as soon as it rests.
func TestWatchText(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	run := startWatch(t)
	who := `[^ ]+ \(pid \d+, user [^)]*\)`
	want := func(pattern string) {
		t.Helper()
		if text := run.line(); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ` + pattern + `$`).MatchString(text) {
			t.Errorf("%q, want %s", text, pattern)
		}
	}
	taken, freed := `taken tcp 127\.0\.0\.1:8080 by `+who, `freed tcp 127\.0\.0\.1:8080, was `+who
	l := listenOn(t, "127.0.0.1:8080")
	want(taken)
	_ = l.Close()
	want(freed)
	l = listenOn(t, "127.0.0.1:8080")
	want(taken)
	_ = l.Close() // the fourth change has no line of its own
	listenOn(t, "127.0.0.1:9090")
	want(`taken tcp 127\.0\.0\.1:9090 by ` + who)
	listenOn(t, "127.0.0.1:8080")
	listenOn(t, "127.0.0.1:9091")
	want(`taken tcp 127\.0\.0\.1:9091 by ` + who)
	want(`flaps tcp 127\.0\.0\.1:8080: 2 more changes until [^ ]+Z, now taken by ` + who) // while the watch runs
	if code := run.end(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, run.errs)
	}
	if text := run.errs.String(); !strings.Contains(text, "5 taken, 2 freed, 0 changed") {
		t.Errorf("stderr: %s", text)
	}
}

// TestWatchEndsInSilence checks that a reader that has seen enough is no error.
func TestWatchEndsInSilence(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	run := startWatch(t, "-q=false")
	_ = run.out.Close() // which is seen without an event
	select {
	case code := <-run.code:
		if code != exitOK {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(patience):
		t.Fatal("it goes on without a reader")
	}
	if text := run.errs.String(); strings.Count(text, "\n") != 1 {
		t.Errorf("stderr: %s", text)
	}
}

// TestWatchAndTheTerminal checks what a watch does when its terminal closes.
func TestWatchAndTheTerminal(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	// These tests may run under nohup, but the first watches do not: what is caught here
	// has its default in a child.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	listenOn(t, "127.0.0.1:7070")
	// start starts a watch by a shell, and returns when it knows what there is.
	start := func(script string) (cmd *exec.Cmd, events *bufio.Reader, errs *safeBuffer) {
		t.Helper()
		cmd, errs = exec.Command("sh", "-c", script), &safeBuffer{}
		cmd.Stderr = errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
		for deadline := time.Now().Add(patience); !strings.Contains(errs.String(), "listeners now"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no round:\n%s", errs)
			}
		}
		return cmd, bufio.NewReader(out), errs
	}
	send := func(cmd *exec.Cmd, signals ...os.Signal) {
		t.Helper()
		for _, s := range signals {
			if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
	}
	for script, want := range map[string]int{
		`exec portcheck watch -t local --interval 100ms`:                     exitOK,
		`exec portcheck watch -t local --interval 100ms -p 7070 --until met`: exitTerminated,
	} {
		cmd, _, errs := start(script)
		send(cmd, syscall.SIGHUP, syscall.SIGHUP) // of the kernel and of the shell
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != want || !strings.Contains(errs.String(), "watched for ") {
			t.Errorf("%s: %s, want exit code %d\n%s", script, cmd.ProcessState, want, errs)
		}
	}
	cmd, events, errs := start(`trap "" HUP; exec portcheck watch -t local --interval 100ms`)
	send(cmd, syscall.SIGHUP)
	listenOn(t, "127.0.0.1:7071")
	if line, err := events.ReadString('\n'); err != nil || !strings.Contains(line, "taken tcp 127.0.0.1:7071") {
		t.Errorf("%q, %v\n%s", line, err, errs)
	}
	send(cmd, syscall.SIGTERM)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitOK {
		t.Errorf("%s\n%s", cmd.ProcessState, errs)
	}
}

// TestWatchUntil checks when a watch ends by itself, and with which code.
func TestWatchUntil(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	listenOn(t, "127.0.0.1:7070")
	warning := filepath.Join(t.TempDir(), "warning.yml")
	if err := os.WriteFile(warning, []byte("version: 1\napp: shop\nports: [{name: web, port: 7070, severity: warning}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var list bytes.Buffer
	if code := Run(t.Context(), []string{"list", "-t", "local", "-f", "json"}, os.Environ(), strings.NewReader(""), &list, io.Discard); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere.json")
	if err := os.WriteFile(elsewhere, regexp.MustCompile(`("hostname": *)"[^"]*"`).ReplaceAll(list.Bytes(), []byte(`$1"elsewhere"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"-t local --until 200ms --metrics :0 --baseline " + elsewhere, exitOK, "warning: local: the baseline is of host \"elsewhere\", and"},
		{"-p 8080 --until 25h", exitUsage, "at most 24h"},
		{"-p 8080 --until met", exitOK, "needs: 1 ok"},
		{"-p 8080 -p 7070 --until unmet", exitOK, "1 conflict"},
		{"-p 7070 --until 300ms", exitUnmet, "1 conflict"},
		{"-p 8080 --until 300ms", exitOK, "needs: 1 ok"},
		{"-p 7070 --until unmet --until 300ms", exitUnmet, "1 conflict"}, // the last one counts
		{warning + " --until 300ms", exitUnmet, "1 warning"},
		{"--until 300ms", exitOK, "0 taken"},
		{"-p 8080 --interval 1m --until met", exitOK, " in 1 round: "},
		{"-t ssh://127.0.0.1:1 -t local --until 300ms", exitUnknown, "what listens at the end is not known of "},
		{"-p 7070 -t ssh://127.0.0.1:1 --until 300ms", exitUnknown, "1 unknown"},
		{"-t ssh://127.0.0.1:7070 --until 300ms", exitUnknown, "what listens at the end is not known of "}, // a server that says nothing
		{"--until met", exitUsage, "there are no needs"},
		{"--until soon -p 8080", exitUsage, "want met, unmet or a duration"},
		{"--interval 5ms", exitUsage, "want at least 100ms"},
		{"-f yaml", exitUsage, "want json or text"},
		{"--metrics web:80", exitUsage, "want [ADDRESS]:PORT"},
		{"--metrics 127.0.0.1:7070", exitUnknown, fmt.Sprintf(": address already in use by cli.test (pid %d): name another port\n", os.Getpid())},
		{"--metrics 9464", exitUsage, "want [ADDRESS]:PORT"},
		{"--allow allow.yml", exitUsage, "--allow has no effect without --baseline"},
		{"--baseline base.json", exitUsage, "--baseline has no effect without --metrics"},
		{"--baseline base.json --metrics :0", exitUsage, "base.json"},
		{"nowhere.yml", exitUsage, "no such file"},
		{"-t nonsense:x", exitUsage, "nonsense"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"watch", "--interval", "100ms"}, strings.Fields(c.args)...)
		if code := Run(t.Context(), args, nil, strings.NewReader(""), &out, &errs); code != c.code || !strings.Contains(errs.String(), c.stderr) {
			t.Errorf("%s: exit code %d\n%s%s", c.args, code, &out, &errs)
		}
	}
	// What shows in no table of listeners counts at the end, too.
	run := startWatch(t, "-p", "8080", "--until", "1s")
	run.line() // it is met
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: 8080}); err != nil {
		t.Fatal(err)
	}
	if code := <-run.code; code != exitUnmet || !strings.Contains(run.errs.String(), "1 conflict") {
		t.Errorf("bound without listen: exit code %d\n%s", code, run.errs)
	}
	_ = syscall.Close(fd)
	run = startWatch(t, "-p", "7070", "--until", "met")
	if code := run.end(); code != exitTerminated {
		t.Errorf("SIGTERM before it came true: exit code %d", code)
	}
}

// A watch that waits for something does not pass because its reader has gone, and ends
// in time while nobody reads.
func TestWatchUntilWithoutAReader(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	listenOn(t, "127.0.0.1:7070")
	gone, closed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	_ = gone.Close()
	silent, blocked := io.Pipe()
	defer silent.Close()
	for name, c := range map[string]struct {
		until  string
		out    io.Writer
		stderr string
	}{
		"gone":              {"met", closed, "broken pipe"},
		"gone, with a time": {"10s", closed, "broken pipe"},
		"silent":            {"300ms", blocked, "nobody reads them"},
	} {
		var errs bytes.Buffer
		code := Run(t.Context(), []string{"watch", "--interval", "100ms", "-p", "7070", "--until", c.until}, nil, strings.NewReader(""), c.out, &errs)
		if code != exitUnknown || !strings.Contains(errs.String(), c.stderr) {
			t.Errorf("%s: exit code %d\n%s", name, code, &errs)
		}
	}
}

// TestWatchServesMetrics scrapes a watch, also while nobody reads its events: the rounds
// stop then, and /healthz says so.
func TestWatchServesMetrics(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	listenOn(t, "127.0.0.1:7070")
	base := filepath.Join(t.TempDir(), "base.json")
	var list bytes.Buffer
	if code := Run(t.Context(), []string{"list", "-t", "local", "-f", "json"}, os.Environ(), strings.NewReader(""), &list, io.Discard); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	if err := os.WriteFile(base, list.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	listenOn(t, "127.0.0.1:7071") // that is not in the baseline; neither is the server's port
	run := startWatch(t, "-f", "json", "-p", "7070", "-p", "8080", "--metrics", ":0", "--timeout", "200ms", "--baseline", base)
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(run.errs.String())
	get := func(path string) (int, string) {
		response, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	_, text := get("/metrics")
	for _, want := range []string{
		`portcheck_need_ok{id="tcp-7070@local/tcp",name="tcp-7070",target="local",protocol="tcp",port="7070",expect="free",severity="error"} 0` + "\n",
		`,status="in-use"} 1` + "\n", `portcheck_up{target="local"} 1` + "\n", `portcheck_events_total{target="local",event="unmet"} 1` + "\n",
		`portcheck_listeners{target="local",protocol="tcp",state="listen"} 3` + "\n", `portcheck_round_errors_total{target="local"} 0` + "\n",
		`portcheck_anomalies{target="local",kind="appeared"} 2` + "\n", `portcheck_anomalies{target="local",kind="changed-hands"} 0` + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	since := regexp.MustCompile(`portcheck_need_since_seconds\{id="tcp-8080@[^}]*\} (\d+)`).FindStringSubmatch(text)
	if since == nil {
		t.Fatalf("no time since when the need is met:\n%s", text)
	}
	if n, err := strconv.ParseInt(since[1], 10, 64); err != nil || time.Since(time.Unix(n, 0)) > time.Minute {
		t.Errorf("met since %s", since[1])
	}
	if code, text := get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d %s", code, text)
	}
	if _, err := fillPipe(run); err != nil {
		t.Fatal(err)
	}
	for code := http.StatusOK; code != http.StatusServiceUnavailable; code, text = get("/healthz") {
		time.Sleep(5 * time.Millisecond) // the test's own deadline ends it
	}
	if !strings.Contains(text, "the round of local is late") {
		t.Errorf("healthz: %s", text)
	}
}

// TestWatchASharedPort checks that a stranger who shares a port is told when it comes and
// when it goes, and that the need and the metrics follow.
func TestWatchASharedPort(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, 15, 1) }) // SO_REUSEPORT
		return errors.Join(err, failed)
	}}
	l, err := shared.Listen(t.Context(), "tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	base, manifest := filepath.Join(dir, "base.json"), filepath.Join(dir, "portcheck.yml")
	if err := os.WriteFile(manifest, []byte("version: 1\napp: shop\nports: [{name: web, port: 8080, expect: listening, owner: [{process: '*.test'}]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var list bytes.Buffer
	if code := Run(t.Context(), []string{"list", "-t", "local", "-f", "json"}, os.Environ(), strings.NewReader(""), &list, io.Discard); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	if err := os.WriteFile(base, list.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := startWatch(t, "-f", "json", manifest, "--metrics", ":0", "--baseline", base)
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(run.errs.String())
	want := func(changedHands string, events ...check.EventKind) (last check.Event) {
		t.Helper()
		for _, kind := range events {
			if last = run.event(); last.Event != kind {
				t.Errorf("%+v, want %s", last, kind)
			}
		}
		response, err := http.Get(address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || !strings.Contains(string(text), `kind="changed-hands"} `+changedHands+"\n") {
			t.Errorf("%v: no %s in\n%s", err, changedHands, text)
		}
		return last
	}
	want("0", check.Met)
	stranger, _ := testbed.Python(t, "import socket, time\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\ns.bind(('127.0.0.1', 8080))\ns.listen()\nprint('ready')\ntime.sleep(1000)")
	want("1", check.Changed, check.Unmet)
	if err := stranger.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	e := run.event()
	if e.Event != check.Changed || len(e.Holders) != 1 || len(e.Before) != 2 {
		t.Errorf("%+v", e)
	}
	want("0", check.Met)
	// Another socket of the same program is no event.
	second, err := shared.Listen(t.Context(), "tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	listenOn(t, "127.0.0.1:8081")
	if e := want("0", check.Taken); e.Port != 8081 {
		t.Errorf("%+v", e)
	}
	_ = second.Close()
	want("0", check.Freed, check.Unmet)
}

// fillPipe makes changes until nobody can write to the pipe of events any more.
func fillPipe(run *watchRun) (changes int, err error) {
	size, _, errno := syscall.Syscall(syscall.SYS_FCNTL, run.out.Fd(), syscall.F_SETPIPE_SZ, 4096)
	if errno != 0 {
		return 0, errno
	}
	for range int(size) / 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return changes, err
		}
		run.t.Cleanup(func() { _ = l.Close() })
		changes++
	}
	return changes, nil
}

// TestWatchRealChanges makes changes on a real table, each kept for more than an
// interval: each is told once. Memory, descriptors and goroutines stay flat.
func TestWatchRealChanges(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	rounds := 500
	if n, err := strconv.Atoi(os.Getenv("PORTCHECK_TEST_ROUNDS")); err == nil {
		rounds = n
	}
	need := check.Need{Target: "local", Port: config.Port{
		Name: "web", Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any}, Ports: port.One(2000), Expect: config.Free, Severity: config.SeverityError,
	}}
	target := check.Target{Name: "local", Open: func(context.Context) (host.Host, error) { return host.Local{}, nil }}
	state := check.NewWatching("test", []check.Need{need}, []check.Target{target})
	type usage struct{ memory, descriptors, goroutines int }
	measure := func() usage {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return usage{int(m.HeapAlloc), len(entries), runtime.NumGoroutine()}
	}
	var first, last usage
	var wanted []string // the next events
	var held net.Listener
	n, told := 0, 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	check.Watch(ctx, []check.Need{need}, []check.Target{target}, check.WatchOptions{
		Options: check.Options{Timeout: time.Minute}, Interval: time.Millisecond,
		Observe: func(o check.Observation) {
			state.Add(o, func(check.Listing) map[check.ChangeKind]int { return nil })
			var got []string
			for _, e := range o.Events {
				got = append(got, fmt.Sprint(e.Event, e.Port))
			}
			if n == 0 {
				wanted = []string{"met2000"}
			}
			if o.Err != nil || !slices.Equal(got, wanted) {
				t.Errorf("round %d: %v, %q instead of %q", n, o.Err, got, wanted)
				cancel()
			}
			told += len(got)
			wanted = nil
			switch n++; {
			case n == rounds/2:
				first = measure()
			case n == rounds:
				last = measure()
				cancel()
			}
			// Between two rounds a listener starts or ends.
			if held != nil {
				address := held.Addr().(*net.TCPAddr)
				_ = held.Close()
				held = nil
				wanted = append(wanted, fmt.Sprint("freed", address.Port))
				if address.Port == 2000 {
					wanted = append(wanted, "met2000")
				}
			} else {
				at := 2000 + n%5
				l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", at))
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				held = l
				wanted = append(wanted, fmt.Sprint("taken", at))
				if at == 2000 {
					wanted = append(wanted, "unmet2000")
				}
			}
		},
	})
	if last.memory > first.memory+1<<20 || last.descriptors > first.descriptors+1 || last.goroutines > first.goroutines+1 {
		t.Errorf("after %d rounds %+v, in the middle %+v", n, last, first)
	}
	if told < rounds {
		t.Errorf("%d events in %d rounds", told, n)
	}
}

// TestWatchBesideChanges makes 1,000 changes on a real table while rounds go on. Each lasts
// until a whole round has seen it: each is told once, in its order, with its holder.
func TestWatchBesideChanges(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	const ports, changes = 40, 1000
	target := check.Target{Name: "local", Open: func(context.Context) (host.Host, error) { return host.Local{}, nil }}
	rounds := make(chan int, 1) // the number of the last one
	told := map[uint16][]check.EventKind{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		n := 0
		check.Watch(ctx, nil, []check.Target{target}, check.WatchOptions{
			Options: check.Options{Timeout: time.Minute}, Interval: time.Millisecond,
			Observe: func(o check.Observation) {
				if o.Err != nil {
					t.Error(o.Err)
				}
				for _, e := range o.Events {
					told[e.Port] = append(told[e.Port], e.Event)
					if who := slices.Concat(e.Holders, e.Before); len(who) != 1 || who[0].PID != os.Getpid() {
						t.Errorf("%s %d: %+v", e.Event, e.Port, who)
					}
				}
				n++
				select {
				case <-rounds:
				default:
				}
				rounds <- n
			},
		})
	}()
	last := <-rounds // what there is at the start is no change
	wait := func(n int) {
		for last < n {
			select {
			case last = <-rounds:
			case <-ctx.Done():
				t.Fatal("no rounds")
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	held, stays, made := map[int]net.Listener{}, map[int]int{}, map[uint16][]check.EventKind{}
	for range changes {
		at := 2000 + random.IntN(ports)
		wait(stays[at])
		if l := held[at]; l != nil {
			_ = l.Close()
			delete(held, at)
			made[uint16(at)] = append(made[uint16(at)], check.Freed)
		} else {
			held[at] = listenOn(t, fmt.Sprintf("127.0.0.1:%d", at))
			made[uint16(at)] = append(made[uint16(at)], check.Taken)
		}
		select {
		case last = <-rounds:
		default:
		}
		stays[at] = last + 2 // a round that goes on may have missed it
	}
	wait(last + 2)
	cancel()
	<-watched
	for at := range uint16(ports) {
		if got, want := told[2000+at], made[2000+at]; !slices.Equal(got, want) {
			t.Errorf("port %d: %q, want %q", 2000+at, got, want)
		}
	}
}

// TestWatchRefusesFlagsOfNeeds checks that without needs each flag is refused which only
// chooses or changes needs.
func TestWatchRefusesFlagsOfNeeds(t *testing.T) {
	named := []string{"port", "recursive", "compose-file"} // they name needs
	other := []string{
		"target", "expect", "until", "interval", "format", "metrics", "baseline", "allow", "quiet", "show-command", "parallel",
		"timeout", "evidence", "agent-cache", "agent-dir", "identity", "known-hosts", "remote-path", "ssh", "ssh-config", "ssh-log", "sudo", "no-color", "help",
	}
	(&app{env: ci.Env{}}).watch().Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(named, f.Name) || slices.Contains(other, f.Name) {
			return
		}
		value := map[string]string{"offset": "1", "source": "compose", "set": "web=1", "allow-manifest-targets": "true"}[f.Name]
		var out, errs bytes.Buffer
		args := []string{"watch", "--until", "1ms", "--" + f.Name + "=" + cmp.Or(value, "x")}
		if code := Run(t.Context(), args, nil, strings.NewReader(""), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "--"+f.Name+": has no effect: there are no needs") {
			t.Errorf("%s: exit code %d\n%s%s", args, code, &out, &errs)
		}
	})
}
