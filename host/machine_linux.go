package host

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// initialPIDNamespace is PROC_PID_INIT_INO of include/uapi/linux/nsfs.h, the
// inode of the kernel's initial PID namespace.
const initialPIDNamespace = 4026531836

func readMachine() Machine {
	m := Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, UID: os.Geteuid(),
		Namespace: readNamespace(), IPv6: haveIPv6(),
	}
	if id, err := kernelfile.Read("/proc/sys/kernel/random/boot_id"); err == nil {
		m.BootID = string(bytes.TrimSpace(id))
	}
	effective, _ := effectiveCapabilities() // none is in effect that can't be read
	m.Elevated = effective&(1<<unix.CAP_NET_BIND_SERVICE) != 0
	m.Confined = m.Namespace.AllProcesses && confined()
	m.Withheld = m.Namespace.AllProcesses && len(withheld()) > 0
	return m
}

// effectiveCapabilities returns the capabilities that this process has in effect, those
// below 32, as a set of bits.
func effectiveCapabilities() (uint32, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	err := unix.Capget(&header, &caps[0])
	return caps[0].Effective, err
}

// confined reports whether this process runs in a container of an engine, without the
// capability for examining the processes of others.
func confined() bool {
	effective, err := effectiveCapabilities()
	return err == nil && effective&(1<<unix.CAP_SYS_PTRACE) == 0 && runsInEngine()
}

// withheld returns the capabilities for examining the processes of others that root does
// not have where this process runs: those that this process lacks if it is root, else
// those that no program it starts can get (capabilities(7), the bounding set).
func withheld() []string {
	root := os.Geteuid() == 0
	effective, err := effectiveCapabilities()
	if err != nil && root {
		return nil
	}
	has := func(capability uint) bool {
		if root {
			return effective&(1<<capability) != 0
		}
		bounded, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(capability), 0, 0, 0)
		return err != nil || bounded == 1
	}
	var all []string
	if !has(unix.CAP_SYS_PTRACE) {
		all = append(all, "CAP_SYS_PTRACE")
	}
	if !has(unix.CAP_DAC_READ_SEARCH) && !has(unix.CAP_DAC_OVERRIDE) {
		all = append(all, "CAP_DAC_READ_SEARCH")
	}
	return all
}

// initialNetNamespace is NET_NS_INIT_INO of the same file, the inode of the
// kernel's initial network namespace since Linux 6.18. Older kernels number it
// like any other namespace, from 0xF0000000 on, so no other namespace has this
// number.
const initialNetNamespace = 4026531833

func readNamespace() Namespace {
	own, err := namespaceInode("/proc/thread-self/ns/net")
	if err != nil {
		return Namespace{Kind: NamespaceUnknown, Reason: "/proc does not show the network namespace"}
	}
	pid, err := namespaceInode("/proc/self/ns/pid")
	if err != nil {
		pid = 0
	}
	first, err := namespaceInode("/proc/1/ns/net")
	if err != nil {
		first = 0
	}
	return namespaceOf(own, pid, first, hardware)
}

// namespaceOf returns the namespace of a process, from the inodes of its network
// namespace, of its PID namespace, and of the network namespace of PID 1, which
// are 0 if they can't be read.
//
// It returns NamespaceHost only with proof. Either the network namespace is the
// kernel's initial one; or the process is in the initial PID namespace, so that
// PID 1 is the host's, and in the network namespace of PID 1.
func namespaceOf(own, pid, first uint64, hardware func() (bool, error)) Namespace {
	ns := Namespace{Kind: NamespaceUnknown, Inode: own, AllProcesses: pid == initialPIDNamespace}
	switch {
	case own == initialNetNamespace:
		ns.Kind, ns.Reason = NamespaceHost, "it is the kernel's initial network namespace"
	case pid == 0:
		ns.Reason = "/proc does not show the PID namespace"
	case !ns.AllProcesses:
		switch found, err := hardware(); {
		case err != nil:
			ns.Reason = "the PID namespace is that of a container, and the network devices can't be listed"
		case found: // as in a container of Docker's --network host without --pid host
			ns.Reason = "the PID namespace is that of a container, but there are hardware network devices"
		default:
			ns.Kind, ns.Reason = NamespaceContainer, "the PID namespace is not that of the host"
		}
	case first == 0:
		ns.Reason = "the network namespace of PID 1 can't be read"
	case first == own:
		ns.Kind, ns.Reason = NamespaceHost, "PID 1 of the host is in it"
	default:
		ns.Kind, ns.Reason = NamespaceContainer, "PID 1 of the host is in another one"
	}
	return ns
}

// hardware reports whether a network device belongs to a bus. Virtual devices, as
// containers have, do not.
func hardware() (bool, error) {
	devices, err := deviceNames()
	return slices.ContainsFunc(devices, func(name string) bool {
		_, err := os.Stat("/sys/class/net/" + name + "/device") // also for a device of that name elsewhere, if /sys is of another namespace
		return err == nil
	}), err
}

// namespaceInode returns the inode of the namespace that a link leads to.
func namespaceInode(path string) (uint64, error) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	return parseNamespaceLink(link)
}

// parseNamespaceLink parses "net:[4026531840]".
func parseNamespaceLink(link string) (uint64, error) {
	_, number, _ := strings.Cut(link, ":[")
	return strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
}

func readLimits() (Limits, []Gap) { return limitsFrom(readSysctl) }

const (
	// longestSysctl is enough for the longest list of ports, which has every other port:
	// 32,768 numbers of up to five digits and a comma.
	longestSysctl = 256 << 10
	// usualSysctl is enough for most: the kernel makes and clears as large a buffer as
	// that of the reader.
	usualSysctl = 2 << 10
	// longestItem is that of a list of ports, with a comma.
	longestItem = len("65535-65535,")
)

// readSysctl reads a sysctl in one read: of a list of ports, the kernel returns
// to the first read what fits into its buffer, and to the next one nothing.
func readSysctl(path string) (string, error) {
	text, err := kernelfile.ReadAtOnce(path, usualSysctl)
	if err == nil && len(text) >= usualSysctl-longestItem {
		text, err = kernelfile.ReadAtOnce(path, longestSysctl)
	}
	if err == nil && len(text) == longestSysctl {
		err = fmt.Errorf("more than %d bytes", longestSysctl)
	}
	return string(text), err
}
