package engine

import (
	"fmt"
	"net"
	"os"

	"github.com/org/portcheck/internal/peer"
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

// isPeer returns an error unless a process of a user listens at the other end.
func isPeer(conn net.Conn, uid int) error {
	listener, err := peer.Of(conn)
	if err != nil {
		return err
	}
	if int(listener.Uid) != uid {
		return fmt.Errorf("uid %d listens there, not %d", listener.Uid, uid)
	}
	return nil
}
