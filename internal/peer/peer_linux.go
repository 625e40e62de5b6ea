// Package peer finds out who listens at the other end of a unix socket.
package peer

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// Of returns the process and the user that listen at the other end of a connection
// (SO_PEERCRED, unix(7)).
func Of(conn net.Conn) (*unix.Ucred, error) {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.New("no unix socket")
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return peer, nil
}
