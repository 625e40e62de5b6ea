// Package nat reads the NAT rules of a network namespace and answers where
// callers of a port end.
//
// It works in three layers. The readers (nftables_linux.go, legacy_linux.go,
// ipset_linux.go, ipvs_linux.go, machine_linux.go) only move bytes from the kernel.
// The decoders (nftables.go, legacy.go, xtables.go, sets.go, ipset.go, ipvs.go) make a model of rules from these bytes. The
// evaluation (walk.go, steps.go) follows one call through the model and knows
// nothing about the kernel.
//
// What is not understood makes a rule one for some callers, never for none. Not
// seen at all are eBPF programs, the actions of tc and the family bridge.
package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
)

// A Question asks where the callers of a port of this machine end.
type Question struct {
	Protocol port.Protocol
	// Addr is an address of this machine. An unspecified address stands for all
	// addresses of its family.
	Addr netip.Addr
	Port uint16
	// Device is the device that the socket is bound to. It then gets only what
	// arrives by that device, and callers on the machine itself reach it by lo alone.
	Device string
}

// An Answer has a Route for each way to each address of the question on which
// callers are sent away. It has none if no caller is.
type Answer []Route

// A Route is one way to one address, with callers that are sent away on it.
type Route struct {
	// Interface is where the callers come from. It is empty for callers on the
	// machine itself.
	Interface string
	// Addr is the address that they call.
	Addr netip.Addr
	// All reports whether all callers are sent away. Otherwise some may be.
	All bool
	// Reason is why it is not known that all are, or empty.
	Reason string
	// To lists where they may end, at most maxTargets of them.
	To []Target
	// Rule is the rule that sends away the first of them.
	Rule Rule
}

// A Target is where callers end.
type Target struct {
	Addr netip.Addr // not valid if it is unknown
	Port uint16     // 0 if it is unknown
	Here bool       // it is known to be this machine
	// Addrs and Ports are the first and the last one, if callers end at any of a range.
	Addrs [2]netip.Addr
	Ports [2]uint16
}

func (t Target) String() string {
	addr, ports := "", ""
	switch first, last := t.Addrs[0], t.Addrs[1]; {
	case t.Addr.IsValid():
		addr = t.Addr.String()
	case first.IsValid() && last.IsValid():
		addr = first.String() + "-" + last.String()
	}
	switch {
	case t.Port != 0:
		ports = strconv.Itoa(int(t.Port))
	case t.Ports[1] != 0:
		ports = portsText(t.Ports)
	}
	switch {
	case addr == "" && ports == "":
		return "unknown"
	case addr == "" && t.Port == 0:
		return "ports " + ports
	case addr == "":
		return "port " + ports
	case ports == "":
		return addr
	case strings.Contains(addr, ":"):
		addr = "[" + addr + "]"
	}
	return addr + ":" + ports
}

// A Rule is a NAT rule as the kernel has it. Its texts come from the programs
// that made the rule and can hold anything.
type Rule struct {
	Family string // ip, ip6 or inet
	Table  string
	Chain  string // empty if it is a virtual service of IPVS
	// Comment is the comment of the rule, or else of the nearest rule that jumped
	// to its chain and has one.
	Comment string
	// Text describes the rule in about the words of nft and iptables.
	Text string
	// Legacy reports whether the rule is one of x_tables (iptables-legacy), which
	// nft does not list.
	Legacy bool
}

// Unreadable is the error for rules that can't be read.
type Unreadable struct {
	Op  string // what failed, such as "socket(NETLINK_NETFILTER)"
	Err error
	// Possible reports whether there may be NAT rules.
	Possible bool
}

func (e *Unreadable) Error() string { return fmt.Sprintf("NAT rules: %s: %v", e.Op, e.Err) }

func (e *Unreadable) Unwrap() error { return e.Err }

// Bounds on the work for one Read. Beyond them answers become vague, which means
// that some callers may be sent away. They never become wrong.
const (
	maxTargets  = 8
	maxDepth    = 64        // jumps within jumps; nf_tables itself allows 16
	maxKept     = 100_000   // rules and elements that are kept in memory
	maxWalk     = 200_000   // rules visited for one way to one address
	maxWalks    = 8_000_000 // rules visited in all
	maxRoutes   = 16        // of one answer, once there is one with all callers
	maxMessages = 2_000_000 // messages of one dump
	maxStacked  = 8         // devices upon each other (MAX_NEST_DEV)
	maxRouted   = 100_000   // routes that make addresses local
	maxSpots    = 64        // addresses of such routes that are followed for one question
)

// A machine is what the evaluation has to know about the host.
type machine struct {
	interfaces []netInterface
	// routed are the addresses that a route makes local on no interface (AnyIP). Those
	// of the interfaces can be among them.
	routed spans
}

// netInterface is an interface that is up and from which packets can arrive.
type netInterface struct {
	name     string
	index    uint32
	loopback bool
	kind     uint16       // ARPHRD_*, 0 if it is unknown
	vrf      string       // the VRF that it belongs to, or empty
	addrs    []netip.Addr // in the kernel's order, without zones
	// lower are the devices by which its packets may arrive first: the ports of a bridge,
	// the device below a VLAN.
	lower []string
	// tagged reports whether it is a VLAN, or one is below it.
	tagged bool
	// early4 and early6 report whether br_netfilter takes packets of the family through
	// prerouting at the ports of a bridge, before the chains of the interface itself.
	early4, early6 bool
	upon           bool // the interface is not that bridge, but a macvlan upon it
}

// reaches reports whether callers from outside can reach an address of the
// machine by an interface.
func (i netInterface) reaches(addr netip.Addr) bool {
	if addr.IsLoopback() || i.loopback {
		return false
	}
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		return i.has(addr)
	}
	return true
}

// isOf reports whether a socket that is bound to a device gets what arrives by the
// interface.
func (i netInterface) isOf(device string) bool {
	return device == "" || i.name == device || i.vrf == device
}

func (i netInterface) has(addr netip.Addr) bool {
	return slices.Contains(i.addrs, addr)
}

// addresses returns the addresses of interfaces that a question covers.
func (m machine) addresses(asked netip.Addr) []netip.Addr {
	if !asked.IsUnspecified() {
		return []netip.Addr{asked}
	}
	var all []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, i := range m.interfaces {
		for _, a := range i.addrs {
			if a.Is4() == asked.Is4() && !seen[a] {
				seen[a] = true
				all = append(all, a)
			}
		}
	}
	return all
}

// isOwn reports whether an address is one of the machine's.
func (m machine) isOwn(addr netip.Addr) bool {
	return addr.IsLoopback() || m.routed.overlap(addr, addr) || slices.ContainsFunc(m.interfaces, func(i netInterface) bool { return i.has(addr) })
}

// hasAny reports whether an address of the machine may be between two others.
func (m machine) hasAny(low, high netip.Addr) bool {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if low.Is6() {
		loopback = netip.IPv6Loopback()
	}
	between := func(a netip.Addr) bool { return low.Compare(a) <= 0 && a.Compare(high) <= 0 }
	return between(loopback) || low.IsLoopback() || high.IsLoopback() || m.routed.overlap(low, high) ||
		slices.ContainsFunc(m.interfaces, func(i netInterface) bool { return slices.ContainsFunc(i.addrs, between) })
}
