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

	"github.com/org/portcheck/port"
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

// The kernel's defaults, assumed with a gap where a sysctl can't be read.
var (
	defaultEphemeral        = port.Range{First: 32768, Last: 60999}
	defaultUnprivilegedFrom = 1024
)

func readLimits() (Limits, []Gap) {
	limits := Limits{Ephemeral: defaultEphemeral, UnprivilegedFrom: defaultUnprivilegedFrom}
	var gaps []Gap
	buffer := make([]byte, sysctlSize)
	read := func(name string, parse func(string) error) {
		path := "/proc/sys/net/ipv4/" + name
		text, err := readSysctl(path, buffer)
		if err == nil {
			err = parse(strings.TrimSpace(text))
		}
		if err != nil {
			gaps = append(gaps, Gap{
				What: fmt.Sprintf("the kernel's %s can't be read, so its default is assumed", name),
				Op:   "read " + path, Errno: ErrnoName(err),
			})
		}
	}
	read("ip_local_port_range", func(s string) (err error) {
		limits.Ephemeral, err = parseEphemeral(s)
		return err
	})
	read("ip_local_reserved_ports", func(s string) (err error) {
		limits.Reserved, err = parseReserved(s)
		return err
	})
	read("ip_unprivileged_port_start", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > port.MaxPort+1 {
			return fmt.Errorf("unexpected text %q", s)
		}
		limits.UnprivilegedFrom = n
		return nil
	})
	return limits, gaps
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

// parseEphemeral reads "32768\t60999".
func parseEphemeral(s string) (port.Range, error) {
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return port.Range{}, fmt.Errorf("unexpected text %q", s)
	}
	return port.ParseRange(fields[0] + "-" + fields[1])
}

// parseReserved reads "8080,9148-9150", or nothing.
func parseReserved(s string) (port.Set, error) {
	if s == "" {
		return nil, nil
	}
	var set port.Set
	for part := range strings.SplitSeq(s, ",") {
		if part == "0" {
			continue // the kernel accepts it; no app can ask for it
		}
		r, err := port.ParseRange(strings.TrimPrefix(part, "0-"))
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(part, "0-") {
			r.First = 1
		}
		set = append(set, r)
	}
	return set, nil
}
