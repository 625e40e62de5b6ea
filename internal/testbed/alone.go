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

// TryAlone is TryProgram in fresh network, PID and mount namespaces, for root:
// a test that needs thousands of them can't afford a test binary's whole run
// in each, as Isolated makes one. The program calls Furnish first. It is PID 1
// there: whatever it started ends with it.
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
	nurseryOnce.Do(openNursery)
	done := make(chan error)
	nursery <- func() { done <- cmd.Start() }
	if err := <-done; err != nil {
		return nil, err
	}
	timer := time.AfterFunc(3*patience, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s %q: %w\n%s", name, args, err, problems.Bytes())
	}
	return out.Bytes(), nil
}

var (
	nursery     chan func()
	nurseryOnce sync.Once
)

// openNursery starts a thread that forks as the one of fork does, from a
// network namespace whose children have small socket tables of their own: to
// walk the machine's in each of them, at every look and when they end, takes
// longer than all the rest. Kernels before 6.1 don't have the first setting,
// those before 6.6 not the second.
func openNursery() {
	nursery = make(chan func())
	go func() {
		runtime.LockOSThread() // never unlocked
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			for _, name := range []string{"tcp_child_ehash_entries", "udp_child_hash_entries"} {
				_ = os.WriteFile("/proc/sys/net/ipv4/"+name, []byte("256"), 0o644)
			}
		}
		for do := range nursery {
			do()
		}
	}()
}

// Furnish gives the namespaces of TryAlone a /proc of their own and a loopback
// interface that is up.
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
