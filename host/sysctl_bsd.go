//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package host

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// readEphemeral returns the ports of outgoing connections, which it reads from two
// sysctls. If one can't be read, it returns assumed and a gap.
func readEphemeral(first, last string, assumed port.Range) (port.Range, []Gap) {
	var ends [2]uint16
	for i, name := range []string{first, last} {
		n, err := unix.SysctlUint32(name)
		if err == nil && (n == 0 || n > port.MaxPort) {
			err = fmt.Errorf("unexpected number %d", n)
		}
		if err != nil {
			return assumed, []Gap{{
				What: fmt.Sprintf("the kernel's %s can't be read, so its default is assumed", name),
				Op:   "sysctl " + name, Errno: ErrnoName(err),
			}}
		}
		ends[i] = uint16(n)
	}
	// The first is the higher one where the kernel counts down.
	return port.Range{First: min(ends[0], ends[1]), Last: max(ends[0], ends[1])}, nil
}
