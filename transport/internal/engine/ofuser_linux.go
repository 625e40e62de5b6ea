package engine

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// OfUser returns engines that a user of this machine may run without root, at the places
// where Docker and Podman put their sockets. The user owns these, and may have put a link
// there: nothing is sent unless a process of that user listens at the other end.
func OfUser(uid int) []*Engine {
	var all []*Engine
	for _, name := range []string{"docker.sock", "podman/podman.sock"} {
		path := fmt.Sprintf("/run/user/%d/%s", uid, name)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if e, err := New(map[string]string{"DOCKER_HOST": "unix://" + path}); err == nil {
			e.ofUser = uid
			all = append(all, e)
		}
	}
	return all
}

// isPeer returns an error unless a process of a user listens at the other end
// (SO_PEERCRED, unix(7)).
func isPeer(conn net.Conn, uid int) error {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("no unix socket")
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if int(peer.Uid) != uid {
		return fmt.Errorf("uid %d listens there, not %d", peer.Uid, uid)
	}
	return nil
}
