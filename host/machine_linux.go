package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// initialPIDNamespace is PROC_PID_INIT_INO of include/uapi/linux/nsfs.h: the
// inode of the PID namespace that the kernel booted with.
const initialPIDNamespace = 4026531836

func readMachine() Machine {
	m := Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, UID: os.Geteuid(),
		Namespace: readNamespace(), IPv6: haveIPv6(),
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		m.BootID = string(bytes.TrimSpace(id))
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err == nil {
		m.Elevated = caps[0].Effective&(1<<unix.CAP_NET_BIND_SERVICE) != 0
	}
	return m
}

// initialNetNamespace is NET_NS_INIT_INO of the same file, which kernels have
// since 6.18. Older ones number the first network namespace as any other, from
// 0xF0000000 on: this number is nobody else's.
const initialNetNamespace = 4026531833

// readNamespace claims the host's network namespace only with proof: its inode
// is the one that the kernel booted with; or we are in the initial PID
// namespace, so that PID 1 is the host's, and share its network namespace.
func readNamespace() Namespace {
	own, err := namespaceInode("/proc/thread-self/ns/net")
	if err != nil {
		return Namespace{Kind: NamespaceUnknown, Reason: "/proc does not show it"}
	}
	pid, err := namespaceInode("/proc/self/ns/pid")
	if err != nil {
		pid = 0
	}
	ns := Namespace{Kind: NamespaceUnknown, Inode: own, AllProcesses: pid == initialPIDNamespace}
	switch first, err := namespaceInode("/proc/1/ns/net"); {
	case own == initialNetNamespace:
		ns.Kind, ns.Reason = NamespaceHost, "the kernel booted with it"
	case pid == 0:
		ns.Reason = "/proc does not show our PID namespace"
	case !ns.AllProcesses && haveHardware():
		// Docker's --network host alone looks like that.
		ns.Reason = "the PID namespace is a container's, but the network devices are a machine's"
	case !ns.AllProcesses:
		ns.Kind, ns.Reason = NamespaceContainer, "the PID namespace is not the host's"
	case err != nil:
		ns.Reason = "that of PID 1 can't be read to compare"
	case first == own:
		ns.Kind, ns.Reason = NamespaceHost, "the host's PID 1 has it too"
	default:
		ns.Kind, ns.Reason = NamespaceContainer, "the host's PID 1 has another"
	}
	return ns
}

// haveHardware says whether a network device belongs to a bus: virtual ones, as
// containers have, do not.
func haveHardware() bool {
	devices, err := net.Interfaces()
	if err != nil {
		return true // nothing is proven
	}
	return slices.ContainsFunc(devices, func(d net.Interface) bool {
		_, err := os.Stat("/sys/class/net/" + d.Name + "/device") // of them all, if /sys is another namespace's
		return err == nil
	})
}

func namespaceInode(path string) (uint64, error) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	_, number, _ := strings.Cut(link, ":[")
	return strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
}

func readLimits() (Limits, []Gap) {
	buffer := make([]byte, sysctlSize)
	return limitsFrom(func(path string) (string, error) { return readSysctl(path, buffer) })
}

// sysctlSize holds the longest list of ports, every other one: 32,768 numbers of
// up to five digits and a comma.
const sysctlSize = 256 << 10

// readSysctl reads a sysctl at once: of a list of ports the kernel gives to the
// first read what fits, and to the next one nothing.
func readSysctl(path string, buffer []byte) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	n, err := f.Read(buffer)
	if err != nil && !errors.Is(err, io.EOF) { // an empty list has no line
		return "", err
	}
	if n == len(buffer) {
		return "", fmt.Errorf("more than %d bytes", n)
	}
	return string(buffer[:n]), nil
}
