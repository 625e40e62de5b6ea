package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// product is a short input that multiplies, and what a run with it ends with.
type product struct {
	name   string
	args   []string // in the directory of the inputs
	code   int
	stderr string // a part of it, or of stdout
}

// products writes the inputs to a directory.
func products(t *testing.T, dir string) []product {
	t.Helper()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := func(n int, format string, args ...any) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, append([]any{i}, args...)...)
		}
		return b.String()
	}
	const head = "version: 1\napp: a\n"
	targets := "targets:\n" + list(256, "  t%[1]d: ssh://h%[1]d\n")
	write("targets.yml", head+targets+"ports:\n  - {name: w, port: 1-65535, protocol: [tcp, udp]}\n")
	singles := "range: ["
	for i := range 9000 {
		singles += strconv.Itoa(10000+i) + ","
	}
	write("range.yml", head+singles+"]\nports:\n  - {name: x, port: 30000-34999}\n  - {name: y, port: 30000-34999}\n")
	write("addresses.yml", head+"ports:\n  - {name: w, port: 1-65535, address: ["+list(64, "127.0.1.%d,")+"]}\n")
	write("block.yml", head+"ports:\n  - {name: w, port: 1-65535}\n")
	write("results.yml", head+targets+"ports:\n"+list(128, "  - {name: n%[1]d, port: 2%03[1]d}\n"))
	for k := range 4 {
		write(fmt.Sprintf("rivals/%d/portcheck.yml", k), "version: 1\napp: a"+strconv.Itoa(k)+"\nhost: h\nports:\n"+list(256, "  - {name: n%[1]d, port: 80, address: [%[2]s]}\n", "@"))
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("rivals/%d/portcheck.yml", k)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 256 { // no two needs have an address in common
			text = bytes.Replace(text, []byte("@"), []byte(list(64, "10.%[2]d.%[3]d.%[1]d,", k, i)), 1)
		}
		write(fmt.Sprintf("rivals/%d/portcheck.yml", k), string(text))
	}
	write("tags.yml", list(65_000, "%%TAG !%d! x\n")+"---\n"+head)
	write("comments.yml", strings.Repeat("- ", 5000)+"a\n"+strings.Repeat("#\n #\n", 200_000))
	for k := range 32 {
		write(fmt.Sprintf("mappings/%d/portcheck.yml", k), "x-a: {"+strings.Repeat("a,", 500_000)+"}\n")
		write(fmt.Sprintf("marks/%d/portcheck.yml", k), "x-a: {"+strings.Repeat("a,", 99_000)+"}\n")
		write(fmt.Sprintf("nested/%d/portcheck.yml", k), strings.Repeat("- ", 199)+"a\n"+strings.Repeat("#\n #\n", 49_000))
	}
	for k := range 600 {
		write(fmt.Sprintf("broken/%d/portcheck.yml", k), "x: ["+strings.Repeat("a,", 1_500)+strings.Repeat("#", 50_000)+"\n")
	}
	type object = map[string]any
	reportOf := func(results int, target string, last int, candidates string) string {
		all := []object{}
		for i := range results {
			x := object{
				"id": fmt.Sprintf("a/n%d@%s/tcp", i, target), "name": fmt.Sprintf("n%d", i), "target": target,
				"source": object{"file": "f", "line": i + 1, "column": 1}, "protocol": "tcp", "address": []string{"any"}, "port": 1,
				"expect": "free", "status": "in-use", "severity": "error", "message": "m", "candidates": candidates,
			}
			if last > 1 {
				x["port_last"] = last
			}
			all = append(all, x)
		}
		text, err := json.Marshal(object{"version": 1, "problems": []object{}, "targets": []object{{"name": target}}, "results": all})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write("wide.json", reportOf(170, "t", 20000, "1-65535"))
	write("many.json", reportOf(2000, "t", 1, "1-65535"))
	singles = ""
	for i := range 1000 {
		singles += "," + strconv.Itoa(2*i+2)
	}
	write("odd.json", reportOf(2000, "t", 2, singles[1:]))
	for k := range 5 {
		write(fmt.Sprintf("fleet%d.json", k), reportOf(8000, fmt.Sprintf("t%d", k), 1, "1-59999"))
	}
	write("empty.json", `{"version":1,"problems":[],"targets":[],"results":[`+strings.Repeat("{},", 259999)+`{}]}`)
	reportWith := func(n int, holder string) string {
		return strings.Replace(reportOf(1, "t", 1, "1"), `"message"`, `"holders":[`+strings.Repeat(holder+",", n-1)+holder+`],"message"`, 1)
	}
	write("holders.json", reportWith(260_000, `{"pid":1}`))
	write("sources.json", reportWith(260_000, `{"pid":1}`))
	write("crowd.json", reportWith(260_000, `{"pid":1,"uid":1,"user":"u","command":["a","b","c"]}`))
	write("nulls.json", reportWith(2_000_000, "null"))
	for _, name := range []string{"problems0.json", "problems1.json"} {
		problem := fmt.Sprintf(`{"file":%q,"message":"x"},`, name)
		write(name, `{"version":1,"problems":[`+strings.Repeat(problem, 131_000)+`{"message":"x"}],"targets":[],"results":[]}`)
	}
	hosts := []string{"merge"}
	for i := range 1000 {
		name := fmt.Sprintf("broken%d.json", i)
		write(name, `{"version":1,"problems":[`+strings.Repeat(`{"message":"x"},`, 4)+`{"file":"portcheck.yml","message":"y"}],"targets":[],"results":[]}`)
		hosts = append(hosts, name)
	}
	notices := `{"code":"x","message":"m"}`
	write("notices.json", strings.ReplaceAll(reportOf(32000, "t", 1, "1"), `"candidates":"1"`, `"notices":[`+notices+`]`))
	write("growing.json", strings.Replace(reportOf(1, "t", 1, "1"), `"message":"m"`, `"message":"`+strings.Repeat("\x7f", 6<<20)+`"`, 1))
	for _, name := range []string{"programs", "strangers"} {
		var rows strings.Builder
		for i := range 32000 {
			fmt.Fprintf(&rows, `{"protocol":"tcp","address":"2001:db8::%x","port":1,"pid":1,"executable":"%s","unit":"%x","unseen":["container"]},`, i/2, name, i)
		}
		write(name+".json", `{"version":1,"targets":[{"name":"local","notices":[]}],"sockets":[`+strings.TrimSuffix(rows.String(), ",")+`]}`)
	}
	sets := []string{"lint", "results.yml"}
	for i := range 4000 {
		sets = append(sets, fmt.Sprintf("--set=port-of-nothing-%d=1", i))
	}
	return []product{
		{"lint of 256 targets x 65,535 ports x 2 protocols", []string{"lint", "targets.yml"}, exitUsage, "targets.yml:261:21: error: more than 65536 endpoints on target \"t0\", the limit of a target"},
		{"lint of a block of 65,535 ports", []string{"lint", "block.yml"}, exitOK, "65535 ports of 1 need"},
		{"lint of 32,768 results", []string{"lint", "results.yml"}, exitOK, "32768 ok"},
		{"lint of 1,024 needs of 64 addresses at one port", []string{"lint", "-r", "rivals"}, exitOK, "1024 ok"},
		{"lint of 65,000 tag directives", []string{"lint", "tags.yml"}, exitUsage, "tags.yml:1:1: error: %TAG is not supported: remove this line"},
		{"lint of 400,000 comments after 5,000 levels", []string{"lint", "comments.yml"}, exitUsage, "comments.yml:1:403: error: indented by more than 400 columns, the limit of a manifest"},
		{"lint of 32 mappings of 1 MiB", []string{"lint", "-r", "mappings"}, exitUsage, "mappings/31/portcheck.yml:1:200004: error: more than 100,000 commas"},
		{"lint of 32 mappings of 200 kB", []string{"lint", "-r", "marks"}, exitUsage, "marks/18/portcheck.yml: error: more than 1,000,000 commas"},
		{"lint of 32 nested lists with comments", []string{"lint", "-r", "nested"}, exitUsage, "nested/18/portcheck.yml: error: more than 1,000,000 commas"},
		{"lint of 600 lists without an end", []string{"lint", "-r", "broken"}, exitUsage, "broken/599/portcheck.yml:"},
		{"a range of 9,000 single ports, two blocks of 5,000", []string{"-t", "local", "range.yml"}, exitUnmet, "2 conflicts"},
		{"65,535 ports on 64 addresses", []string{"-t", "local", "addresses.yml"}, exitUsage, "addresses.yml:4:21: error: more than 65536 endpoints"},
		{"65,535 ports", []string{"-t", "local", "block.yml"}, exitOK, "65535 ports of 1 need"},
		{"merge of 170 results with wide ranges", []string{"merge", "wide.json"}, exitUnmet, "170 conflicts"},
		{"merge of 2,000 results with wide ranges", []string{"merge", "many.json"}, exitUnmet, "2000 conflicts"},
		{"merge of 2,000 results with every second port", []string{"merge", "odd.json"}, exitUnmet, "2000 conflicts"},
		{"merge of 32,000 results", []string{"merge", "fleet0.json", "fleet1.json", "fleet2.json", "fleet3.json"}, exitUnmet, "32000 conflicts"},
		{"merge of 40,000 results", []string{"merge", "fleet0.json", "fleet1.json", "fleet2.json", "fleet3.json", "fleet4.json"}, exitUsage, "fleet4.json: error: with this report there are more than 32768 results, the limit of a merge"},
		{"merge of 260,000 empty results", []string{"merge", "empty.json"}, exitUsage, "with this report there are more than 32768 results"},
		{"merge of 260,000 holders", []string{"merge", "holders.json"}, exitUnmet, "1 conflict"},
		{"merge of 260,000 holders with command lines, as JSON", []string{"merge", "-o", "json=crowd-out.json", "crowd.json"}, exitUnmet, "1 conflict"},
		{"merge of 2,000,000 nulls", []string{"merge", "nulls.json"}, exitUsage, "nulls.json: error: has too many values"},
		{"merge of 260,000 holders twice", []string{"merge", "a=holders.json", "b=sources.json"}, exitUsage, "sources.json: error: with this report there are too many values for a merge"},
		{"merge of 131,000 problems twice", []string{"merge", "problems0.json", "problems1.json"}, exitUsage, "problems1.json: error: has 131001 problems, and at most 4096 are read"},
		{"merge of 1,000 reports with the same problems", hosts, exitUsage, "2 errors"},
		{"merge of 32,000 results with 32,000 notices", []string{"merge", "-o", "codequality=notices-out.json", "notices.json"}, exitUnmet, "32000 conflicts"},
		{"merge of 6 MiB of text that grows, as JSON", []string{"merge", "-o", "json=grown.json", "growing.json"}, exitUnmet, "1 conflict"},
		{"merge of 6 MiB of text that grows, for GitLab", []string{"merge", "-o", "codequality=grown.json", "growing.json"}, exitUnmet, "1 conflict"},
		{"merge of 6 MiB of text that grows, as JUnit", []string{"merge", "-o", "junit=grown.xml", "growing.json"}, exitUnmet, "1 conflict"},
		{"merge of 8,000 results with 1,000 alternatives each", []string{"merge", "--alternatives", "1000", "fleet0.json"}, exitUsage, "--alternatives 1000: want at most 32 for 8000 results"},
		{"merge of 8,000 results with 32 alternatives each", []string{"merge", "--alternatives", "32", "fleet0.json"}, exitUnmet, "8000 conflicts"},
		{"check of 32,768 results with 1,000 alternatives each", []string{"--alternatives", "1000", "results.yml"}, exitUsage, "--alternatives 1000: want at most 8 for 32768 results"},
		{"diff of 32,000 holders", []string{"diff", "programs.json", "strangers.json"}, exitUnmet, "16000 anomalies"},
		{"lint of 4,096 needs with 4,000 unknown names", sets, exitUsage, "more than 1,000 errors: the others are not shown"},
	}
}

// start starts portcheck in a directory.
func (p product) start(t *testing.T, dir string) (*exec.Cmd, *bytes.Buffer, chan struct{}) {
	t.Helper()
	cmd := program(nil, p.args...)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // ProcessState has what matters
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	return cmd, &out, ended
}

// patience is enough for what takes seconds of an idle processor.
const patience = 2 * time.Minute

func waitFor(t *testing.T, name string, cmd *exec.Cmd, ended chan struct{}) bool {
	t.Helper()
	select {
	case <-ended:
		return true
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
		t.Errorf("%s: still runs after %s", name, patience)
		return false
	}
}

// used returns the processor time of a process that has ended.
func used(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// No short input takes more than 250 MB or 5 seconds: what it would multiply to is
// computed with intervals, or refused with a clear error.
func TestProductsAreBounded(t *testing.T) {
	testbed.Slow(t, "runs of seconds")
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	for _, p := range products(t, dir) {
		p.checkBounds(t, dir)
	}
}

// checkBounds runs portcheck in a directory, and checks its result and what it takes.
func (p product) checkBounds(t *testing.T, dir string) {
	t.Helper()
	cmd, out, ended := p.start(t, dir)
	if !waitFor(t, p.name, cmd, ended) {
		return
	}
	memory := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	t.Logf("%s: %s, %d MB", p.name, used(cmd).Round(time.Millisecond), memory)
	if code := cmd.ProcessState.ExitCode(); code != p.code || !strings.Contains(out.String(), p.stderr) {
		t.Errorf("%s: exit code %d, want %d with %q: %.500s", p.name, code, p.code, p.stderr, out.String())
	}
	if !underRaceDetector() && (used(cmd) > 5*time.Second || memory > 250) {
		t.Errorf("%s took %s and %d MB", p.name, used(cmd), memory)
	}
}

// A crowd of processes that share thousands of sockets, which any user can start,
// takes no more either.
func TestCrowdIsBounded(t *testing.T) {
	testbed.Slow(t, "hundreds of thousands of descriptors")
	if !testbed.Isolated(t) {
		return
	}
	testbed.Python(t, `
import ctypes, os, resource, signal, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
sockets = []
for i in range(3000):
    s = socket.socket()
    s.bind(("127.0.0.1", 10000 + i))
    s.listen()
    sockets.append(s)
for _ in range(100):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL) # PR_SET_PDEATHSIG
        time.sleep(1000)
print("ready", flush=True)
time.sleep(1000)
`)
	dir := t.TempDir()
	needs, targets := "", ""
	for i := range 128 {
		needs += fmt.Sprintf("  - {name: n%d, port: 10000-10015, expect: listening, owner: {process: \"python3*\"}}\n", i)
	}
	for i := range 4 {
		targets += fmt.Sprintf("  t%d: local\n", i)
	}
	for name, text := range map[string]string{
		"owner.yml":   "ports:\n  - {name: w, port: 10000-12999, owner: {process: a}}\n",
		"needs.yml":   "targets: {t: local}\nports:\n" + needs,
		"targets.yml": "targets:\n" + targets + "ports:\n  - {name: w, port: 10000-10159, owner: {process: a}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("version: 1\napp: a\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []product{
		{"check of many needs", []string{"needs.yml", "-f", "json"}, exitOK, ""},
		{"check of many targets", []string{"targets.yml", "-f", "json"}, exitUnmet, ""},
		{"check", []string{"-t", "local", "--port", "10000-12999"}, exitUnmet, "1 conflict"},
		{"check with an owner", []string{"-t", "local", "owner.yml"}, exitUnmet, "1 conflict"},
		{"list", []string{"list", "-t", "local", "-f", "json"}, exitOK, "there are more holders than are listed"},
	} {
		p.checkBounds(t, dir)
	}
}

// underRaceDetector reports whether the race detector is on, with which everything
// takes several times as much.
func underRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A signal ends a run within a second of processor time, wherever it is.
func TestSignalAtAnyMoment(t *testing.T) {
	testbed.Slow(t, "runs of seconds")
	if !testbed.Isolated(t) {
		return
	}
	moments := 3
	if text := os.Getenv("PORTCHECK_TEST_MOMENTS"); text != "" { // .ci/run has 12, .ci/nightly 50
		var err error
		if moments, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for _, p := range products(t, dir) {
		t.Run(p.name, func(t *testing.T) {
			if p.args[0] == "lint" || p.args[0] == "merge" { // the others bind the same ports
				t.Parallel()
			}
			start := time.Now()
			cmd, _, ended := p.start(t, dir)
			if !waitFor(t, p.name, cmd, ended) {
				return
			}
			whole := time.Since(start)
			for i := range moments {
				p.signalAt(t, dir, rand.N(whole), i%2 == 0)
			}
		})
	}
}

// signalAt starts portcheck and sends it a signal after a while.
func (p product) signalAt(t *testing.T, dir string, moment time.Duration, terminate bool) {
	t.Helper()
	signal, code := syscall.SIGINT, exitInterrupt
	if terminate {
		signal, code = syscall.SIGTERM, exitTerminated
	}
	cmd, out, ended := p.start(t, dir)
	select {
	case <-ended:
	case <-time.After(moment):
	}
	before := processorTime(cmd.Process.Pid)
	_ = cmd.Process.Signal(signal) // it may have ended
	if !waitFor(t, p.name, cmd, ended) {
		return
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch got := cmd.ProcessState.ExitCode(); {
	case status.Signaled() && status.Signal() == signal: // before portcheck handles signals
	case got == code && used(cmd)-before > time.Second:
		t.Errorf("%s after the signal", used(cmd)-before)
	case got != code && got != p.code:
		t.Errorf("exit code %d, want %d or %d: %.500s", got, code, p.code, out.String())
	}
}

// processorTime returns what a process has used so far, or 0 if it has ended.
func processorTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, in ticks of 10 ms
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
