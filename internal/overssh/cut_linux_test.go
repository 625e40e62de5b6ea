package overssh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// cutter is a proxy to sshd that can end a connection after a number of bytes.
type cutter struct {
	net.Listener
	up, down       atomic.Int64 // bytes passed on so far
	maxUp, maxDown int64        // a connection ends before it reaches one of these; -1: never
}

func startCutter(t *testing.T, to string, maxUp, maxDown int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:2222")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, maxUp: maxUp, maxDown: maxDown}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go c.pipe(near, to)
		}
	}()
	return c
}

func (c *cutter) pipe(near net.Conn, to string) {
	far, err := net.Dial("tcp", to)
	if err != nil {
		_ = near.Close() // the program fails, and the test with it
		return
	}
	var both sync.WaitGroup
	move := func(dst, src net.Conn, seen *atomic.Int64, most int64) {
		defer dst.Close()
		defer src.Close()
		buffer := make([]byte, 4096)
		for {
			n, err := src.Read(buffer)
			if most >= 0 && seen.Load()+int64(n) >= most {
				return
			}
			seen.Add(int64(n))
			if _, failed := dst.Write(buffer[:n]); failed != nil || err != nil {
				return
			}
		}
	}
	both.Go(func() { move(far, near, &c.up, c.maxUp) })
	both.Go(func() { move(near, far, &c.down, c.maxDown) })
	both.Wait()
}

// Wherever the connection is cut, the run reports the step, and leaves nothing on
// the host. A cut that is too late to matter changes nothing of the result, which names
// a process that only the host's whole answer names.
func TestCutConnectionLeavesNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	overBoth(t, cutConnections)
}

func cutConnections(t *testing.T, client string) {
	s := testbed.StartSSHD(t, "")
	holder, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	// The answer about so many ports is most of what the host sends: half of it is within
	// the answer. How many window messages it sends while it receives the executable
	// differs by ten kilobytes.
	args := []string{"--ssh", client, "-t", "ssh://root@127.0.0.1:2222", "-p", "8080-10079", "--identity", s.UserKey, "--known-hosts", s.KnownHosts(t, "[127.0.0.1]:2222")}
	whole := startCutter(t, s.Addr, -1, -1)
	r := portcheck(t, nil, args...)
	verdict, _, _ := strings.Cut(r.stdout, "\n") // hints have the holder's age
	if r.code != 1 || !strings.Contains(verdict, fmt.Sprintf("(pid %d,", os.Getpid())) {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	whole.Close()
	up, down := whole.up.Load(), whole.down.Load()
	steps := map[string]int{}
	try := func(maxUp, maxDown int64) {
		c := startCutter(t, s.Addr, maxUp, maxDown)
		defer c.Close()
		r := portcheck(t, nil, args...)
		if r.code == 1 && strings.HasPrefix(r.stdout, verdict+"\n") {
			nothingLeft(t, "the last bytes")
			return
		}
		said := regexp.MustCompile(`could not be checked: ([a-z ]+): \S.*\[unknown\]`).FindStringSubmatch(r.stdout)
		if r.code != 3 || said == nil {
			t.Errorf("cut after %d of %d bytes up, %d of %d down: exit code %d\n%s%s", maxUp, up, maxDown, down, r.code, r.stdout, r.stderr)
			return
		}
		steps[said[1]]++
		nothingLeft(t, said[0])
	}
	for _, part := range []int64{0, 20, 1500, 3000, 5000, up / 2, up - 600, up - 400, up - 200, up - 100} {
		try(part, -1)
	}
	for part := int64(1000); part < 4000; part += 250 { // the short steps
		try(-1, part)
	}
	for _, part := range []int64{20, down / 2, down - 2000, down - 1000, down - 500, down - 100} {
		try(-1, part)
	}
	t.Log(up, down, steps)
	for _, step := range []string{"handshake", "authentication", "session", "transfer", "probe"} {
		if steps[step] == 0 {
			t.Errorf("never cut during %s: %v", step, steps)
		}
	}
}

// Whenever a run is ended, it leaves nothing on the host.
func TestEndedRunLeavesNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	overBoth(t, endRuns)
}

func endRuns(t *testing.T, client string) {
	s := testbed.StartSSHD(t, "")
	args := []string{"--ssh", client, "-t", "ssh://root@127.0.0.1:2222", "-p", "8080", "--identity", s.UserKey, "--known-hosts", s.KnownHosts(t, "[127.0.0.1]:2222")}
	proxy := startCutter(t, s.Addr, -1, -1)
	defer proxy.Close()
	start := time.Now()
	if r := portcheck(t, nil, args...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	whole := time.Since(start)
	moments := 12
	if client == "openssh" {
		moments = 5 // the host does the same
	}
	for i := range moments {
		for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGKILL} {
			var said strings.Builder
			cmd := exec.Command(testbed.Program(), args...)
			cmd.Stdout, cmd.Stderr = io.Discard, &said
			before := proxy.up.Load()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if i > 0 { // once it has dialed, it handles signals
				for deadline := time.Now().Add(patience); proxy.up.Load() == before; time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						_ = cmd.Process.Kill() // it may have ended already
						_ = cmd.Wait()         // killed: the error is expected
						t.Fatalf("no connection within %s\n%s", patience, said.String())
					}
				}
			}
			time.Sleep(whole * time.Duration(i) / time.Duration(moments))
			if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the exit code is compared below
			if code := cmd.ProcessState.ExitCode(); signal == syscall.SIGINT && code != 130 && code != 0 && i > 0 {
				t.Errorf("SIGINT after %d/%d of the time: exit code %d\n%s", i, moments, code, said.String())
			}
			nothingLeft(t, signal.String())
		}
	}
}
