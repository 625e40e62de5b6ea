//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchRounds is how many dumps are measured, and about how many rounds.
const watchRounds = 100

// measureWatch measures the processor time of a quiet round on the crowd, the kernel's
// part included, against that of a bare dump of its listening sockets.
func measureWatch() error {
	_, portcheck, remove, err := buildPortcheck()
	if err != nil {
		return err
	}
	defer remove()
	fmt.Printf("linux %s; means of about %d rounds, processor time\n", kernel(), watchRounds)
	fmt.Println("| what | portcheck | against | ratio | at most |\n| --- | --- | --- | --- | --- |")
	return inNamespace(func() error {
		stop, err := startCrowd()
		if err != nil {
			return err
		}
		defer stop()
		const interval = 100 * time.Millisecond
		cmd := exec.Command(portcheck, "watch", "-q", "-t", "local", "--interval", interval.String())
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed: the error is expected
		}()
		time.Sleep(3 * time.Second) // until all holders are known
		before, err := cpuOf(cmd.Process.Pid)
		if err != nil {
			return err
		}
		var bare time.Duration
		begin := time.Now()
		for range watchRounds { // in turns with the rounds, so that other load affects both alike
			start := ownCPU()
			if err := bareDump(1<<10, 1<<7); err != nil {
				return err
			}
			bare += ownCPU() - start
			time.Sleep(interval)
		}
		rounds := time.Since(begin) / interval // a round starts each interval
		after, err := cpuOf(cmd.Process.Pid)
		if err != nil {
			return err
		}
		row(fmt.Sprintf("a quiet round of `watch` with %d listeners, against one bare dump of them", crowdListeners), (after-before)/rounds, bare/watchRounds, "5 ms")
		return nil
	})
}

// cpuOf returns the processor time of a process so far.
func cpuOf(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.Join(err, errors.New("no schedstat"))
	}
	var all time.Duration
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Fscan(bytes.NewReader(text), &ns); err != nil {
			return 0, err
		}
		all += time.Duration(ns)
	}
	return all, nil
}

// ownCPU returns the processor time of this thread, which inNamespace has locked.
func ownCPU() time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // every Linux has it
	}
	return time.Duration(t.Nano())
}
