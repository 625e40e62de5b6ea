package host

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/kernelfile"
	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/port"
)

// findUnreached adds the addresses that could be bound and where no caller reaches the
// app. Needs on any address and on loopback cost nothing here.
func (p *probe) findUnreached() {
	known := map[netip.Addr]Unreached{}
	for i, t := range p.req.Tries {
		for _, e := range t.At(t.Ports.First) {
			bound := func(a Attempt) bool { return a.Addr == e.Addr && a.Outcome == OK }
			if !mayBeUnreached(e.Addr) || !slices.ContainsFunc(p.facts.Tried[i].Attempts, bound) {
				continue
			}
			u, asked := known[e.Addr]
			if !asked {
				u = unreachedAt(p.ctx, e.Addr)
				known[e.Addr] = u
			}
			if u.Addr.IsValid() && !(u.Group && t.Protocol == port.UDP) { // receivers of datagrams bind groups
				p.facts.Tried[i].Unreached = append(p.facts.Tried[i].Unreached, u)
			}
		}
	}
}

// mayBeUnreached excludes the addresses that every host has, and those of a link.
func mayBeUnreached(addr netip.Addr) bool {
	loopback := addr.IsLoopback() && addr != netip.AddrFrom4([4]byte{127, 255, 255, 255})
	return !addr.IsUnspecified() && !loopback && (addr.Is4() || !addr.IsLinkLocalUnicast())
}

// unreachedAt returns what is known of an address that could be bound, or the zero value
// if callers may reach it.
func unreachedAt(ctx context.Context, addr netip.Addr) (u Unreached) {
	switch routeType(ctx, addr) {
	case unix.RTN_BROADCAST, unix.RTN_MULTICAST:
		return Unreached{Addr: addr, Group: true}
	case unix.RTN_UNICAST, unix.RTN_UNREACHABLE:
		allowed, err := kernelfile.Read(nonlocalPath(addr))
		if err == nil && strings.TrimSpace(string(allowed)) != "0" && !onInterface(addr) {
			return Unreached{Addr: addr}
		}
	}
	return Unreached{}
}

// routeType returns the type of the route to an address, RTN_LOCAL for those of the host.
// It is RTN_UNREACHABLE without a route, and RTN_UNSPEC if it can't be found out.
func routeType(ctx context.Context, addr netip.Addr) byte {
	if addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return unix.RTN_MULTICAST // they need no route
	}
	c, err := netlink.Open(netlink.Route)
	if err != nil {
		return unix.RTN_UNSPEC
	}
	defer c.Close()
	rtmsg := make([]byte, unix.SizeofRtMsg)
	rtmsg[0], rtmsg[1] = unix.AF_INET, byte(addr.BitLen())
	if addr.Is6() {
		rtmsg[0] = unix.AF_INET6
	}
	request := netlink.Request{Type: unix.RTM_GETROUTE, Payload: netlink.AppendAttribute(rtmsg, unix.RTA_DST, addr.AsSlice())}
	kind := byte(unix.RTN_UNSPEC)
	err = c.Ask(ctx, request, time.Second, func(m netlink.Message) error {
		if m.Type == unix.RTM_NEWROUTE && len(m.Data) >= unix.SizeofRtMsg {
			kind = m.Data[7]
		}
		return netlink.ErrEnough
	})
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return unix.RTN_UNREACHABLE
	}
	return kind
}

// onInterface reports whether an interface has an address, or may have it. One in a VRF
// has its routes in another table.
func onInterface(addr netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(all, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == addr
	})
}
