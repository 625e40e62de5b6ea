//go:build dragonfly || freebsd || netbsd || openbsd

package host

import (
	"os"
	"runtime"

	"github.com/org/portcheck/port"
)

func readMachine() Machine {
	return Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, UID: os.Geteuid(), Elevated: os.Geteuid() == 0,
		Namespace: Namespace{Kind: NamespaceUnknown, Reason: "it may be that of a jail or of a routing domain"},
		IPv6:      haveIPv6(),
	}
}

func readLimits() (Limits, []Gap) {
	first, last := "net.inet.ip.portrange.first", "net.inet.ip.portrange.last"
	assumed := port.Range{First: 49152, Last: 65535}
	switch runtime.GOOS {
	case "freebsd":
		assumed.First = 10000 // IPPORT_EPHEMERALFIRST of sys/netinet/in.h
	case "netbsd":
		first, last = "net.inet.ip.anonportmin", "net.inet.ip.anonportmax"
	case "openbsd":
		first, last = "net.inet.ip.portfirst", "net.inet.ip.portlast"
	}
	ephemeral, gaps := readEphemeral(first, last, assumed)
	return Limits{Ephemeral: ephemeral, UnprivilegedFrom: 1024}, gaps
}
