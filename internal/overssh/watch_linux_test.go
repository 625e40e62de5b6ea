package overssh

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// cable is a way to a server that can be pulled and plugged in again.
type cable struct {
	to string
	net.Listener
	mu   sync.Mutex
	open []net.Conn
}

func (c *cable) plug(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:2222")
	if err != nil {
		t.Fatal(err)
	}
	c.Listener = l
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", c.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			c.mu.Lock()
			c.open = append(c.open, near, far)
			c.mu.Unlock()
			move := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // until one side ends
				_, _ = to.Close(), from.Close()
			}
			go move(near, far)
			go move(far, near)
		}
	}()
}

func (c *cable) pull() {
	_ = c.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.open {
		_ = x.Close()
	}
	c.open = nil
}

// TestWatchOverSSH watches a host that goes and comes back: that is said once, nothing is
// freed meanwhile, and what has changed is told afterwards.
func TestWatchOverSSH(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	c := &cable{to: s.Addr}
	c.plug(t)
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	stays, goes := listen("127.0.0.1:8001"), listen("127.0.0.1:8002")
	defer stays.Close()
	cmd := exec.Command(testbed.Program(), "watch", "--ssh", "builtin", "-t", "ssh://root@127.0.0.1:2222", "-f", "json", "--interval", "100ms",
		"--identity", s.UserKey, "--known-hosts", s.KnownHosts(t, "[127.0.0.1]:2222"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	stderr := bufio.NewReader(errs)
	said := func(want string) {
		t.Helper()
		line, err := stderr.ReadString('\n')
		if err != nil || !strings.Contains(line, want) {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
	}
	events := json.NewDecoder(out)
	expect := func(kind string, port int) {
		t.Helper()
		var e struct {
			Event, Target string
			Port          int
			Holders       []struct{ PID int }
		}
		if err := events.Decode(&e); err != nil || e.Event != kind || e.Port != port || e.Target != "ssh://root@127.0.0.1:2222" || kind == "taken" && (len(e.Holders) != 1 || e.Holders[0].PID != os.Getpid()) {
			t.Fatalf("%+v, %v, want %s %d", e, err, kind, port)
		}
	}
	said("watching ssh://root@127.0.0.1:2222 every 100ms")
	first := listen("127.0.0.1:8003")
	defer first.Close()
	expect("taken", 8003)
	c.pull()
	said("can't be asked, so nothing is known of it until it can: ")
	_ = goes.Close()
	second := listen("127.0.0.1:8004")
	defer second.Close()
	c.plug(t)
	said("answers again, after ")
	expect("freed", 8002)
	expect("taken", 8004)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	said("2 taken, 1 freed, 0 changed; in ")
	rest, err := io.ReadAll(stderr)
	if err != nil || len(rest) > 0 {
		t.Errorf("stderr goes on: %q, %v", rest, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	c.pull()
}
