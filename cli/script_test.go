//go:build linux

package cli

import (
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

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		holder(os.Args[1:])
	}
	testscript.Main(m, map[string]func(){
		"portcheck": func() {
			ctx, stop := WithSignals(context.Background())
			code := Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
			stop()
			os.Exit(code)
		},
	})
}

// TestScripts runs each script in a network namespace of its own, so that all
// may use the same ports at the same time.
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
					"hold":       func(ts *testscript.TestScript, _ bool, args []string) { hold(t, ts, args) },
					"outputs":    githubOutputs,
					"inert":      inert,
					"conflicts":  conflicts,
					"elapsed":    elapsed,
					"hostile":    hostile,
					"talk":       talk,
					"wellformed": wellformed,
				},
				Condition: func(name string) (bool, error) {
					if name == "root" {
						return testbed.HaveUsers(), nil
					}
					return false, fmt.Errorf("unknown condition %s", name)
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

// openTo lets other users reach a file in our own temporary directories.
func openTo(ts *testscript.TestScript, file string) {
	for dir := filepath.Dir(file); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		ok(ts, os.Chmod(dir, 0o755))
	}
}

// elapsed says how long the last command may have taken: elapsed MIN MAX.
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

// signals sends a signal to a command as soon as its stderr holds a word, and
// wants an exit code: signals INT CODE WORD PROGRAM ARGS. With the word - it is
// sent after the command has read all of its open stdin, a moment later.
func signals(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ok(ts, err)
	program, err := exec.LookPath(args[3])
	ok(ts, err)
	cmd := exec.Command(program, args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	ok(ts, err)
	stdin, err := cmd.StdinPipe() // stays open
	ok(ts, err)
	defer stdin.Close()
	ok(ts, cmd.Start())
	watchdog := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	var text []byte
	sent := false
	send := func() {
		sent = true
		ok(ts, cmd.Process.Signal(map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[args[0]]))
	}
	if args[2] == "-" {
		waitForHandler(ts, cmd.Process.Pid)
		send()
	}
	buffer := make([]byte, 4096)
	for {
		n, err := stderr.Read(buffer)
		text = append(text, buffer[:n]...)
		if !sent && strings.Contains(string(text), args[2]) {
			send()
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait() // the code says it all
	ts.Logf("[stderr]\n%s", text)
	if code := cmd.ProcessState.ExitCode(); code != want || !sent {
		ts.Fatalf("exit code %d, want %d; signal sent: %t", code, want, sent)
	}
	if !strings.Contains(string(text), "cancelled by signal") {
		ts.Fatalf("stderr does not say why it ended")
	}
}

// waitForHandler waits until a process catches SIGTERM.
func waitForHandler(ts *testscript.TestScript, pid int) {
	for range 1000 {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		ok(ts, err)
		_, rest, _ := strings.Cut(string(status), "SigCgt:\t")
		line, _, _ := strings.Cut(rest, "\n")
		caught, err := strconv.ParseUint(line, 16, 64)
		ok(ts, err)
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		ok(ts, err)
		if strings.TrimSpace(string(name)) == "portcheck" && caught&(1<<(syscall.SIGTERM-1)) != 0 {
			time.Sleep(300 * time.Millisecond) // from the runtime's handler to ours
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("process %d catches no signal", pid)
}

// hold starts a holder, of another file name if one is given: hold [name=FILE]
// MODE FLAGS. Its pid is in $HOLDER.
func hold(t *testing.T, ts *testscript.TestScript, args []string) {
	program, err := os.Executable()
	ok(ts, err)
	if name, given := strings.CutPrefix(args[0], "name="); given {
		args = args[1:]
		name = hostileNames[name]
		data, err := os.ReadFile(program)
		ok(ts, err)
		program = filepath.Join(ts.MkAbs("."), name)
		ok(ts, os.WriteFile(program, data, 0o755))
	}
	cmd, _ := testbed.StartWith(t, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), holderEnv+"=1") }, program, args...)
	ts.Setenv("HOLDER", strconv.Itoa(cmd.Process.Pid))
}

// hostileNames are names that a file can have.
var hostileNames = map[string]string{
	"error": "x\n::error::y", "mask": "##[add-mask]80", "ansi": "\x1b[31mred\x1b[2J", "bidi": "a\u202egpj.exe", "plain": "plain-holder",
	"output": "x\nok=true\n", "html": "<img src=x>|@org `x`",
}

// hostile copies a file to a name that a script can't write: hostile FILE NAME.
// The new name is in $HOSTILE.
func hostile(ts *testscript.TestScript, _ bool, args []string) {
	name := hostileNames[args[1]] + ".yml"
	ok(ts, os.WriteFile(ts.MkAbs(name), []byte(ts.ReadFile(args[0])), 0o644))
	ts.Setenv("HOSTILE", name)
}

// inert says that no log or terminal takes anything in a file for a command,
// beside our own annotations.
func inert(ts *testscript.TestScript, _ bool, args []string) {
	annotation := regexp.MustCompile(`^::(error|warning) (file=[^,:]*,)?([a-z]+=[^,:]*,?)*::`)
	for _, file := range args {
		text := ts.ReadFile(file)
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimLeft(line, " \t"), "::") && !annotation.MatchString(line) {
				ts.Fatalf("%s: %q is a command", file, line)
			}
		}
		if strings.Contains(text, "##[") {
			ts.Fatalf("%s: holds ##[", file)
		}
		for _, r := range text {
			if r != '\n' && r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd {
				ts.Fatalf("%s: holds U+%04X", file, r)
			}
		}
	}
}

// githubOutputs parses a GITHUB_OUTPUT file as the runner does. It must have exactly
// our four outputs: outputs FILE NAME=VALUE... It sets $REPORT to the report's path.
func githubOutputs(ts *testscript.TestScript, _ bool, args []string) {
	got := map[string]string{}
	lines := strings.Split(ts.ReadFile(args[0]), "\n")
	for i := 0; i < len(lines); i++ {
		name, delimiter, here := strings.Cut(lines[i], "<<")
		switch {
		case lines[i] == "":
		case !here || strings.Contains(name, "="):
			ts.Fatalf("line %q is no here-document", lines[i])
		default:
			var value []string
			for i++; i < len(lines) && lines[i] != delimiter; i++ {
				value = append(value, lines[i])
			}
			got[name] = strings.Join(value, "\n")
		}
	}
	for _, name := range []string{"ok", "conflicts", "report", "alternatives"} {
		if _, found := got[name]; !found {
			ts.Fatalf("no output %s: %v", name, got)
		}
	}
	if len(got) != 4 {
		ts.Fatalf("want four outputs: %v", got)
	}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		if got[name] != value {
			ts.Fatalf("output %s is %q, want %q", name, got[name], value)
		}
	}
	ts.Setenv("REPORT", got["report"])
}

// conflicts reads a JSON report and wants N unmet results in the order of their
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

// wellformed reads a JSON document and wants no null in it and each key of a
// report: wellformed FILE KEY...
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

// talk holds a conversation with `portcheck probe`: two questions, one after the
// answer to the other, and its end when stdin ends.
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

// holder is a program that holds ports, until it is killed: listen|bind|timewait
// PROTOCOL ADDRESS:FIRST[-LAST] [for=D] [reuse=no].
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
	stay, reuse := time.Hour, true
	for _, arg := range args[3:] {
		switch key, value, _ := strings.Cut(arg, "="); key {
		case "for":
			stay, err = time.ParseDuration(value)
			fail(err)
		case "reuse":
			reuse = value != "no"
		}
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
			fail(server.Close()) // who closes first keeps the TIME_WAIT
			_, _ = client.Read(make([]byte, 1))
			fail(client.Close())
			fail(l.Close())
		}
	}
	fmt.Println("ready")
	time.Sleep(stay)
	os.Exit(0)
}
