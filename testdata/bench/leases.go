//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const callersAtOnce = 64

// measureLeases measures how long it takes to get ports that are held.
func measureLeases() error {
	dir, portcheck, remove, err := buildPortcheck()
	if err != nil {
		return err
	}
	defer remove()
	const text = "version: 1\napp: bench\nrange: %d-%d\nports:\n  - {name: a, port: %s}\n  - {name: b, port: %s}\n  - {name: c, port: %s}\n"
	declared, auto := filepath.Join(dir, "declared.yml"), filepath.Join(dir, "auto.yml")
	if err := errors.Join(
		os.WriteFile(declared, fmt.Appendf(nil, text, 20000, 20999, "20000", "20001", "20002"), 0o644),
		os.WriteFile(auto, fmt.Appendf(nil, text, 21000, 21000+3*callersAtOnce-1, "auto", "auto", "auto"), 0o644),
	); err != nil {
		return err
	}
	fmt.Printf("linux %s; medians of %d runs in turns\n", kernel(), turns)
	fmt.Println("| what | portcheck | against | ratio | at most |\n| --- | --- | --- | --- | --- |")
	err = inNamespace(func() error {
		all, err := takeTurns(command(portcheck, "exec", "-p", "22000", "--", "true"), command("true"))
		if err != nil {
			return err
		}
		fmt.Printf("| `exec -- true`, longer than `true` | %.2f ms | | | 15 ms |\n", ms(all[0].median-all[1].median))
		return nil
	})
	if err != nil {
		return err
	}
	return inNamespace(func() error {
		stop, err := startCrowd()
		if err != nil {
			return err
		}
		defer stop()
		// A job of its own each time, which ends its leases with the keeper's 10 s.
		assign := command("sh", "-c", `exec "$0" assign -q --for 10s --job "$$" "$1"`, portcheck, declared)
		all, err := takeTurns(assign, command("sh", "-c", `exec "$0" check -q "$1"`, portcheck, declared))
		if err != nil {
			return err
		}
		row("`assign` of 3 ports on the crowd, against `check` of the same", all[0].median, all[1].median, "2.0")
		var together []time.Duration
		for turn := range 3 {
			took, err := allAtOnce(portcheck, auto, turn)
			if err != nil {
				return err
			}
			together = append(together, took)
		}
		fmt.Printf("| %d callers at once for 3 ports each, out of exactly as many, until all have them | %.0f ms | | | 2000 ms |\n", callersAtOnce, ms(middle(together)))
		return nil
	})
}

// allAtOnce returns how long it takes until all callers have their ports.
func allAtOnce(portcheck, manifest string, turn int) (time.Duration, error) {
	start := time.Now()
	var callers []*exec.Cmd
	for i := range callersAtOnce { // all from this thread, which is in the namespace
		cmd := exec.Command(portcheck, "assign", "-q", "--job", fmt.Sprint(turn, "-", i), manifest)
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		callers = append(callers, cmd)
	}
	failed := 0
	for _, cmd := range callers {
		if cmd.Wait() != nil {
			failed++
		}
	}
	took := time.Since(start)
	if failed > 0 {
		return 0, fmt.Errorf("%d of %d callers got no ports", failed, callersAtOnce)
	}
	return took, exec.Command(portcheck, "release", "--all").Run()
}
