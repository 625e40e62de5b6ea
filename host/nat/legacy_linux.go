package nat

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// legacyTables returns the tables of x_tables that decide about NAT and that exist.
// A question to the kernel about one that does not would create it.
func legacyTables(family uint8) ([]string, error) {
	file := "/proc/net/ip_tables_names"
	if family == familyIPv6 {
		file = "/proc/net/ip6_tables_names"
	}
	text, err := kernelfile.Read(strings.Replace(file, "/proc/net", "/proc/thread-self/net", 1))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat("/proc/thread-self"); err != nil {
			return nil, &Unreadable{Op: "read " + file, Err: err}
		}
		return nil, nil
	case err != nil:
		return nil, &Unreadable{Op: "read " + file, Err: err}
	}
	var names []string
	for _, name := range strings.Fields(string(text)) {
		if name == "nat" || name == "mangle" || name == "raw" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// readLegacyTable returns a table as getsockopt has it
// (include/uapi/linux/netfilter_ipv4/ip_tables.h).
func readLegacyTable(family uint8, name string) (legacyInfo, []byte, error) {
	const getInfo, getEntries, tries = 64, 65, 5
	domain, level := unix.AF_INET, unix.SOL_IP
	if family == familyIPv6 {
		domain, level = unix.AF_INET6, unix.SOL_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return legacyInfo{}, nil, &Unreadable{Op: "socket", Err: err}
	}
	defer unix.Close(fd)
	for try := 1; ; try++ {
		var b [32 + 4*13]byte
		copy(b[:31], name)
		if err := getsockopt(fd, level, getInfo, b[:]); err != nil {
			return legacyInfo{}, nil, &Unreadable{Op: "getsockopt(IPT_SO_GET_INFO)", Err: err}
		}
		var n [13]uint32
		for i := range n {
			n[i] = binary.NativeEndian.Uint32(b[32+4*i:])
		}
		info := legacyInfo{hooks: n[0], entry: [5]uint32(n[1:6]), underflow: [5]uint32(n[6:11]), count: n[11], size: n[12]}
		header := 40
		if runtime.GOARCH == "386" {
			header = 36 // its 64-bit counters are aligned to 4
		}
		if info.size > maxLegacy {
			return info, nil, &Unreadable{Op: "getsockopt(IPT_SO_GET_INFO)", Err: errTooMany}
		}
		all := make([]byte, header+int(info.size))
		copy(all[:31], name)
		binary.NativeEndian.PutUint32(all[32:], info.size)
		err := getsockopt(fd, level, getEntries, all)
		if errors.Is(err, unix.EAGAIN) && try < tries { // the table has changed between the two
			continue
		}
		if err != nil {
			return info, nil, &Unreadable{Op: "getsockopt(IPT_SO_GET_ENTRIES)", Err: err}
		}
		return info, all[header:], nil
	}
}

// maxLegacy is the size of the largest table that is read: over 500,000 rules.
const maxLegacy = 256 << 20

func getsockopt(fd, level, name int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
