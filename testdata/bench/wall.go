//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// The wall is a host with only three free ports.
const (
	wallFirst     = 1024
	wallLast      = 65535
	wallTaken     = 80 // below the wall, held by a separate server
	wallProcesses = 4
)

var wallGaps = []int{20011, 30022, 65000}

func startWall() (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	share := (wallLast-wallFirst)/wallProcesses + 1
	for first := wallFirst; first <= wallLast; first += share {
		cmd := exec.Command("/proc/self/exe", "wall", fmt.Sprint(first), fmt.Sprint(min(first+share-1, wallLast)))
		one, err := startReady(cmd)
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, one)
	}
	return stop, nil
}

// beWall listens on a share of the ports. Without one it runs rawCycles.
func beWall(first, last int) error {
	if last == 0 {
		return rawCycles()
	}
	for p := first; p <= last; p++ {
		if slices.Contains(wallGaps, p) {
			continue
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: p})
		}
		if err == nil {
			err = unix.Listen(fd, 1)
		}
		if err != nil {
			return fmt.Errorf("port %d: %w", p, err)
		}
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// rawCycles opens, binds and closes a socket for every port, for comparison with
// portcheck.
func rawCycles() error {
	for p := 1; p <= wallLast; p++ {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: p})
		if err != nil && !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}
