package install

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/org/portcheck/internal/testbed"
)

// installedEnv is set by .ci/packages: portcheck and its completions are installed in
// the system's directories.
const installedEnv = "PORTCHECK_TEST_INSTALLED"

// shell is an interactive shell on a terminal.
type shell struct {
	t        *testing.T
	terminal *os.File
	output   chan []byte
	seen     []byte // since the last keys
}

// start starts a shell on a terminal, with nothing of a user's configuration.
func start(t *testing.T, env []string, words ...string) *shell {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(env, "TERM=dumb", "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, terminal: terminal, output: make(chan []byte)}
	stopped := make(chan struct{})
	go func() {
		defer close(s.output)
		for {
			b := make([]byte, 4096)
			n, err := terminal.Read(b)
			if err != nil { // EIO at the end
				return
			}
			select {
			case s.output <- b[:n]:
			case <-stopped:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stopped)
		_ = cmd.Process.Kill() // it is of no use any more
		_ = terminal.Close()
		_ = cmd.Wait()
	})
	return s
}

// keys presses keys, and waits until all these texts have appeared.
func (s *shell) keys(keys string, want ...string) {
	s.t.Helper()
	s.seen = nil
	if _, err := s.terminal.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
	timeout := time.After(patience / 4)
	for {
		missing := ""
		for _, text := range want {
			if !bytes.Contains(s.seen, []byte(text)) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		select {
		case b, ok := <-s.output:
			if !ok {
				s.t.Fatalf("%q: the shell has ended, without %q: %q", keys, missing, s.seen)
			}
			s.seen = append(s.seen, b...)
		case <-timeout:
			s.t.Fatalf("%q: no %q in %q", keys, missing, s.seen)
		}
	}
}

// completes presses tab after a line, and compares the words that the shell has then.
func (s *shell) completes(line, want string) {
	s.t.Helper()
	const begin, end = "\x01", "\x05" // of the line
	s.keys(line+"\t"+begin+"set -- "+end+"; echo \"<$*>\"\r", "<"+want+">")
}

// TestTab presses tab in bash and in zsh.
func TestTab(t *testing.T) {
	testbed.Slow(t, "builds portcheck")
	env := []string{"PATH=" + os.Getenv("PATH")}
	zshPath := ""
	if os.Getenv(installedEnv) == "" {
		const loader = "/usr/share/bash-completion/bash_completion"
		if _, err := os.Stat(loader); err != nil {
			testbed.Missing(t, "needs bash-completion")
		}
		archived, err := build()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		unpack := exec.Command("tar", "-xz", "-C", dir)
		unpack.Stdin = bytes.NewReader(archived)
		if out, err := unpack.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		// The names are those of the packages: .goreleaser.yaml.
		for shell, file := range map[string]string{"bash": "completions/portcheck", "zsh": "zsh/_portcheck"} {
			text, err := exec.Command(dir+"/portcheck", "completion", shell).Output()
			if err != nil {
				t.Fatal(err)
			}
			file = filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "BASH_COMPLETION_USER_DIR=" + dir}
		zshPath = "fpath=(" + dir + "/zsh $fpath); "
	}
	for _, c := range []struct {
		words []string
		begin string
		lists string // the keys that show all values
	}{
		{[]string{"bash", "--noprofile", "--norc", "-i"}, ". /usr/share/bash-completion/bash_completion", "\t\t"},
		{[]string{"zsh", "-f", "-i"}, zshPath + "autoload -Uz compinit; compinit -u -D", "\t"},
	} {
		t.Run(c.words[0], func(t *testing.T) {
			if _, err := exec.LookPath(c.words[0]); err != nil {
				testbed.Missing(t, "needs "+c.words[0])
			}
			s := start(t, env, c.words...)
			s.keys(c.begin+"; echo sta''rted\r", "started")
			s.completes("portcheck che", "portcheck check")
			s.completes("portcheck check --fail-on w", "portcheck check --fail-on warning")
			s.completes("portcheck check --fail", "portcheck check --fail-on")
			s.completes("portcheck check -f js", "portcheck check -f json")
			s.completes("portcheck -f sa", "portcheck -f sarif")
			s.completes("portcheck list -f js", "portcheck list -f json")
			s.keys("portcheck check --fail-on "+c.lists, "error", "never", "warning")
			s.keys("\x15\r") // an empty line
			s.keys("portcheck check -f "+c.lists, "codequality", "github", "html", "json", "junit", "markdown", "prometheus", "sarif", "tap", "text")
			s.keys("\x15exit\r")
		})
	}
}
