package cli

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// screen is what a terminal of unlimited size shows.
type screen struct {
	lines  [][]rune
	column int
}

// shows returns the screen after text was written to it.
func shows(text string) *screen {
	s := &screen{lines: [][]rune{nil}}
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b[K"); ok {
			last := len(s.lines) - 1
			s.lines[last] = s.lines[last][:min(s.column, len(s.lines[last]))]
			text = rest
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		s.put(r)
	}
	return s
}

func (s *screen) put(r rune) {
	switch line := &s.lines[len(s.lines)-1]; {
	case r == '\r':
		s.column = 0
	case r == '\n':
		s.lines = append(s.lines, nil)
	case s.column < len(*line):
		(*line)[s.column] = r
		s.column++
	default:
		*line = append(*line, r)
		s.column++
	}
}

func (s *screen) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(string(l) + "\n")
	}
	return b.String()
}

// readUntil reads from a terminal until it has read a word.
func readUntil(t *testing.T, terminal *os.File, word string) string {
	t.Helper()
	var text strings.Builder
	for buffer := make([]byte, 4096); !strings.Contains(text.String(), word); {
		n, err := terminal.Read(buffer)
		text.Write(buffer[:n])
		if err != nil {
			t.Fatalf("%v: no %q in %q", err, word, text.String())
		}
	}
	return text.String()
}

func TestBarMakesRoomForLines(t *testing.T) {
	t.Parallel()
	terminal, stderr, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := pty.Setsize(stderr, &pty.Winsize{Rows: 24, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(20*time.Second, func() { _ = terminal.Close() })
	defer watchdog.Stop()

	a := &app{stderr: stderr}
	start := time.Now()
	p := a.startProgress(3)
	p.Started("app1")
	p.Started("app2")
	text := readUntil(t, terminal, "slowest app1 ")
	if s := shows(text); s.column != 0 || len(s.lines) != 1 {
		t.Errorf("the cursor is not at the start of the only line: %q", text)
	}
	p.Waiting(check.Result{Name: "web", Target: "app1", Message: "tcp 8080 is in use"}, 30*time.Second)
	text += readUntil(t, terminal, "1 waiting, slowest app2 ")
	p.Done("app1", check.Summary{Checked: 1}, errors.New("connect: connection refused"))
	text += readUntil(t, terminal, "1/3 done, 1 failing, slowest app2 ")
	took := time.Since(start)
	p.close()
	if err := stderr.Close(); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(terminal) // ends with EIO
	text += string(rest)

	want := "portcheck: waiting up to 30s for web@app1: tcp 8080 is in use\n\n"
	if s := shows(text); s.String() != want || s.column != 0 {
		t.Errorf("left on the terminal, with the cursor in column %d:\n%s\nwant\n%s", s.column, s, want)
	}
	if drawn := strings.Count(text, " done"); drawn > int(took/redrawEvery)+1 {
		t.Errorf("drawn %d times in %s", drawn, took)
	}
}

func TestBarDoesNotFillTheLine(t *testing.T) {
	t.Parallel()
	const columns = 20
	terminal, stderr, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	defer stderr.Close()
	if err := pty.Setsize(stderr, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(20*time.Second, func() { _ = terminal.Close() })
	defer watchdog.Stop()
	p := (&app{stderr: stderr}).startProgress(30)
	for i := range 10 {
		p.Started(strconv.Itoa(i))
		p.Done(strconv.Itoa(i), check.Summary{Checked: 1}, nil)
	}
	text := readUntil(t, terminal, "10/30 done, 10")
	p.close()
	for _, line := range shows(text).lines {
		if len(line) >= columns {
			t.Errorf("%d columns: %q", len(line), string(line))
		}
	}
}

// fleetManifest writes a manifest with three targets. One of them waits for port
// 8080.
func fleetManifest(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fleet.yml")
	text := `version: 1
targets: {app1: local, app2: local, app3: "container:none"}
wait: 1m
ports:
  - {name: web, port: 8080, targets: [app1]}
  - {name: admin, port: 8081, targets: [app2, app3]}
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestBarOfARun(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	manifest := fleetManifest(t)
	env := []string{"TERM=xterm", "NO_COLOR=1", "DOCKER_HOST=unix:///none.sock"}
	for name, c := range map[string]struct {
		act  func(*os.Process, net.Listener) error // as soon as the bar shows
		code int
		last *regexp.Regexp // line on the screen
	}{
		"until its end": {
			act:  func(_ *os.Process, l net.Listener) error { return l.Close() },
			code: exitUnknown,
			last: regexp.MustCompile(`^3 ports checked on 3 targets: 2 ok, 1 unknown$`),
		},
		"cancelled": {
			act:  func(p *os.Process, _ net.Listener) error { return p.Signal(syscall.SIGINT) },
			code: exitInterrupt,
			last: regexp.MustCompile(`^portcheck: cancelled by signal: interrupt$`),
		},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		cmd := program(env, manifest)
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
		if err != nil {
			t.Fatal(err)
		}
		watchdog := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		text := readUntil(t, terminal, "2/3 done, 1 failing, 1 waiting, slowest app1 ")
		if err := c.act(cmd.Process, l); err != nil {
			t.Error(err)
		}
		rest, _ := io.ReadAll(terminal) // ends with EIO
		_ = cmd.Wait()                  // ExitCode is all that matters
		watchdog.Stop()
		_ = terminal.Close()
		_ = l.Close() // it may be closed
		lines := strings.Split(strings.TrimRight(shows(text+string(rest)).String(), "\n"), "\n")
		if code := cmd.ProcessState.ExitCode(); code != c.code || !c.last.MatchString(lines[len(lines)-1]) {
			t.Errorf("%s: exit code %d, want %d:\n%s", name, code, c.code, strings.Join(lines, "\n"))
		}
		if !strings.HasPrefix(lines[0], "portcheck: waiting up to 1m0s for web@app1: tcp 8080 is in use by ") {
			t.Errorf("%s: first line: %s", name, lines[0])
		}
		for _, line := range lines {
			if strings.Contains(line, "done") {
				t.Errorf("%s: the bar is left: %s", name, line)
			}
		}
	}
}
