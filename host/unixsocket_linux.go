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
)

// ListensHere reports whether a process of our own network namespace listens on the
// unix socket with a path.
func ListensHere(ctx context.Context, path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	found := false
	request := make([]byte, 24) // struct unix_diag_req of include/uapi/linux/unix_diag.h
	const listen, showFile = 1 << 10, 2
	request[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(request[4:], listen)
	binary.NativeEndian.PutUint32(request[12:], showFile)
	err = dump(ctx, dumpRequest{unix.SOCK_DIAG_BY_FAMILY, request}, func(message []byte) error {
		inode, device, ok := parseUnixListener(message)
		found = found || ok && inode == uint32(stat.Ino) && device == unix.Major(stat.Dev)<<20|unix.Minor(stat.Dev)
		return nil
	})
	if err != nil {
		return listedByPath(path)
	}
	return found
}

// parseUnixListener returns the inode and the device, in the kernel's own form, of the
// file of a socket.
func parseUnixListener(message []byte) (inode, device uint32, ok bool) {
	const header, file = 16, 1 // struct unix_diag_msg, UNIX_DIAG_VFS
	for rest := message[min(header, len(message)):]; len(rest) >= 4; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < 4 || size > len(rest) {
			return 0, 0, false
		}
		if binary.NativeEndian.Uint16(rest[2:]) == file && size >= 12 {
			return binary.NativeEndian.Uint32(rest[4:]), binary.NativeEndian.Uint32(rest[8:]), true
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return 0, 0, false
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
