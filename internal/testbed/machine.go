//go:build linux

package testbed

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Machine is a network namespace with its own address, reachable from the
// test's namespace like another machine. It shares the test's files and
// processes.
type Machine struct {
	Addr string // 10.0.0.1 and so on
	pid  int    // of a process that keeps the namespace alive
}

// StartMachines starts machines on one network with the calling test. They stop
// when the test ends. The test has to run in its own network namespace.
func StartMachines(t *testing.T, count int) []*Machine {
	t.Helper()
	NeedRoot(t)
	for _, name := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, fmt.Sprintf("needs iproute2 and util-linux: %v", err))
		}
	}
	must(t, "ip", "link", "add", "net0", "type", "bridge")
	must(t, "ip", "addr", "add", "10.0.0.254/24", "dev", "net0")
	must(t, "ip", "link", "set", "net0", "up")
	var all []*Machine
	for i := range count {
		all = append(all, startMachine(t, i+1))
	}
	return all
}

func startMachine(t *testing.T, number int) *Machine {
	t.Helper()
	keeper, _ := StartWith(t, func(cmd *exec.Cmd) { cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET }, "sh", "-c", "echo ready; exec sleep 1000")
	m := &Machine{Addr: fmt.Sprintf("10.0.0.%d", number), pid: keeper.Process.Pid}
	outside := fmt.Sprintf("net0p%d", number)
	must(t, "ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(m.pid))
	must(t, "ip", "link", "set", outside, "master", "net0", "up")
	inside := m.Words("sh", "-ec", "ip link set lo up; ip addr add "+m.Addr+"/24 dev eth0; ip link set eth0 up")
	must(t, inside[0], inside[1:]...)
	return m
}

// Words returns the words of a command that runs the given command on the
// machine.
func (m *Machine) Words(command ...string) []string {
	return append([]string{"nsenter", "--net=/proc/" + strconv.Itoa(m.pid) + "/ns/net", "--"}, command...)
}

// StartSSHD is like the function StartSSHD, but the server runs on the machine,
// at port 22.
func (m *Machine) StartSSHD(t *testing.T, settings ...string) *SSHD {
	t.Helper()
	return startSSHD(t, m.Words(), m.Addr+":22", settings)
}

// Hold starts a process on the machine that listens on TCP ports until the test
// ends.
func (m *Machine) Hold(t *testing.T, ports ...int) {
	t.Helper()
	const script = `
import socket, sys, time
held = []
for port in sys.argv[1:]:
    s = socket.socket()
    s.bind(("0.0.0.0", int(port)))
    s.listen()
    held.append(s)
print("ready")
time.sleep(1000)`
	words := m.Words("/usr/bin/python3", "-u", "-c", script)
	for _, p := range ports {
		words = append(words, strconv.Itoa(p))
	}
	Start(t, words[0], words[1:]...)
}

func must(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
