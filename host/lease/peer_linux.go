//go:build !filelocks

package lease

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// peerOf returns the process and the user at the other end of a unix socket, as this
// process numbers them. For users that have no number in its user namespace the kernel
// has one number (user_namespaces(7)), which may also be that of a user here: then the
// user is -1, unless the process is in the same namespace.
func peerOf(fd int) (pid, uid int, err error) {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, -1, err
	}
	pid, uid = int(peer.Pid), int(peer.Uid)
	if uid == noUser() && !inOwnUserNamespace(pid) {
		uid = -1
	}
	return pid, uid, nil
}

// noUser is the number of users that have none here, or -1 if all have one.
var noUser = sync.OnceValue(func() int {
	if text, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		if slices.Equal(strings.Fields(string(text)), []string{"0", "0", "4294967295"}) {
			return -1
		}
	}
	return numberIn("/proc/sys/kernel/overflowuid", 65534)
})

func inOwnUserNamespace(pid int) bool {
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil || pid <= 0 {
		return false
	}
	other, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/user")
	return err == nil && own == other
}
