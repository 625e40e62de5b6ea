//go:build unix

package lease

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// bindAll binds a new socket to a port on all addresses, with options of SOL_SOCKET.
func bindAll(kind int, n uint16, options ...int) (int, error) {
	fd, err := bindOn(unix.AF_INET6, kind, &unix.SockaddrInet6{Port: int(n)}, options)
	// OpenBSD can't serve IPv4 by a socket for IPv6, which is EINVAL.
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EINVAL) {
		fd, err = bindOn(unix.AF_INET, kind, &unix.SockaddrInet4{Port: int(n)}, options)
	}
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fd, errTaken
	}
	return fd, err
}

func bindOn(family, kind int, address unix.Sockaddr, options []int) (int, error) {
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return -1, withRemedy(err)
	}
	unix.CloseOnExec(fd) // a keeper starts no other program
	if family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	for _, option := range options {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1)
		}
	}
	if err == nil {
		err = unix.Bind(fd, address)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// withRemedy returns an error that says what to do if there are no more descriptors.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("%w; raise the limit of open files ('ulimit -n')", err)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%w; raise 'sysctl fs.file-max', or close files", err)
	}
	return err
}
