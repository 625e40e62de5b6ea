//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A crowd is a host with many sockets: each of several processes has a share of the
// listeners and both ends of a share of the connections.
const (
	crowdProcesses   = 4
	crowdListeners   = 4800
	crowdConnections = 23600
	crowdFirstPort   = 1100
	// takenPorts is the number of ports of the manifest that are taken, by a
	// separate process with few descriptors, as a server has.
	takenPorts = 10
	// crowdDescriptors is how many sockets each process has.
	crowdDescriptors = (crowdListeners + 2*crowdConnections) / crowdProcesses
)

// startCrowd starts the processes and returns when all sockets are open.
func startCrowd() (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for i := range crowdProcesses {
		one, err := startReady(exec.Command("/proc/self/exe", "crowd", fmt.Sprint(i)))
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, one)
	}
	return stop, nil
}

// beCrowd is process i of a crowd. It runs until its stdin ends.
func beCrowd(i int) error {
	listeners := crowdListeners / crowdProcesses
	connections := crowdConnections / crowdProcesses
	var held []io.Closer
	var servers []net.Listener
	for k := range listeners {
		n := i*listeners + k
		l, err := net.Listen("tcp4", fmt.Sprintf("127.%d.%d.1:%d", 10+i, n%250, crowdFirstPort+n))
		if err != nil {
			return err
		}
		held, servers = append(held, l), append(servers, l)
	}
	for k := range connections {
		l := servers[k%len(servers)]
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return err
		}
		a, err := l.Accept()
		if err != nil {
			return err
		}
		held = append(held, c, a)
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	for _, h := range held {
		_ = h.Close()
	}
	return err
}

// startTaken starts a process that holds the taken ports, in a cgroup of its own as a
// service has. Without cgroup v2 it is in that of this process.
func startTaken(role string) (stop func(), err error) {
	cmd := exec.Command("/proc/self/exe", append([]string{role}, numbers(6001, takenPorts)...)...)
	remove := func() {}
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
			continue
		}
		name, err := os.MkdirTemp(root, "portcheck-bench-")
		if err != nil {
			return nil, err
		}
		remove = func() {
			for range 1000 { // until the last of its processes has ended
				if os.Remove(name) == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		dir, err := os.Open(name)
		if err != nil {
			remove()
			return nil, err
		}
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		break
	}
	end, err := startReady(cmd)
	if err != nil {
		remove()
		return nil, err
	}
	return func() { end(); remove() }, nil
}

// beParent is the parent of a crowd that listens on the taken ports itself.
func beParent(ports []int) error {
	stop, err := startCrowd()
	if err != nil {
		return err
	}
	defer stop()
	return beServer(ports)
}

// beServer listens on the ports of the manifest that are taken.
func beServer(ports []int) error {
	for _, p := range ports {
		l, err := net.Listen("tcp4", fmt.Sprintf(":%d", p))
		if err != nil {
			return err
		}
		defer l.Close()
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
