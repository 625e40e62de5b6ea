package host

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/nat"
)

// Confine reads the NAT rules and then gives up the capabilities that only this
// needed, for good: CAP_NET_ADMIN, and CAP_SETPCAP, without which the other could be
// got back from the bounding set. The Local that it returns answers from the rules as
// they were.
func Confine(ctx context.Context) (Local, error) {
	limited, cancel := context.WithTimeout(ctx, callersTimeout)
	defer cancel()
	rules := nat.Keep(limited)
	if err := giveUp(unix.CAP_NET_ADMIN, unix.CAP_SETPCAP); err != nil {
		return Local{}, fmt.Errorf("give up CAP_NET_ADMIN: %w", err)
	}
	return Local{rules: rules}, nil
}

// giveUp removes capabilities from all sets of all threads, in this order.
func giveUp(capabilities ...int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, c := range capabilities {
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			return &opError{"prctl(PR_CAPBSET_READ)", err}
		}
		if held == 0 {
			continue
		}
		if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0, 0); errno != 0 {
			return &opError{"prctl(PR_CAPBSET_DROP)", errno}
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return &opError{"capget", err}
	}
	for _, c := range capabilities {
		s, bit := &sets[c/32], uint32(1)<<(c%32)
		s.Effective &^= bit
		s.Permitted &^= bit
		s.Inheritable &^= bit // and so from the ambient set
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0); errno != 0 {
		return &opError{"capset", errno}
	}
	runtime.KeepAlive(&sets)
	return nil
}
