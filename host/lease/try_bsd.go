//go:build unix && !linux

package lease

import "golang.org/x/sys/unix"

// tryTCP returns an error if a socket has a TCP port on any address.
func tryTCP(n uint16) error {
	fd, err := bindAll(unix.SOCK_STREAM, n)
	if err == nil {
		unix.Close(fd)
	}
	return err
}
