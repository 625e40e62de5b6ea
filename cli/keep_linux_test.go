package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestKeeperOfManyPorts starts portcheck as a keeper. It is one small process however
// many ports it holds, and a signal ends it.
func TestKeeperOfManyPorts(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	const ports, mostThreads = 4096, 16
	mostMemory := 12 << 10 // KiB
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		mostMemory *= 10 // the race detector's own
	}
	keep := program(nil, "keep")
	request := lease.Request{ID: "1", Job: "job 7", App: "shop", Expires: time.Now().Add(time.Hour), Wants: []lease.Want{
		{Name: "web", Protocols: []port.Protocol{port.TCP}, Ports: port.Set{port.One(10000)}, Length: ports, Guard: true},
	}}
	reply, err := lease.Start(context.Background(), keep.Path, keep.Args[1:], keep.Env, request)
	if err != nil || len(reply.First) != 1 {
		t.Fatal(reply, err)
	}
	soon := time.Now().Add(10 * time.Second)
	first, _ := lease.Look(port.TCP, 10000, soon)
	last, leased := lease.Look(port.TCP, 10000+ports-1, soon)
	if !leased || last.Job != "job 7" || last.PID == 0 || last.PID != first.PID {
		t.Fatalf("got %+v, %+v", first, last)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(last.PID) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		most, limited := map[string]int{"RssAnon": mostMemory, "Threads": mostThreads}[key]
		if !limited {
			continue
		}
		found++
		if n, err := strconv.Atoi(strings.Fields(value)[0]); err != nil || n > most {
			t.Errorf("%s, want at most %d", line, most)
		}
	}
	if found != 2 {
		t.Errorf("no memory and threads in %s", status)
	}
	keeper, err := os.FindProcess(last.PID)
	if err == nil {
		err = keeper.Signal(os.Interrupt)
	}
	for leased && err == nil && time.Now().Before(soon) {
		_, leased = lease.Look(port.TCP, 10000, soon)
	}
	if leased || err != nil {
		t.Errorf("SIGINT does not end the keeper: %v", err)
	}
}

// A request that is no request gets one clear error.
func TestKeeperOfNonsense(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":             "the request can't be read: EOF",
		"{":            "the request can't be read: unexpected EOF",
		`{"wants": 1}`: "the request can't be read: json: cannot unmarshal number",
	} {
		cmd := program(nil, "keep")
		cmd.Stdin = strings.NewReader(text)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitUnknown || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: %v, %s", text, err, stderr.String())
		}
	}
}

// With few descriptors assign fails and says so, or its keeper stays, however many clients
// connect.
func TestKeeperWithFewDescriptors(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(path, dir+"/portcheck"); err != nil {
		t.Fatal(err)
	}
	kept, refused := false, false
	for limit := 20; limit <= 84; limit += 4 {
		assign := exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d; exec portcheck assign -q --job few -p 20000-20009", limit))
		assign.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := assign.CombinedOutput()
		if err != nil {
			refused = true
			if !strings.Contains(string(out), "raise the limit of open files ('ulimit -n')") {
				t.Errorf("with %d descriptors: %s", limit, out)
			}
			continue
		}
		kept = true
		var clients []net.Conn
		for range 64 {
			c, err := net.Dial("unix", "@portcheck/1/tcp/20000")
			if err != nil {
				t.Fatalf("with %d descriptors: %v, after %s", limit, err, out)
			}
			clients = append(clients, c)
			_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1024)); err != nil {
				t.Errorf("with %d descriptors a keeper says nothing: %v", limit, err)
			}
		}
		for _, c := range clients {
			c.Close()
		}
		if l, leased := lease.Look(port.TCP, 20009, time.Now().Add(10*time.Second)); !leased || l.Job != "few" {
			t.Errorf("with %d descriptors: %v %+v, after %s", limit, leased, l, out)
		}
		if out, err := program(nil, "release", "--job", "few").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if !kept || !refused {
		t.Errorf("kept: %v, refused: %v", kept, refused)
	}
}

// A request that is too large has an error that says so, and what to do.
func TestRequestThatIsTooLarge(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	var text strings.Builder
	text.WriteString("version: 1\nrange: 10000-39999\nexclude: [")
	for n := 10000; n < 40000; n += 6 {
		fmt.Fprintf(&text, "%d, ", n)
	}
	text.WriteString("40000]\nports:\n")
	for n := range 600 {
		fmt.Fprintf(&text, "  - {name: n%d, port: auto}\n", n)
	}
	dir := t.TempDir()
	writeText(t, dir+"/portcheck.yml", text.String())
	if _, err := inDir(dir, nil, "assign", "-q", "--job", "large"); err == nil || !strings.Contains(err.Error(), "the request is larger than 16 MiB: assign fewer needs at once") {
		t.Error(err)
	}
}
