//go:build linux

package testbed

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TryAlone is like TryProgram, but in fresh network, PID and mount namespaces.
// It needs root. It suits tests that need thousands of namespaces, because
// Isolated runs a whole test binary in each. The program has to call Furnish
// first. It is PID 1 there, so every process that it starts ends with it.
func TryAlone(name string, args ...string) ([]byte, error) {
	_, adjust := program(name, Faults{}, args)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	adjust(cmd)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	smallTableForksOnce.Do(startSmallTableForks)
	done := make(chan error)
	smallTableForks <- func() { done <- cmd.Start() }
	if err := <-done; err != nil {
		return nil, err
	}
	timer := time.AfterFunc(3*patience, func() { _ = cmd.Process.Kill() }) // it may have ended already
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s %q: %w\n%s", name, args, err, problems.Bytes())
	}
	return out.Bytes(), nil
}

var (
	smallTableForks     chan func()
	smallTableForksOnce sync.Once
)

// startSmallTableForks starts a thread that forks like the one of fork. It does so from
// a network namespace with settings that give each child's namespace a small
// socket table of its own. By default all namespaces share the machine's table,
// and walking that at every read and at the end of each namespace takes longer
// than everything else. Kernels before 6.1 lack the first setting, those before
// 6.6 the second.
func startSmallTableForks() {
	smallTableForks = make(chan func())
	go func() {
		runtime.LockOSThread() // never unlocked
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			for _, name := range []string{"tcp_child_ehash_entries", "udp_child_hash_entries"} {
				_ = os.WriteFile("/proc/sys/net/ipv4/"+name, []byte("256"), 0o644)
			}
		}
		for do := range smallTableForks {
			do()
		}
	}()
}

// Furnish mounts /proc and brings up lo in the namespaces of TryAlone.
func Furnish() error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}
