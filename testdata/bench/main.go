//go:build linux

// Command bench measures portcheck as a whole process and compares it with ss, lsof
// and the bare system calls, on hosts with many sockets that it creates in network
// namespaces. Run it as root in the root of the repository:
//
//	go run ./testdata/bench
//
// `go run ./testdata/bench action IMAGE` measures the container action on the local
// engine, `go run ./testdata/bench fleet` 200 targets by SSH, and `go run
// ./testdata/bench leases` ports that are held, and `go run ./testdata/bench watch` the
// rounds of a watch.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Each command has at least turns, and as many as quickTurns while these take no longer
// than quickTime.
const (
	turns      = 21
	quickTurns = 101
	quickTime  = 4 * time.Second
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 0:
		return measure()
	case args[0] == "action" && len(args) == 2:
		return measureAction(args[1])
	case args[0] == "leases" && len(args) == 1:
		return measureLeases()
	case args[0] == "watch" && len(args) == 1:
		return measureWatch()
	case args[0] == "fleet" && len(args) == 1:
		return measureFleet()
	case args[0] == "fleet" && args[1] == "inside":
		return measureFleetInside()
	case args[0] == "meter":
		return beMeter(args[1:])
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 20000, Max: 20000}); err != nil {
		return err
	}
	numbers := make([]int, len(args)-1)
	for i, a := range args[1:] {
		n, err := strconv.Atoi(a)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	switch args[0] {
	case "crowd":
		return beCrowd(numbers[0])
	case "server":
		return beServer(numbers)
	case "parent":
		return beParent(numbers)
	case "wall":
		return beWall(numbers[0], numbers[1])
	case "floor":
		return beFloor()
	case "rules":
		return beRulesDump()
	}
	return fmt.Errorf("unknown role %q", args[0])
}

func measure() error {
	dir, err := os.MkdirTemp("", "portcheck-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	portcheck, hello := filepath.Join(dir, "portcheck"), filepath.Join(dir, "hello")
	source := filepath.Join(dir, "hello.go")
	program := "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello, world\") }\n"
	if err := os.WriteFile(source, []byte(program), 0o644); err != nil {
		return err
	}
	if err := errors.Join(build(portcheck, "."), build(hello, source)); err != nil {
		return err
	}
	manifest := func(name string, first, count int) string {
		var b strings.Builder
		b.WriteString("version: 1\napp: bench\nports:\n")
		for i := range count {
			fmt.Fprintf(&b, "  - {name: need-%d, port: %d}\n", i, first+i)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			panic(err) // the directory is new
		}
		return file
	}
	small, mixed, free := manifest("small.yml", 6001, 5), manifest("mixed.yml", 6001, 100), manifest("free.yml", 6101, 100)

	fmt.Printf("linux %s, %d CPUs, %s; medians of %d to %d runs in turns\n", kernel(), runtime.NumCPU(), runtime.Version(), turns, quickTurns)
	fmt.Println("| what | portcheck | against | ratio | at most |\n| --- | --- | --- | --- | --- |")

	var empty time.Duration
	err = inNamespace(func() error {
		all, err := takeTurns(command(portcheck, "check", free), command(portcheck, "lint", small), command(hello))
		if err != nil {
			return err
		}
		empty = all[0].median
		row("`lint` of a small manifest, against a Go hello world", all[1].median, all[2].median, "3.0")
		return nil
	})
	if err != nil {
		return err
	}
	err = inNamespace(func() error {
		without, err := takeTurns(command(portcheck, "check", free))
		if err != nil {
			return err
		}
		if err := writeRules(); err != nil {
			return err
		}
		pair, err := takeTurns(command(portcheck, "check", free), command("/proc/self/exe", "rules"))
		if err != nil {
			return err
		}
		dumps, err := durations(pair[1].outputs)
		if err != nil {
			return err
		}
		row("100 free needs, time with 5,000 NAT rules of kube-proxy less time without, against one bare dump of these rules", pair[0].median-without[0].median, middle(dumps), "1.5")
		return nil
	})
	if err != nil {
		return err
	}
	err = inNamespace(func() error {
		stop, err := startCrowd()
		if err != nil {
			return err
		}
		defer stop()
		stopServer, err := startTaken("server")
		if err != nil {
			return err
		}
		defer stopServer()
		if err := measureTaken(portcheck, mixed, "100 needs, 10 taken with holders named, on the crowd"); err != nil {
			return err
		}
		// Beside the same commands as on the empty host: a dump leaves nothing in the
		// processor's caches.
		crowded, err := takeTurns(command(portcheck, "check", free), command(portcheck, "lint", small), command(hello))
		if err != nil {
			return err
		}
		dumps, err := takeTurns(command("/proc/self/exe", "floor"))
		if err != nil {
			return err
		}
		floors, err := durations(dumps[0].outputs)
		if err != nil {
			return err
		}
		row("100 free needs, time on the crowd less time on an empty host, against one bare sock_diag dump", crowded[0].median-empty, middle(floors), "1.5")
		row("100 free needs, on the crowd against on an empty host", crowded[0].median, empty, "1.3")
		memory, err := exec.Command("/proc/self/exe", "meter", portcheck, "check", mixed).Output()
		if err != nil {
			return err
		}
		fmt.Printf("| peak memory of the 100 needs, 10 taken, on the crowd | %s MB | | | 16 MB |\n", strings.TrimSpace(string(memory)))
		return nil
	})
	if err != nil {
		return err
	}
	err = inNamespace(func() error {
		stop, err := startTaken("parent")
		if err != nil {
			return err
		}
		defer stop()
		return measureTaken(portcheck, mixed, fmt.Sprintf("the 100 needs where the holder is the parent of processes with %d descriptors each", crowdDescriptors))
	})
	if err != nil {
		return err
	}
	return inNamespace(func() error {
		stop, err := startWall()
		if err != nil {
			return err
		}
		defer stop()
		stopServer, err := startReady(exec.Command("/proc/self/exe", "server", fmt.Sprint(wallTaken)))
		if err != nil {
			return err
		}
		defer stopServer()
		all, err := takeTurns(
			command(portcheck, "check", "-p", fmt.Sprint(wallTaken), "--range", "1024-65535"),
			command("/proc/self/exe", "wall", "0", "0"),
		)
		if err != nil {
			return err
		}
		for _, p := range wallGaps {
			if !strings.Contains(all[0].outputs[0], fmt.Sprint(p)) {
				return fmt.Errorf("portcheck did not find port %d: %s", p, all[0].outputs[0])
			}
		}
		row("3 alternatives where 1024-65535 has only three free ports, against 65,535 raw socket+bind+close cycles", all[0].median, all[1].median, "0.4")
		return nil
	})
}

// measureTaken compares a check of needs, some of them taken, with programs that list
// all listeners. Each has turns of its own: lsof leaves nothing in the processor's
// caches, and what comes next is slower.
func measureTaken(portcheck, manifest, what string) error {
	others := []struct {
		command []string
		most    string
	}{
		{[]string{"ss", "-Htln"}, "0.4"},
		{[]string{"ss", "-Htlnp"}, "0.03"},
		{[]string{"lsof", "-nP", "-iTCP", "-sTCP:LISTEN"}, "0.02"},
	}
	for _, o := range others {
		if _, err := exec.LookPath(o.command[0]); err != nil {
			continue
		}
		pair, err := takeTurns(command(portcheck, "check", manifest), command(o.command[0], o.command[1:]...))
		if err != nil {
			return err
		}
		if named := strings.Count(pair[0].outputs[0], "is in use by bench"); named != takenPorts {
			return fmt.Errorf("portcheck named the holder of %d ports, want %d: %s", named, takenPorts, pair[0].outputs[0])
		}
		row(what+", against `"+strings.Join(o.command, " ")+"`", pair[0].median, pair[1].median, o.most)
	}
	return nil
}

// build compiles a program with the flags of a release, and copies it as an installation
// does: the pages of a file that the linker has written through a mapping take longer to
// map, and other programs are no such files.
func build(binary, source string) error {
	linked := binary + ".linked"
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", linked, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	from, err := os.Open(linked)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(binary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close(), os.Remove(linked))
}

// buildPortcheck compiles portcheck into a new directory.
func buildPortcheck() (dir, portcheck string, remove func(), err error) {
	if dir, err = os.MkdirTemp("", "portcheck-bench-"); err != nil {
		return "", "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // in the temporary directory
	portcheck = filepath.Join(dir, "portcheck")
	if err := build(portcheck, "."); err != nil {
		remove()
		return "", "", nil, err
	}
	return dir, portcheck, remove, nil
}

// inNamespace runs f on a thread in a new network namespace. Programs that f starts
// are in it too.
func inNamespace(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = exec.Command("ip", "link", "set", "lo", "up").Run()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// startReady starts a program and returns when it has printed "ready".
func startReady(cmd *exec.Cmd) (stop func(), err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe() // the process ends when it is closed
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: the error is expected
	}
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "ready\n" {
		stop()
		return nil, fmt.Errorf("%s printed %q: %w", strings.Join(cmd.Args, " "), line, err)
	}
	return stop, nil
}

func command(name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }

// beMeter prints the peak memory of a command in MB. It is a process of its own,
// since the peak of a child includes the memory of its parent when it was started.
func beMeter(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 1 {
		return err
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("no resource usage")
	}
	fmt.Printf("%.1f\n", float64(usage.Maxrss)/1024)
	return nil
}

type timing struct {
	median  time.Duration
	outputs []string
}

// takeTurns runs all commands in turn, again and again, so that other load of the
// machine affects all of them alike.
func takeTurns(commands ...*exec.Cmd) ([]timing, error) { return takeSome(turns, commands...) }

// takeSome is takeTurns with another number of turns.
func takeSome(turns int, commands ...*exec.Cmd) ([]timing, error) {
	all := make([]timing, len(commands))
	times := make([][]time.Duration, len(commands))
	begin := time.Now()
	for turn := 0; turn <= turns || turn <= quickTurns && time.Since(begin) < quickTime; turn++ {
		for i, c := range commands {
			cmd := exec.Command(c.Path, c.Args[1:]...)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			start := time.Now()
			err := cmd.Run()
			took := time.Since(start)
			if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
				return nil, fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, out.String())
			}
			if turn == 0 {
				continue // to warm up
			}
			times[i] = append(times[i], took)
			all[i].outputs = append(all[i].outputs, out.String())
		}
	}
	for i := range all {
		all[i].median = middle(times[i])
	}
	return all, nil
}

// durations parses what a program printed in each turn.
func durations(outputs []string) ([]time.Duration, error) {
	var all []time.Duration
	for _, out := range outputs {
		d, err := time.ParseDuration(strings.TrimSpace(out))
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func middle(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

func row(what string, ours, theirs time.Duration, most string) {
	fmt.Printf("| %s | %.2f ms | %.2f ms | %.3f | %s |\n", what, ms(ours), ms(theirs), float64(ours)/float64(theirs), most)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func numbers(first, count int) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = strconv.Itoa(first + i)
	}
	return all
}

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(name.Release[:])
}
