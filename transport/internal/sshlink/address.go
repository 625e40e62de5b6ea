package sshlink

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
)

// refusedAddress is an address that no target may have: a link's own, or one
// where a cloud tells its machines' secrets.
type refusedAddress struct {
	addr   netip.Addr
	reason string
}

func (e *refusedAddress) Error() string {
	return fmt.Sprintf("%s is refused: %s", e.addr, e.reason)
}

// refuse is asked by net.Dialer with the address that it is about to dial, after
// resolution.
func refuse(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return checkAddress(ap.Addr())
}

func checkAddress(addr netip.Addr) error {
	plain := embedded(addr)
	reason := ""
	switch {
	case isMetadata(plain):
		reason = "it is a cloud's metadata service"
	case plain.IsLinkLocalUnicast():
		reason = "it is link-local"
	case plain.IsMulticast():
		reason = "it is multicast"
	default:
		return nil
	}
	return &refusedAddress{addr, reason}
}

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

// embedded is the IPv4 address within an IPv6 one that is mapped or goes through
// NAT64 (RFC 6052), else the address without its zone.
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	nat64 := netip.PrefixFrom(netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b}), 96)
	if !nat64.Contains(addr) {
		return addr
	}
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
