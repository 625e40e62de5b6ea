package sshlink

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
)

// refusedAddressError is the error for an address that no target may have, such
// as that of a cloud's metadata service, which serves secrets of the machine.
type refusedAddressError struct {
	addr   netip.Addr
	reason string
}

func (e *refusedAddressError) Error() string {
	return fmt.Sprintf("%s is refused: %s", e.addr, e.reason)
}

// control is a net.Dialer.ControlContext. It is called after name resolution,
// with the address that is about to be dialed.
func control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return checkAddress(ap.Addr())
}

func checkAddress(addr netip.Addr) error {
	base := embedded(addr)
	reason := ""
	switch {
	case isMetadata(base):
		reason = "it is a cloud's metadata service"
	case base.IsLinkLocalUnicast():
		reason = "it is link-local"
	case base.IsMulticast():
		reason = "it is multicast"
	default:
		return nil
	}
	return &refusedAddressError{addr, reason}
}

// isMetadata reports whether addr is that of a cloud's metadata service.
func isMetadata(addr netip.Addr) bool {
	switch addr {
	case netip.AddrFrom4([4]byte{169, 254, 169, 254}),
		netip.AddrFrom4([4]byte{100, 100, 100, 200}),
		netip.AddrFrom4([4]byte{168, 63, 129, 16}),
		netip.AddrFrom4([4]byte{192, 0, 0, 192}),
		netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54}):
		return true
	}
	return false
}

// embedded returns the IPv4 address in an IPv4-mapped or a NAT64 (RFC 6052) IPv6
// address, else addr without its zone.
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	nat64 := netip.PrefixFrom(netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b}), 96)
	if !nat64.Contains(addr) {
		return addr
	}
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
