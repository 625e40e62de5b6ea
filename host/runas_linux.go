package host

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/panics"
)

// asUser calls fn with the uid of a user, and with the rights that a process of
// that user starts with: its uid, its groups, no capabilities. It changes a
// single thread, which ends with fn; syscall.Setuid would change the whole
// process.
func asUser(name string, fn func(uid int)) (op string, err error) {
	if name == "" {
		fn(os.Geteuid())
		return "", nil
	}
	a, err := machineUsers().find(name)
	if err != nil {
		return "look up user", err
	}
	if a.uid == os.Geteuid() {
		fn(a.uid)
		return "", nil
	}
	onSpareThread(func() {
		if op, err = become(a.uid, a.gid, a.groups); err == nil {
			fn(a.uid)
		}
	})
	return op, err
}

// onSpareThread runs fn on a thread that ends when fn returns.
func onSpareThread(fn func()) {
	var caught *panics.Panic
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The runtime never ends the main thread, and /proc and ps show
			// its user for the whole process. While it is locked here, the
			// next goroutine runs on another thread.
			defer runtime.UnlockOSThread()
			caught = panics.Catch(func() { onSpareThread(fn) })
			return
		}
		caught = panics.Catch(fn) // still locked, so that the runtime ends the thread
	}()
	<-done
	caught.Repanic()
}

// become changes the user of this thread, and drops its capabilities.
func become(uid, gid int, groups []uint32) (op string, err error) {
	var list unsafe.Pointer
	if len(groups) > 0 {
		list = unsafe.Pointer(&groups[0])
	}
	_, _, errno := unix.RawSyscall(sysSetgroups, uintptr(len(groups)), uintptr(list), 0)
	if errno == 0 {
		op = "setresgid"
		_, _, errno = unix.RawSyscall(sysSetresgid, uintptr(gid), uintptr(gid), uintptr(gid))
	} else {
		op = "setgroups"
	}
	// setresuid is tried in any case: its error is the one that people know.
	if _, _, e := unix.RawSyscall(sysSetresuid, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
		return "setresuid", e
	}
	if errno != 0 {
		return op, errno
	}
	// If root changes its uid, the kernel drops all capabilities; if another
	// user with CAP_SETUID does, it keeps them.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return "capset", unix.Capset(&header, &none[0])
}
