package host

import "golang.org/x/sys/unix"

func newSocket(family, kind int) (int, error) {
	return unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
}

func bindToDevice(fd int, name string) error { return unix.BindToDevice(fd, name) }
