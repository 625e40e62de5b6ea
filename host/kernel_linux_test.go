package host

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
)

// Attributes are read from the kernel, and cut short they are none.
func TestParseTunnel(t *testing.T) {
	attr := func(kind uint16, value ...byte) []byte { return netlink.AppendAttribute(nil, kind, value) }
	link := slices.Concat(attr(unix.IFLA_IFNAME, []byte("vx0\x00")...), attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED,
		slices.Concat(attr(unix.IFLA_INFO_KIND, []byte("vxlan\x00")...), attr(unix.IFLA_INFO_DATA, attr(unix.IFLA_VXLAN_PORT, 0x12, 0xb5)...))...))
	if got, ok := parseTunnel(link); !ok || got != (tunnel{"vx0", 4789}) {
		t.Errorf("%+v, %v", got, ok)
	}
	for n := range link {
		if got, ok := parseTunnel(link[:n]); ok && got != (tunnel{"vx0", 4789}) {
			t.Errorf("the first %d bytes: %+v", n, got)
		}
	}
	if got, ok := parseTunnel(attr(unix.IFLA_IFNAME, []byte("eth0\x00")...)); ok {
		t.Errorf("%+v", got)
	}
}
