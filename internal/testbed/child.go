//go:build linux

package testbed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// ProgramEnv names the program that the test binary runs as.
	ProgramEnv = "PORTCHECK_TEST_PROGRAM"
	faultsEnv  = "PORTCHECK_TEST_FAULTS" // the Faults of that program, as JSON
)

// Main is a TestMain. It runs the tests, or the program that StartProgram or
// RunProgram started. A program that fails prints its error to stderr and exits
// with code 1.
func Main(m *testing.M, programs map[string]func(args []string) error) {
	name := os.Getenv(ProgramEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	err := fmt.Errorf("no program %q", name)
	if run := programs[name]; run != nil {
		if err = applyFaults(); err == nil {
			err = run(os.Args[1:])
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Faults are restrictions and failures that a program meets. The kernel causes
// them, so nothing in the program is replaced.
type Faults struct {
	MoreFiles *int     // descriptors that can still be opened; nil: no limit
	Deny      []Denial // system calls that fail, by a seccomp filter
	HideProc  bool     // an empty tmpfs is mounted over /proc
	HidePID   bool     // /proc is mounted with hidepid=invisible
	OwnPIDs   bool     // a PID namespace of its own, with its /proc
	OwnNet    bool     // a network namespace of its own
	UID       int      // switch to this user and group last; 0: no change
}

// Denial makes a system call fail.
type Denial struct {
	Call  uintptr
	Arg   int // its first argument; -1: any
	Errno syscall.Errno
}

func program(name string, faults Faults, args []string) (*exec.Cmd, func(*exec.Cmd)) {
	cmd := exec.Command("/proc/self/exe", args...)
	return cmd, func(cmd *exec.Cmd) {
		text, err := json.Marshal(faults)
		if err != nil {
			panic(err)
		}
		cmd.Env = append(environ(), ProgramEnv+"="+name, faultsEnv+"="+string(text))
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		}
		if faults.HideProc || faults.HidePID || faults.OwnPIDs {
			cmd.SysProcAttr.Unshareflags |= unix.CLONE_NEWNS
		}
		if faults.OwnNet {
			cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
		}
		if faults.OwnPIDs {
			cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWPID
		}
	}
}

// StartProgram is like Start, for one of Main's programs.
func StartProgram(t *testing.T, name string, faults Faults, args ...string) (*exec.Cmd, string) {
	t.Helper()
	_, adjust := program(name, faults, args)
	return StartWith(t, adjust, "/proc/self/exe", args...)
}

// RunProgram runs one of Main's programs to its end and returns what it wrote
// to stdout.
func RunProgram(t *testing.T, name string, faults Faults, args ...string) []byte {
	t.Helper()
	out, err := TryProgram(name, faults, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryProgram is like RunProgram, but returns the error. It may be called from
// several goroutines.
func TryProgram(name string, faults Faults, args ...string) ([]byte, error) {
	cmd, adjust := program(name, faults, args)
	adjust(cmd)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := fork(cmd); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() }) // it may have ended already
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, problems.Bytes())
	}
	return out.Bytes(), nil
}

// applyFaults applies the faults of this program.
func applyFaults() error {
	var f Faults
	if text := os.Getenv(faultsEnv); text != "" {
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return err
		}
	}
	// Go's poller opens descriptors of its own on first use, and the program
	// fails without them. That is not a fault to test, so they are opened now.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	_, _ = r.Close(), w.Close()
	if f.HidePID || f.OwnPIDs {
		option := ""
		if f.HidePID {
			option = "hidepid=2"
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, option); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	if f.HideProc {
		if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount tmpfs over /proc: %w", err)
		}
	}
	if f.MoreFiles != nil {
		if err := limitFiles(*f.MoreFiles); err != nil {
			return err
		}
	}
	if f.UID != 0 {
		// Package syscall switches all threads of the process.
		if err := syscall.Setgroups(nil); err != nil {
			return fmt.Errorf("setgroups: %w", err)
		}
		if err := syscall.Setresgid(f.UID, f.UID, f.UID); err != nil {
			return fmt.Errorf("setresgid: %w", err)
		}
		if err := syscall.Setresuid(f.UID, f.UID, f.UID); err != nil {
			return fmt.Errorf("setresuid: %w", err)
		}
		// A process that this user had started would be dumpable, too.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("dumpable: %w", err)
		}
	}
	if len(f.Deny) > 0 {
		return deny(f.Deny)
	}
	return nil
}

// limitFiles sets RLIMIT_NOFILE so that exactly left more descriptors can be
// opened. The limit bounds the number of a descriptor, not their count.
func limitFiles(left int) error {
	fd := 0
	for ; ; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			continue
		}
		if left == 0 {
			break
		}
		left--
	}
	limit := unix.Rlimit{Cur: uint64(fd), Max: uint64(fd)}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		return fmt.Errorf("setrlimit: %w", err)
	}
	return nil
}

// Deny makes system calls of this process fail from now on, and of the processes
// that it starts. The test has to be Isolated.
func Deny(t *testing.T, denials ...Denial) {
	t.Helper()
	if err := deny(denials); err != nil {
		t.Fatal(err)
	}
}

// deny installs a seccomp filter in every thread.
func deny(denials []Denial) error {
	const (
		offsetNumber, offsetArch, offsetArg = 0, 4, 16 // of struct seccomp_data, the argument's low half
		allow, errno                        = 0x7fff0000, 0x00050000
		setModeFilter, threadSync           = 1, 1
	)
	arch, known := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !known {
		return fmt.Errorf("no seccomp filter for %s", runtime.GOARCH)
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	skipUnless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: value}
	}
	ret := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	code := []unix.SockFilter{load(offsetArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch}, ret(allow)}
	for _, d := range denials {
		if d.Arg < 0 {
			code = append(code, load(offsetNumber), skipUnless(uint32(d.Call), 1))
		} else {
			code = append(code, load(offsetNumber), skipUnless(uint32(d.Call), 3), load(offsetArg), skipUnless(uint32(d.Arg), 1))
		}
		code = append(code, ret(errno|uint32(d.Errno)))
	}
	code = append(code, ret(allow))
	filter := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if tid, _, e := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, threadSync, uintptr(unsafe.Pointer(&filter))); e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	} else if tid != 0 {
		return fmt.Errorf("seccomp: thread %d did not follow", tid)
	}
	return nil
}
