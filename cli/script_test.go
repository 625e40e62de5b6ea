//go:build linux

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		holder(os.Args[1:])
	}
	if os.Getenv(swapperEnv) != "" {
		swapper(os.Args[1:])
	}
	if os.Getenv(socketServerEnv) != "" {
		socketServer()
	}
	testscript.Main(m, map[string]func(){
		"portcheck": func() {
			os.Exit(Main())
		},
	})
}

// TestScripts runs each script in its own network namespace, so that all of them
// can use the same ports at the same time.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			if !testbed.Isolated(t) {
				return
			}
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits":      exits,
					"signals":    signals,
					"releases":   releases,
					"hold":       func(ts *testscript.TestScript, _ bool, args []string) { hold(t, ts, args) },
					"outputs":    githubOutputs,
					"entries":    githubEntries,
					"inert":      inert,
					"conflicts":  conflicts,
					"elapsed":    elapsed,
					"hostile":    hostile,
					"talk":       talk,
					"wellformed": wellformed,
				},
				Condition: func(name string) (bool, error) {
					if name != "root" {
						return false, fmt.Errorf("unknown condition %s", name)
					}
					root := testbed.HaveUsers()
					if !root && os.Getenv("PORTCHECK_TEST_MUST_RUN") != "" {
						return false, errors.New("needs the users of the whole system")
					}
					return root, nil
				},
				RequireUniqueNames: true,
			})
		})
	}
}

func ok(ts *testscript.TestScript, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

// exits runs a command that ends with an exact code: exits CODE [as nobody]
// PROGRAM ARGS. How long it took is in $ELAPSED.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ok(ts, err)
	args = args[1:]
	if args[0] == "as" {
		program, err := exec.LookPath(args[2])
		ok(ts, err)
		openTo(ts, program)
		openTo(ts, ts.MkAbs("x"))
		args = append([]string{"setpriv", "--reuid=" + args[1], "--regid=65534", "--clear-groups"}, append([]string{program}, args[3:]...)...)
	}
	start := time.Now()
	err = ts.Exec(args[0], args[1:]...)
	ts.Setenv("ELAPSED", time.Since(start).String())
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
	case err != nil:
		ts.Fatalf("%v", err)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// openTo lets other users open a file in our temporary directories.
func openTo(ts *testscript.TestScript, file string) {
	for dir := filepath.Dir(file); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		ok(ts, os.Chmod(dir, 0o755))
	}
}

// elapsed checks how long the last command took: elapsed MIN MAX.
func elapsed(ts *testscript.TestScript, _ bool, args []string) {
	took, err := time.ParseDuration(ts.Getenv("ELAPSED"))
	ok(ts, err)
	least, err := time.ParseDuration(args[0])
	ok(ts, err)
	most, err := time.ParseDuration(args[1])
	ok(ts, err)
	if took < least || took > most {
		ts.Fatalf("took %s, want %s to %s", took, least, most)
	}
}

// signals runs a command, sends it a signal when its stderr has a word, and checks
// the exit code: signals INT CODE WORD PROGRAM ARGS. With the word - it sends the
// signal once the command has read from its stdin, which stays open.
func signals(ts *testscript.TestScript, _ bool, args []string) {
	signal := map[string]os.Signal{"INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM}[args[0]]
	stderr := runUntil(ts, args[1], args[2], func(p *os.Process) error { return p.Signal(signal) }, args[3:])
	if !strings.Contains(stderr, "cancelled by signal") {
		ts.Fatalf("stderr does not name the signal")
	}
}

// releases runs a command, ends the last holder when stderr has a word, and checks
// the exit code: releases CODE WORD PROGRAM ARGS. The time from then on is in
// $ELAPSED.
func releases(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(ts.Getenv("HOLDER"))
	ok(ts, err)
	var released time.Time
	runUntil(ts, args[0], args[1], func(*os.Process) error {
		released = time.Now()
		return syscall.Kill(pid, syscall.SIGKILL)
	}, args[2:])
	ts.Setenv("ELAPSED", time.Since(released).String())
}

// runUntil runs a command and checks the exit code. It calls act when the command's
// stderr has a word; for the word -, once the command has read from stdin. It
// returns stderr, and leaves the files out and err.
func runUntil(ts *testscript.TestScript, code, word string, act func(*os.Process) error, args []string) string {
	want, err := strconv.Atoi(code)
	ok(ts, err)
	program, err := exec.LookPath(args[0])
	ok(ts, err)
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	ok(ts, err)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stdin, feed, err := os.Pipe() // feed stays open
	ok(ts, err)
	defer feed.Close()
	cmd.Stdin = stdin
	_, err = feed.WriteString(" ")
	ok(ts, err)
	ok(ts, cmd.Start())
	ok(ts, stdin.Close())
	watchdog := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	acted := word == "-"
	if acted {
		waitUntilRead(ts, feed)
		ok(ts, act(cmd.Process))
	}
	var text []byte
	buffer := make([]byte, 4096)
	for {
		n, err := stderr.Read(buffer)
		text = append(text, buffer[:n]...)
		if !acted && strings.Contains(string(text), word) {
			acted = true
			ok(ts, act(cmd.Process))
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait() // ExitCode is all that matters
	ts.Logf("[stderr]\n%s", text)
	ok(ts, errors.Join(os.WriteFile(ts.MkAbs("out"), stdout.Bytes(), 0o644), os.WriteFile(ts.MkAbs("err"), text, 0o644)))
	if code := cmd.ProcessState.ExitCode(); code != want || !acted {
		ts.Fatalf("exit code %d, want %d; %q on stderr: %t", code, want, word, acted)
	}
	return string(text)
}

// waitUntilRead waits until the other end of a pipe has read everything.
func waitUntilRead(ts *testscript.TestScript, pipe *os.File) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		left, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ)
		ok(ts, err)
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("stdin was not read")
		}
		time.Sleep(time.Millisecond)
	}
}

// hold starts a holder, with another file name if one is set, and with variables: hold
// [name=FILE] [env=VARIABLE=VALUE...] MODE FLAGS. It sets $HOLDER to the PID.
func hold(t *testing.T, ts *testscript.TestScript, args []string) {
	program, err := os.Executable()
	ok(ts, err)
	if name, given := strings.CutPrefix(args[0], "name="); given {
		args = args[1:]
		name = hostileNames[name]
		file := filepath.Join(ts.MkAbs("."), name)
		if os.Link(program, file) != nil { // they may be on different file systems
			data, err := os.ReadFile(program)
			ok(ts, err)
			ok(ts, os.WriteFile(file, data, 0o755))
		}
		program = file
	}
	env := append(os.Environ(), holderEnv+"=1")
	for strings.HasPrefix(args[0], "env=") {
		env, args = append(env, strings.TrimPrefix(args[0], "env=")), args[1:]
	}
	cmd, _ := testbed.StartWith(t, func(cmd *exec.Cmd) { cmd.Env = env }, program, args...)
	ts.Setenv("HOLDER", strconv.Itoa(cmd.Process.Pid))
}

// hostileNames are valid names of files.
var hostileNames = map[string]string{
	"error": "x\n::error::y", "mask": "##[add-mask]80", "ansi": "\x1b[31mred\x1b[2J", "bidi": "a\u202egpj.exe", "plain": "plain-holder",
	"output": "x\nok=true\n", "html": "<img src=x>|@org `x`",
	"azure": "##vso[task.setvariable variable=x]y", "teamcity": "##teamcity[buildStop comment='x']", "continua": "@@continua[setBuildStatus value='x']",
}

// hostile copies a file to a name that a script can't contain: hostile FILE NAME.
// It sets $HOSTILE to the new name.
func hostile(ts *testscript.TestScript, _ bool, args []string) {
	name := hostileNames[args[1]] + ".yml"
	ok(ts, os.WriteFile(ts.MkAbs(name), []byte(ts.ReadFile(args[0])), 0o644))
	ts.Setenv("HOSTILE", name)
}

// inert checks that a file has no commands for a terminal or a CI log except our
// own annotations.
func inert(ts *testscript.TestScript, _ bool, args []string) {
	annotation := regexp.MustCompile(`^::(error|warning) (file=[^,:]*,)?([a-z]+=[^,:]*,?)*::`)
	for _, file := range args {
		text := ts.ReadFile(file)
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimLeft(line, " \t"), "::") && !annotation.MatchString(line) {
				ts.Fatalf("%s: %q is a command", file, line)
			}
		}
		// GitHub's and Azure's, TeamCity's and Octopus Deploy's, and Continua's.
		if found := regexp.MustCompile(`##\w*\[|(?i)##vso|@@\w+\[`).FindString(text); found != "" {
			ts.Fatalf("%s: has %s", file, found)
		}
		for _, r := range text {
			if r != '\n' && r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd {
				ts.Fatalf("%s: has U+%04X", file, r)
			}
		}
	}
}

// entriesOf parses a file of GitHub's, such as that of GITHUB_OUTPUT, as the runner does.
func entriesOf(ts *testscript.TestScript, file string) map[string]string {
	got := map[string]string{}
	lines := strings.Split(ts.ReadFile(file), "\n")
	for i := 0; i < len(lines); i++ {
		name, delimiter, here := strings.Cut(lines[i], "<<")
		switch {
		case lines[i] == "":
		case !here || strings.Contains(name, "="):
			ts.Fatalf("line %q is not a here-document", lines[i])
		default:
			var value []string
			for i++; i < len(lines) && lines[i] != delimiter; i++ {
				value = append(value, lines[i])
			}
			got[name] = strings.Join(value, "\n")
		}
	}
	return got
}

func wantEntries(ts *testscript.TestScript, got map[string]string, wanted []string) {
	for _, arg := range wanted {
		name, value, _ := strings.Cut(arg, "=")
		if got[name] != value {
			ts.Fatalf("%s is %q, want %q", name, got[name], value)
		}
	}
}

// githubEntries checks that a file of GitHub's has exactly these entries:
// entries FILE NAME=VALUE...
func githubEntries(ts *testscript.TestScript, _ bool, args []string) {
	got := entriesOf(ts, args[0])
	wantEntries(ts, got, args[1:])
	if len(got) != len(args)-1 {
		ts.Fatalf("want %d entries: %v", len(args)-1, got)
	}
}

// githubOutputs checks a GITHUB_OUTPUT file, which must have exactly the four outputs of
// a report: outputs FILE NAME=VALUE... It sets $REPORT to the report's path, and
// $REPORT_NAME to the last part of it.
func githubOutputs(ts *testscript.TestScript, _ bool, args []string) {
	got := entriesOf(ts, args[0])
	for _, name := range []string{"ok", "conflicts", "report", "alternatives"} {
		if _, found := got[name]; !found {
			ts.Fatalf("no output %s: %v", name, got)
		}
	}
	if len(got) != 4 {
		ts.Fatalf("want four outputs: %v", got)
	}
	wantEntries(ts, got, args[1:])
	ts.Setenv("REPORT", got["report"])
	ts.Setenv("REPORT_NAME", filepath.Base(got["report"]))
}

// conflicts checks that a JSON report has N unmet results in the order of their
// positions, with N different first alternatives that bind: conflicts FILE N.
func conflicts(ts *testscript.TestScript, _ bool, args []string) {
	var r check.Report
	ok(ts, json.Unmarshal([]byte(ts.ReadFile(args[0])), &r))
	want, err := strconv.Atoi(args[1])
	ok(ts, err)
	var places []string
	seen := map[uint16]bool{}
	for _, x := range r.Results {
		if x.OK {
			continue
		}
		places = append(places, fmt.Sprintf("%s:%04d", x.Source.File, x.Source.Line))
		if len(x.Alternatives) == 0 || seen[x.Alternatives[0]] {
			ts.Fatalf("%s: alternatives %v", x.ID, x.Alternatives)
		}
		first := x.Alternatives[0]
		seen[first] = true
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", first))
		ok(ts, err)
		defer l.Close()
	}
	if len(places) != want || !slices.IsSorted(places) {
		ts.Fatalf("%d conflicts: %v", len(places), places)
	}
}

// wellformed checks that a JSON document has the given keys and no null:
// wellformed FILE KEY...
func wellformed(ts *testscript.TestScript, _ bool, args []string) {
	var doc map[string]any
	ok(ts, json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc))
	for _, key := range args[1:] {
		if _, found := doc[key]; !found {
			ts.Fatalf("no %s", key)
		}
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case nil:
			ts.Fatalf("%s is null", path)
		case map[string]any:
			for k, x := range v {
				walk(path+"."+k, x)
			}
		case []any:
			for i, x := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), x)
			}
		}
	}
	walk("", doc)
}

// talk sends two requests to `portcheck probe`, the second after the answer to the
// first, and checks that it ends when stdin ends.
func talk(ts *testscript.TestScript, _ bool, _ []string) {
	program, err := exec.LookPath("portcheck")
	ok(ts, err)
	cmd := exec.Command(program, "probe")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	ok(ts, err)
	stdout, err := cmd.StdoutPipe()
	ok(ts, err)
	ok(ts, cmd.Start())
	watchdog := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	answers := json.NewDecoder(stdout)
	for _, want := range []string{"in-use", "ok"} {
		n := map[string]int{"in-use": 8080, "ok": 8081}[want]
		_, err = fmt.Fprintf(stdin, `{"tries": [{"protocol": "tcp", "addresses": ["127.0.0.1"], "ports": {"first": %d, "last": %d}}]}`+"\n", n, n)
		ok(ts, err)
		var reply struct {
			Version int
			Facts   struct {
				Tried []struct{ Attempts []struct{ Outcome string } }
			}
		}
		ok(ts, answers.Decode(&reply))
		if reply.Version != wire.Version || reply.Facts.Tried[0].Attempts[0].Outcome != want {
			ts.Fatalf("%+v: want %s", reply, want)
		}
	}
	ok(ts, stdin.Close())
	ok(ts, cmd.Wait())
}

const holderEnv = "PORTCHECK_TEST_HOLDER"

var held []io.Closer // keeps the garbage collector from closing a holder's sockets

// holder is a program that holds ports until it is killed: listen|bind|timewait
// PROTOCOL ADDRESS:FIRST[-LAST] [reuse=no].
func holder(args []string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "holder:", err)
			os.Exit(1)
		}
	}
	mode, network := args[0], args[1]
	colon := strings.LastIndexByte(args[2], ':')
	ports, err := port.ParseRange(args[2][colon+1:])
	fail(err)
	reuse := true
	for _, arg := range args[3:] {
		reuse = arg != "reuse=no"
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		value := 0
		if reuse {
			value = 1
		}
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, value)
		})
		return errors.Join(err, failed)
	}}
	for p := range (port.Set{ports}).All {
		address := net.JoinHostPort(strings.Trim(args[2][:colon], "[]"), strconv.Itoa(int(p)))
		switch {
		case network == "udp":
			c, err := net.ListenPacket(network, address)
			fail(err)
			held = append(held, c)
		case mode == "listen":
			l, err := config.Listen(context.Background(), network, address)
			fail(err)
			held = append(held, l)
		case mode == "bind":
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
			fail(err)
			fail(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
			fail(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(p)}))
		case mode == "timewait":
			l, err := config.Listen(context.Background(), network, address)
			fail(err)
			client, err := net.Dial(network, address)
			fail(err)
			server, err := l.Accept()
			fail(err)
			fail(server.Close()) // the end that closes first keeps the TIME_WAIT
			_, _ = client.Read(make([]byte, 1))
			fail(client.Close())
			fail(l.Close())
		}
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
	os.Exit(0)
}
