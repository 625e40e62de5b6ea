package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
)

// ListensHere reports whether a process of our own network namespace listens on the
// unix socket with a path.
func ListensHere(ctx context.Context, path string) bool {
	inodes, err := unixListeners(ctx, path)
	if err != nil {
		return listedByPath(path)
	}
	return len(inodes) > 0
}

// ListensAt reports whether a process is known to listen on the unix socket with a
// path. It may have the socket from systemd.
func ListensAt(ctx context.Context, pid int, path string) bool {
	inodes, err := unixListeners(ctx, path)
	if err != nil || len(inodes) == 0 {
		return false
	}
	wanted := map[uint64][]*Socket{}
	for _, inode := range inodes {
		wanted[uint64(inode)] = []*Socket{} // not nil
	}
	const most = 1 << 16 // an engine has some for each container
	reader := descriptorReader{ctx, wanted, most}
	found, _ := reader.socketsOf(pid) // with an error, these are not all
	return len(found) > 0
}

// unixListeners returns the inodes of the sockets of our own network namespace that
// listen at the file with a path.
func unixListeners(ctx context.Context, path string) ([]uint32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil // nobody can connect
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, nil
	}
	var inodes []uint32
	request := make([]byte, 24) // struct unix_diag_req of include/uapi/linux/unix_diag.h
	const listen, showFile = 1 << 10, 2
	request[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(request[4:], listen)
	binary.NativeEndian.PutUint32(request[12:], showFile)
	r := netlink.Request{Type: unix.SOCK_DIAG_BY_FAMILY, Payload: request}
	err = netlink.Dump(ctx, netlink.SockDiag, r, diagSilence, func(message []byte) error {
		inode, device, ok := parseUnixListener(message)
		if ok && inode == uint32(stat.Ino) && device == unix.Major(stat.Dev)<<20|unix.Minor(stat.Dev) {
			inodes = append(inodes, binary.NativeEndian.Uint32(message[4:]))
		}
		return nil
	})
	return inodes, err
}

// parseUnixListener returns the inode and the device, in the kernel's own form, of the
// file of a socket.
func parseUnixListener(message []byte) (inode, device uint32, ok bool) {
	const header, file = 16, 1 // struct unix_diag_msg, UNIX_DIAG_VFS
	value := attribute(message[min(header, len(message)):], file)
	if len(value) < 8 {
		return 0, 0, false
	}
	return binary.NativeEndian.Uint32(value), binary.NativeEndian.Uint32(value[4:]), true
}

// listedByPath looks for a listener in /proc/net/unix, which has the path that it was
// bound to.
func listedByPath(path string) bool {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(text) {
		// Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON.
		fields := strings.Fields(string(line))
		if len(fields) == 8 && fields[3] == "00010000" && (fields[7] == path || fields[7] == real) {
			return true
		}
	}
	return false
}
