package nat

import (
	"context"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
)

// readRouted reads which addresses routes make local, besides those of interfaces.
// Routes in other tables than local don't count: the kernel sends no answers from an
// address that is not there (ip_route_output_key_hash_rcu).
func readRouted(ctx context.Context, c *netlink.Conn, m machine) (spans, error) {
	// Then the kernel applies the table and the type in a request. Before Linux 4.20 it
	// sends all routes.
	c.CheckStrictly()
	own := map[netip.Addr]bool{}
	for _, i := range m.interfaces {
		for _, a := range i.addrs {
			own[a] = true
		}
	}
	var all []span
	for _, family := range []uint8{familyIPv4, familyIPv6} {
		var problem error
		rtmsg := []byte{family, 0, 0, 0, unix.RT_TABLE_LOCAL, 0, 0, typeLocal, 0, 0, 0, 0}
		request := netlink.Request{Type: unix.RTM_GETROUTE, Flags: unix.NLM_F_DUMP, Payload: rtmsg}
		err := unreadable(c.Ask(ctx, request, silence, func(m netlink.Message) error {
			s, ok, err := decodeRoute(m.Data)
			switch {
			case problem != nil:
			case err != nil:
				problem = err
			case !ok || s.first == s.last && own[s.first] || beyond(s):
			case len(all) >= maxRouted:
				problem = errTooMany
			default:
				all = append(all, s)
			}
			return nil
		}))
		// A kernel without the family, or without its table, has no such routes.
		if without(err) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENOENT) {
			err = nil
		}
		if err == nil && problem != nil {
			err = &Unreadable{Op: "list routes", Err: problem}
		}
		if err != nil {
			return nil, err
		}
	}
	return joinSpans(all), nil
}

// beyond reports whether addresses are left out: those of loopback, of which 127.0.0.1
// and ::1 stand for all, and those of a link.
func beyond(s span) bool {
	return s.first.IsLoopback() && s.last.IsLoopback() || s.first.IsLinkLocalUnicast() && s.last.IsLinkLocalUnicast() || s.first.IsMulticast()
}
