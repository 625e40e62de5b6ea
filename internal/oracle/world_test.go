//go:build linux

package oracle

import (
	"bufio"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed testdata
var testdata embed.FS

// patience bounds the start of a server, which normally takes much less.
const patience = 20 * time.Second

const (
	rootID   = 0
	nobodyID = 65534
)

// world is the machine of one pair: fresh namespaces, a situation, and a server.
type world struct {
	dir  string // working directory of every process, a tmpfs
	uid  int    // of the server
	held []held // by the processes of the situation
	peer *peer  // nil without devices
}

type device struct {
	name       string
	ipv4, ipv6 netip.Addr
}

// devices are veths. The other end of each is in the peer's namespace.
var devices = []device{
	{"v0", netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fe80::10")},
	{"v1", netip.MustParseAddr("10.99.1.1"), netip.MustParseAddr("fe80::11")},
}

func peerOf(device string) string { return strings.Replace(device, "v", "p", 1) }

type peer struct {
	in  io.Writer
	out *bufio.Reader
}

func (p *peer) dial(protocol, addr, greeting string) (string, error) {
	if _, err := fmt.Fprintf(p.in, "%q %q %q\n", protocol, addr, greeting); err != nil {
		return "", err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	if text, failed := strings.CutPrefix(line, "error: "); failed {
		return "", errors.New(text)
	}
	return line, nil
}

func (w *world) addDevices() error {
	for _, name := range []string{"ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"} { // or some refusals are not sent
		if err := sysctl(name, "0")(w); err != nil {
			return err
		}
	}
	cmd := w.program("peer", rootID)
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w.peer = &peer{in, bufio.NewReader(out)}
	var here, there strings.Builder
	for _, d := range devices {
		p := peerOf(d.name)
		fmt.Fprintf(&here, "link add %s type veth peer name %s netns %d\n", d.name, p, cmd.Process.Pid)
		here.WriteString(furnish(d.name, d.ipv4, d.ipv6))
		there.WriteString(furnish(p, next(d.ipv4, 1), next(d.ipv6, 16)))
	}
	if err := run(here.String(), "ip", "-batch", "-"); err != nil {
		return err
	}
	return run(there.String(), "nsenter", "-n", "-t", fmt.Sprint(cmd.Process.Pid), "ip", "-batch", "-")
}

// furnish returns commands for ip(8) that make a device usable at once.
func furnish(device string, ipv4, ipv6 netip.Addr) string {
	return fmt.Sprintf("link set %[1]s addrgenmode none\naddr add %[2]s/24 dev %[1]s\naddr add %[3]s/64 dev %[1]s nodad\nlink set %[1]s up\n", device, ipv4, ipv6)
}

func next(addr netip.Addr, steps int) netip.Addr {
	for range steps {
		addr = addr.Next()
	}
	return addr
}

func run(stdin, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// program returns a command that runs one of Main's programs.
func (w *world) program(name string, uid int, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = programEnv(name)
	cmd.Dir = w.dir
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = as(uid)
	return cmd
}

func as(uid int) *syscall.SysProcAttr {
	if uid == rootID {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
}

// arrange creates the situation.
func (w *world) arrange(s situation) error {
	if s.prepare != nil {
		if err := s.prepare(w); err != nil {
			return err
		}
	}
	for i, r := range s.roles {
		if err := w.cast(s.name, i, r); err != nil {
			return fmt.Errorf("role %d: %w", i, err)
		}
	}
	if s.after != nil {
		if err := s.after(w); err != nil {
			return err
		}
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) { // the other end's ACK may be on its way
		table, err := kernelTable()
		if err != nil {
			return err
		}
		wrong := slices.ContainsFunc(table, func(r row) bool { return r.State != s.shows })
		if !wrong && len(table) > 0 == (s.shows != "") {
			return nil
		}
		if time.Since(start) > patience {
			return fmt.Errorf("the situation shows %+v, not %q", table, s.shows)
		}
	}
}

func (w *world) cast(situation string, index int, r role) error {
	uid := w.uid
	if r.other {
		uid = rootID + nobodyID - w.uid
	}
	cmd := w.program("holder", uid, situation, fmt.Sprint(index))
	if r.elsewhere {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := write.Close(); err != nil {
		return err
	}
	lines := bufio.NewReader(read) // never closed: the holders live as long as this process
	for range max(r.reports, 1) {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("no report: %w", err)
		}
		var sockets []held
		if err := json.Unmarshal([]byte(line), &sockets); err != nil {
			return err
		}
		if !r.elsewhere {
			w.held = append(w.held, sockets...)
		}
	}
	if r.dies {
		return cmd.Wait()
	}
	return nil
}

// holders returns the processes that have a socket which conflicts with a need.
func (w *world) holders(n need) []int {
	var pids []int
	for _, h := range w.held {
		if slices.ContainsFunc(n.endpoints(), h.overlaps) && !slices.Contains(pids, h.PID) {
			pids = append(pids, h.PID)
		}
	}
	slices.Sort(pids)
	return pids
}

// listeners returns the processes that listen or receive on the port.
func (w *world) listeners() ([]int, error) {
	rows, err := kernelTable()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, r := range rows {
		if r.State != "LISTEN" && r.State != "UNCONN" {
			continue
		}
		for _, h := range w.held {
			if h.Inode == r.Inode && !slices.Contains(pids, h.PID) {
				pids = append(pids, h.PID)
			}
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// start starts the server and waits until it holds all of its endpoints or has
// ended. It reports whether it holds them.
func (w *world) start(s server, classes string) (up bool, err error) {
	if s.file != "" {
		text := []byte(s.text)
		if s.text == "" {
			if text, err = testdata.ReadFile("testdata/" + s.file); err != nil {
				return false, err
			}
		}
		if err := os.WriteFile(filepath.Join(w.dir, s.file), text, 0o644); err != nil {
			return false, err
		}
	}
	argv := slices.Clone(s.argv)
	for i, word := range argv {
		switch word {
		case "FILE":
			argv[i] = s.file
		case "CLASSES":
			argv[i] = classes
		case "SELF":
			argv[i] = "/proc/self/exe"
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = programEnv("server")
	cmd.Dir = w.dir
	cmd.SysProcAttr = as(w.uid)
	log, err := os.Create(filepath.Join(w.dir, "log"))
	if err != nil {
		return false, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	old, err := kernelTable()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the exit code does not matter
		close(ended)
	}()
	timeout := time.After(patience)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if up, err := holdsAll(cmd.Process.Pid, s.endpoints(), old); up || err != nil {
			return up, err
		}
		select {
		case <-ended:
			return false, nil
		case <-timeout:
			return false, fmt.Errorf("after %s it runs and does not hold its port: %s", patience, w.log())
		case <-tick.C:
		}
	}
}

// log returns the output of the server.
func (w *world) log() string {
	text, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
