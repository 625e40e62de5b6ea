package overssh

import (
	"errors"
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

// cutter is a proxy to sshd that ends each connection after so many bytes.
type cutter struct {
	net.Listener
	up, down   atomic.Int64 // seen so far
	cutUp, cut int64        // of up and of down; -1: never
}

func startCutter(t *testing.T, to string, cutUp, cutDown int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:2222")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, cutUp: cutUp, cut: cutDown}
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
		_ = near.Close() // the program sees it, and the test with it
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
	both.Go(func() { move(far, near, &c.up, c.cutUp) })
	both.Go(func() { move(near, far, &c.down, c.cut) })
	both.Wait()
}

// Wherever the connection is cut, the run says at which step, and nothing of ours
// stays on the host.
func TestCutConnectionLeavesNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	args := []string{"-t", "ssh://root@127.0.0.1:2222", "-p", "8080", "--identity", s.UserKey, "--known-hosts", s.KnownHosts(t, "[127.0.0.1]:2222")}
	whole := startCutter(t, s.Addr, -1, -1)
	if r := portcheck(t, nil, args...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	whole.Close()
	up, down := whole.up.Load(), whole.down.Load()
	steps := map[string]int{}
	try := func(cutUp, cutDown int64) {
		c := startCutter(t, s.Addr, cutUp, cutDown)
		defer c.Close()
		r := portcheck(t, nil, args...)
		if r.code == 0 && (cutUp > up-500 || cutDown > down-2000) { // all was said by then
			nothingLeft(t, "the last bytes")
			return
		}
		said := regexp.MustCompile(`could not be checked: ([a-z ]+): \S.*\[unknown\]`).FindStringSubmatch(r.stdout)
		if r.code != 3 || said == nil {
			t.Errorf("cut after %d of %d bytes up, %d of %d down: exit code %d\n%s%s", cutUp, up, cutDown, down, r.code, r.stdout, r.stderr)
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
	for _, part := range []int64{20, down - 2000, down - 1000, down - 500, down - 100} {
		try(-1, part)
	}
	t.Log(up, down, steps)
	for _, step := range []string{"handshake", "authentication", "session", "transfer", "probe"} {
		if steps[step] == 0 {
			t.Errorf("never cut during %s: %v", step, steps)
		}
	}
}

// Whenever we are ended, nothing of ours stays on the host.
func TestEndedRunLeavesNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	args := append([]string{"-t", "ssh://root@127.0.0.1", "-p", "8080"}, reach(t, s)...)
	start := time.Now()
	if r := portcheck(t, nil, args...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	whole := time.Since(start)
	const moments = 12
	for i := range moments {
		for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGKILL} {
			var said strings.Builder
			cmd := exec.Command(os.Getenv(binaryEnv), args...)
			cmd.Stdout, cmd.Stderr = io.Discard, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(whole * time.Duration(i) / moments)
			if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			_ = cmd.Wait()                                                                                          // what it says is the exit code
			if code := cmd.ProcessState.ExitCode(); signal == syscall.SIGINT && code != 130 && code != 0 && i > 0 { // at first nobody listens yet
				t.Errorf("SIGINT after %d/%d of the time: exit code %d\n%s", i, moments, code, said.String())
			}
			nothingLeft(t, signal.String())
		}
	}
}
