package port

import "slices"

// LikeBSD reports whether the sockets of an operating system, named as in GOOS, share
// ports by the rules of BSD:
//
//   - Without an option of the new socket, every socket at an overlapping address
//     excludes it. There is one exception: [::] for both families can be bound beside
//     0.0.0.0, which keeps the callers by IPv4. The other way round it can't.
//   - With SO_REUSEADDR or SO_REUSEPORT of the new socket alone, only a socket at the
//     very same address excludes it, and no connection does. That is so for TCP and UDP,
//     and also beside a listener. The more specific address gets the callers.
//   - At the same address, both need SO_REUSEPORT. SO_REUSEADDR is not enough for UDP
//     either, other than on Linux.
//   - Whatever the options are, a user other than root can't bind beside another user's
//     socket, but for that exception.
//
// Source: in_pcbbind and in_pcblookup_local of bsd/netinet/in_pcb.c, in6_pcbbind of
// bsd/netinet6/in6_pcb.c in xnu-11417 (macOS 15); in6_pcbbind of
// sys/netinet6/in6_pcb.c in FreeBSD. Both go back to 4.4BSD, as do OpenBSD and NetBSD.
func LikeBSD(system string) bool {
	switch system {
	case "darwin", "dragonfly", "freebsd", "netbsd", "openbsd":
		return true
	}
	return false
}

// MayTake reports whether a socket with this binding could be bound beside a listener
// that is not known, and take a part of its traffic.
func (b Binding) MayTake(system string) bool {
	switch {
	case b.ReusePort:
		return true
	case !b.ReuseAddress:
		return false
	case LikeBSD(system):
		return slices.ContainsFunc(b.At(1), func(e Endpoint) bool { return !e.Addr.IsUnspecified() })
	}
	return b.Protocol == UDP
}

// MayTakeFrom reports whether a socket with the options of the binding could be bound on
// e beside a listener, and take a part of its traffic. Whether the listener has set the
// option that this needs is not known.
//
// On BSD even a TCP socket that does not listen takes traffic: XNU finds the more
// specific socket and drops the call. Source: in_pcblookup_hash_locked, and tcp_input
// for TCPS_CLOSED.
func (b Binding) MayTakeFrom(listener, e Endpoint, system string) bool {
	switch {
	case !e.Overlaps(listener):
		return false
	case b.ReusePort:
		return true
	case !b.ReuseAddress:
		return false
	case LikeBSD(system):
		return listener.Addr.IsUnspecified() && !e.Addr.IsUnspecified()
	}
	return b.Protocol == UDP
}
