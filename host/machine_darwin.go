package host

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

func readMachine() Machine {
	m := Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, UID: os.Geteuid(), Elevated: os.Geteuid() == 0,
		Namespace: Namespace{Kind: NamespaceHost, Reason: "macOS has no network namespaces"},
		IPv6:      haveIPv6(),
	}
	if id, err := unix.Sysctl("kern.bootsessionuuid"); err == nil {
		m.BootID = id
	}
	return m
}

// readLimits returns limits under which low ports need a right. That is true for
// all addresses except the wildcards: in_pcbbind of xnu bsd/netinet/in_pcb.c
// (macOS 10.14 and later) requires PRIV_NETINET_RESERVEDPORT only if the address
// is not 0. A bind shows which of both applies.
func readLimits() (Limits, []Gap) {
	ephemeral, gaps := readEphemeral("net.inet.ip.portrange.first", "net.inet.ip.portrange.last", port.Range{First: 49152, Last: 65535})
	return Limits{Ephemeral: ephemeral, UnprivilegedFrom: 1024}, gaps
}
