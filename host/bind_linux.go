package host

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func newSocket(family, kind int) (int, error) {
	return unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
}

func bindToDevice(fd int, name string) error { return unix.BindToDevice(fd, name) }

// kernelHasIPv6 reports whether /proc shows that the kernel has IPv6. With ipv6.disable=1
// it has no such file; with the sysctl disable_ipv6 it has.
func kernelHasIPv6() bool {
	if _, err := os.Stat("/proc/thread-self/net"); err != nil {
		return false
	}
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
	return !errors.Is(err, fs.ErrNotExist)
}
