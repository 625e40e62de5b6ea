package cli

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/org/portcheck/internal/testbed"
)

// onTerminal runs portcheck on a terminal with a number of columns, and returns
// what it writes there.
func onTerminal(t *testing.T, columns uint16, env []string, args ...string) string {
	t.Helper()
	cmd := program(env, args...)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	out, _ := io.ReadAll(terminal) // ends with EIO
	_ = cmd.Wait()                 // other tests check the exit code
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

// program returns a command that runs portcheck in the environment env.
func program(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "portcheck"
	if env != nil { // else it has that of this process
		// Where the locks of leases are files, they are there.
		cmd.Env = append([]string{"TMPDIR=" + os.TempDir()}, env...)
	}
	return cmd
}

func TestTableIsForTerminalsAlone(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	manifest := filepath.Join(dir, "shop.yml")
	text := "version: 1\nrange: 20000-20009\nports:\n  - {name: web, port: 8080}\n  - {name: admin, port: 8081}\n"
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	const title, line = "NEED   ENDPOINT", "/shop.yml:4:23: error: web: tcp 8080 is in use by "
	plain := strings.NewReplacer("\x1b[1;31m", "", "\x1b[32m", "", "\x1b[0m", "")
	isTable := func(name, out string) {
		t.Helper()
		for _, want := range []string{title, "web    tcp 8080", "✗ in-use", "admin  tcp 8081", "✓ free", line, "use instead: 20000, "} {
			if !strings.Contains(plain.Replace(out), want) {
				t.Errorf("%s: no %q in\n%s", name, want, out)
			}
		}
	}
	isLines := func(name, out string) {
		t.Helper()
		if !strings.Contains(plain.Replace(out), line) || strings.Contains(out, title) || strings.Contains(out, "✗") {
			t.Errorf("%s: want lines alone:\n%s", name, out)
		}
	}

	coloured := onTerminal(t, 160, []string{"TERM=xterm"}, manifest)
	isTable("terminal", coloured)
	if !strings.Contains(coloured, "\x1b[1;31m✗ in-use\x1b[0m") {
		t.Errorf("no colour: %q", coloured)
	}
	for name, args := range map[string][]string{"NO_COLOR": {manifest}, "--no-color": {"--no-color", manifest}} {
		env := []string{"TERM=xterm"}
		if name == "NO_COLOR" {
			env = append(env, "NO_COLOR=1")
		}
		out := onTerminal(t, 160, env, args...)
		isTable(name, out)
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: coloured: %q", name, out)
		}
	}
	if out := onTerminal(t, 0, []string{"TERM=xterm"}, manifest); !strings.Contains(out, title) {
		t.Errorf("a terminal of unknown width: %s", out)
	}
	isLines("39 columns", onTerminal(t, 39, nil, manifest))
	isLines("dumb", onTerminal(t, 160, []string{"TERM=dumb"}, manifest))
	isLines("a CI job's terminal", onTerminal(t, 160, []string{"TERM=xterm", "CI=true"}, manifest))
	isLines("GitHub", onTerminal(t, 160, []string{"TERM=xterm", "GITHUB_ACTIONS=true"}, manifest))

	file := filepath.Join(dir, "report.txt")
	onTerminal(t, 160, []string{"TERM=xterm"}, "-o", "text="+file, manifest)
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	isLines("a file", string(written))

	var piped bytes.Buffer
	cmd := program([]string{"TERM=xterm"}, manifest)
	cmd.Stdout = &piped
	_ = cmd.Run() // exits 1
	isLines("a pipe", piped.String())
	if piped.String() != string(written) {
		t.Errorf("pipe and file differ:\n%s\n%s", piped.String(), written)
	}
}

// TestMessagesFitTheTerminal checks what is beside the report: errors, hints and the ports
// of assign.
func TestMessagesFitTheTerminal(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "shop.yml"), "version: 1\napp: shop\nrange: 20000-20009\nports:\n  - {name: web, port: 8080}\n")
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"assign", "--job", "one", filepath.Join(dir, "shop.yml")}, "instead of 8080: tcp 8080 is in use by "},
		{[]string{"assign", "--job", "two", "-p", "8080"}, "portcheck: --port: tcp-8080 gets no port: tcp 8080 is in use by "},
		{[]string{"release", "--job", "three"}, "portcheck: there is no lease of this job that this user may end; `portcheck leases` lists all"},
	} {
		out := onTerminal(t, 60, append(os.Environ(), "TERM=xterm", "CI=", "GITHUB_ACTIONS="), c.args...)
		for line := range strings.Lines(out) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 60 {
				t.Errorf("%v: %d columns: %s", c.args, n, line)
			}
		}
		if words := strings.Join(strings.Fields(out), " "); !strings.Contains(words, c.want) {
			t.Errorf("%v: no %q in\n%s", c.args, c.want, out)
		}
	}
}
