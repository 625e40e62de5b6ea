//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
)

// A crowd is a host with many sockets: each of several processes has a share of the
// listeners and both ends of a share of the connections.
const (
	crowdProcesses   = 4
	crowdListeners   = 4800
	crowdConnections = 18000
	crowdFirstPort   = 1100
	// takenPorts is the number of ports of the manifest that are taken, by a
	// separate process with few descriptors, as a server has.
	takenPorts = 10
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
