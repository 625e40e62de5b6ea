package socktab

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/shirou/gopsutil/v4/net"

	"github.com/org/portcheck/port"
)

// FromStat converts an entry of gopsutil for Windows. V6Only is left false, because
// gopsutil does not return it.
func FromStat(c net.ConnectionStat) (Socket, error) {
	s := Socket{Status: c.Status}
	switch c.Type {
	case syscall.SOCK_STREAM:
		s.Protocol = port.TCP
	case syscall.SOCK_DGRAM:
		s.Protocol, s.Status = port.UDP, ""
	default:
		return Socket{}, fmt.Errorf("socket type %d is neither that of TCP nor that of UDP", c.Type)
	}
	if c.Laddr.Port > port.MaxPort || c.Raddr.Port > port.MaxPort {
		return Socket{}, fmt.Errorf("port %d or %d is out of range", c.Laddr.Port, c.Raddr.Port)
	}
	local, err := parseIP(c.Laddr.IP)
	if err != nil {
		return Socket{}, err
	}
	s.Port = uint16(c.Laddr.Port)
	s.Addr, s.Device = unscope(local)
	// The remote address of a listener has no meaning on Windows.
	if c.Raddr.Port != 0 && c.Status != "LISTEN" {
		remote, err := parseIP(c.Raddr.IP)
		if err != nil {
			return Socket{}, err
		}
		s.Remote = netip.AddrPortFrom(remote, uint16(c.Raddr.Port))
	}
	if c.Pid > 0 {
		s.PIDs = []int{int(c.Pid)}
	}
	return s, nil
}

func parseIP(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	return ip.WithZone("").Unmap(), err
}
