package callers

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

const oldServer = "table ip t {\n chain pre { type nat hook prerouting priority -100\n tcp dport 8080 redirect to :9090\n }\n}\n"

// A probe as in a helper container answers from the rules as they were when it
// started, and has no right to read or change them any more.
func TestConfined(t *testing.T) {
	testbed.Slow(t, "runs portcheck in a network of its own")
	if !testbed.Isolated(t) {
		return
	}
	testbed.StartMachines(t, 1)
	needs(t, "nft", "setpriv")
	script(t, oldServer)
	const kept = "+net_bind_service,+sys_ptrace,+dac_read_search,+setuid,+setgid"
	cmd := exec.Command("setpriv", "--bounding-set=-all,"+kept+",+net_admin,+setpcap", "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--no-new-privs",
		testbed.Program(), "probe", "--confine", "--ready")
	cmd.Stderr = os.Stderr
	in, out := pipes(t, cmd)
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "portcheck-ready ") {
	}
	files, err := filepath.Glob("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sets := 0
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if !strings.HasPrefix(name, "Cap") {
				continue
			}
			sets++
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil || set>>unix.CAP_NET_ADMIN&1 == 1 || set>>unix.CAP_SETPCAP&1 == 1 {
				t.Errorf("%s: %s", file, line)
			}
		}
		if sets != 5 {
			t.Errorf("%s has %d sets", file, sets)
		}
	}
	script(t, "flush ruleset")
	for range 2 {
		if _, err := io.WriteString(in, `{"tries":[{"protocol":"tcp","addresses":["any"],"ports":{"first":8080,"last":8080},"callers":true}]}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatal("no answer")
		}
		var reply struct {
			Facts struct {
				Tried []struct{ Routes []struct{ All bool } }
				Gaps  []any
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &reply); err != nil || len(reply.Facts.Tried) != 1 || len(reply.Facts.Tried[0].Routes) != 1 || len(reply.Facts.Gaps) > 0 {
			t.Errorf("%v: %s", err, lines.Text())
		}
	}
}

func pipes(t *testing.T, cmd *exec.Cmd) (io.Writer, io.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() }) // its stdin ends, and it with that
	return in, out
}

func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			testbed.Missing(t, "needs "+tool)
		}
	}
}

// Without the right to read rules the verdict stays, and the target has one line
// about it, if there may be rules.
func TestUnreadableRules(t *testing.T) {
	testbed.Slow(t, "runs portcheck in a network of its own")
	if !testbed.Isolated(t) {
		return
	}
	testbed.StartMachines(t, 1)
	needs(t, "nft", "setpriv")
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"}
	unread := func(word string) {
		t.Helper()
		r, target := checkAll(t, "{name: a, port: 8080}, {name: b, port: 8081}", nobody...)
		if len(r) != 2 || r[0].Status != "free" || r[1].Status != "free" {
			t.Errorf("%s: %+v", word, r)
		}
		var messages []string
		for _, n := range target {
			messages = append(messages, n.Message)
		}
		want := 0
		if word != "" {
			want = 1
		}
		if len(messages) != want || want == 1 && !strings.Contains(messages[0], word) {
			t.Errorf("notices %q, want %q", messages, word)
		}
	}
	unread("")
	script(t, oldServer)
	free := exec.Command(nobody[0], append(slices.Clone(nobody[1:]), testbed.Program(), "free", "-t", "local", "--range", "8080-8089")...)
	var errs strings.Builder
	free.Stderr = &errs
	if out, err := free.Output(); err != nil || string(out) != "8080\n" || !strings.Contains(errs.String(), "portcheck: note: NAT rules can't be read") {
		t.Errorf("free: %q, %v: %s", out, err, errs.String())
	}
	unread("NAT rules can't be read, so it is not known whether one sends callers elsewhere: that needs root or CAP_NET_ADMIN")
	for _, words := range [][]string{{"exec", "-t", "local", "-", "--", "sh", "-c", "echo A_PORT=$A_PORT"}, {"assign", "-t", "local", "-f", "env", "-"}} {
		cmd := exec.Command(nobody[0], slices.Concat(nobody[1:], []string{testbed.Program()}, words)...)
		cmd.Stdin = strings.NewReader("version: 1\nports: [{name: a, port: 8080}, {name: b, port: 8081}, {name: c, port: auto, range: 8082-8089}]\n")
		errs.Reset()
		cmd.Env, cmd.Stderr = append(os.Environ(), "PORTCHECK_JOB="+words[0]), &errs
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "A_PORT=80") || strings.Count(errs.String(), "portcheck: note: local: NAT rules can't be read") != 1 {
			t.Errorf("%s: %q, %v: %s", words[0], out, err, errs.String())
		}
	}
	if out, err := exec.Command(testbed.Program(), "release", "-t", "local", "--job", "assign").CombinedOutput(); err != nil {
		t.Errorf("release: %v: %s", err, out)
	}
}

// A need that waits is met when the rule has gone.
func TestRuleGoes(t *testing.T) {
	testbed.Slow(t, "runs portcheck in a network of its own")
	if !testbed.Isolated(t) {
		return
	}
	testbed.StartMachines(t, 1)
	needs(t, "nft")
	script(t, oldServer)
	file := filepath.Join(t.TempDir(), "portcheck.yml")
	if err := os.WriteFile(file, []byte("version: 1\nports: [{name: a, port: 8080, wait: 5m}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testbed.Program(), "check", "--target", "local", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout strings.Builder
	cmd.Stdout = &stdout
	progress, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		seen = append(seen, lines.Text())
		if strings.Contains(lines.Text(), "wait") {
			script(t, "flush ruleset")
		}
	}
	if err := cmd.Wait(); err != nil || len(seen) == 0 {
		t.Errorf("%v: %s%q", err, stdout.String(), seen)
	}
}

// Rules of 5,000 services, of which one is for the port.
func TestRuleAmongMany(t *testing.T) {
	testbed.Slow(t, "writes many rules")
	if !testbed.Isolated(t) {
		return
	}
	testbed.StartMachines(t, 1)
	needs(t, "iptables-nft-restore")
	restore := exec.Command("iptables-nft-restore")
	restore.Stdin = strings.NewReader(testbed.KubeProxyRules(1000, 30000))
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results, _ := checkAll(t, "{name: a, port: 30500}, {name: b, port: 32000}")
	if len(results) != 2 || results[0].Status != "redirected" || !strings.Contains(results[0].Message, "(ns/svc500)") || results[1].Status != "free" {
		t.Errorf("%+v", results)
	}
	if results[0].Redirect == nil || slices.Contains([]string{"", "unknown"}, results[0].Redirect.To) {
		t.Errorf("%+v", results[0].Redirect)
	}
}
